package lifeguard

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Mode says how long a virtual connection keeps a physical one.
type Mode string

const (
	// ModeCheckout leases a physical connection for one checkout: a statement, a
	// transaction, or the life of a sql.Conn.
	ModeCheckout Mode = "checkout"
	// ModeSession gives every virtual connection a physical one of its own until
	// database/sql closes it: the life cycle of pgx/stdlib.
	ModeSession Mode = "session"
)

// CancelMode says what becomes of a connection whose statement was cancelled.
type CancelMode string

const (
	// CancelClose closes the connection, as pgx does, and cleans up behind it.
	CancelClose CancelMode = "close"
	// CancelKeep sends a cancel request and keeps the connection.
	CancelKeep CancelMode = "keep"
)

// NestedMode says what happens when a request that is marked by [Scope] and holds a
// connection asks for another one.
type NestedMode string

const (
	// NestedFront lets it wait at the front of the queue.
	NestedFront NestedMode = "front"
	// NestedRefuse refuses it with [ErrNestedAcquire], to find such code in tests.
	NestedRefuse NestedMode = "refuse"
)

// TraceMode says whether statements are traced; see [Config].TracerProvider.
type TraceMode string

const (
	// TraceOn uses OpenTelemetry's global providers for those that Config lacks.
	TraceOn TraceMode = "on"
	// TraceOff makes neither spans nor OpenTelemetry metrics.
	TraceOff TraceMode = "off"
)

// HistogramMode says which kind of Prometheus histograms the metrics have.
type HistogramMode string

const (
	// HistogramsClassic have the buckets that the dashboards and alerts are written for.
	HistogramsClassic HistogramMode = "classic"
	// HistogramsBoth have native buckets too. A Prometheus that scrapes native
	// histograms drops the classic ones unless always_scrape_classic_histograms is set.
	HistogramsBoth HistogramMode = "both"
)

// CacheMode says what the query cache promises.
type CacheMode string

const (
	// CacheOff caches nothing.
	CacheOff CacheMode = "off"
	// CacheLocal serves what PostgreSQL would return, as long as the database is written
	// only through this package and in this process, by any Connector, with a cache or
	// without. What somebody else writes it does not notice, nor what AfterConnect does.
	CacheLocal CacheMode = "local"
	// CacheCDC serves what PostgreSQL would return, or would have returned at a moment
	// not longer ago than Config.CacheBound, whoever writes: it reads the server's log.
	// What this process writes through this package it serves at once, as CacheLocal.
	CacheCDC CacheMode = "cdc"
	// CacheTTL serves results that may be stale: up to Config.CacheTTL old, whoever has
	// written meanwhile, the reader included.
	CacheTTL CacheMode = "ttl"
)

// exact reports whether a mode promises what PostgreSQL would return.
func (m CacheMode) exact() bool { return m == CacheLocal || m == CacheCDC }

// Config holds every setting of a [Connector]. The zero value of a field is its
// default; -1 switches off what can be switched off. A Config is copied when it is
// used and never changed. The DSN keys, environment variables and defaults stand
// in the table of [Settings].
//
//nolint:recvcheck // withDefaults returns a changed copy
type Config struct {
	// ConnConfig says how to reach PostgreSQL. It must come from [ParseConfig], or from
	// pgx.ParseConfig, which leaves the settings of this package in RuntimeParams: then
	// it is refused. [WrapConnector] takes none: its inner connector knows.
	ConnConfig *pgx.ConnConfig

	// BeforeConnect is called before each physical connection is opened, with a copy
	// of ConnConfig that it may change: the place for rotating passwords and tokens.
	// An error fails the connection attempt and is returned as it is.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error
	// AfterConnect is called with each new physical connection before its first use,
	// to register types for example. An error closes the connection.
	AfterConnect func(context.Context, *pgx.Conn) error
	// Logger receives what an operator should read: slow and refused statements, lost
	// connections, failures to connect and the end of them, leaks. Statements appear
	// without literals and arguments, errors by SQLSTATE, and bursts are cut. Default
	// slog.Default().
	Logger *slog.Logger
	// Registerer is where the pool's metrics are registered, labelled with Name, until
	// the Connector is closed. Default prometheus.DefaultRegisterer. A pool whose name
	// is taken there gets a suffix: shop-2.
	Registerer prometheus.Registerer
	// TracerProvider makes a client span for each statement that is sent to the server,
	// MeterProvider the histogram db.client.operation.duration. Either is off if nil,
	// or OpenTelemetry's global one with lifeguard_trace=on; lifeguard_trace=off
	// switches both off. A span costs a microsecond if it is not sampled, and if it is
	// five or six, mostly the SDK's. The global providers are never set.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	Name string // lifeguard_name

	MaxConns              int           // pool_max_conns
	MinConns              int           // pool_min_conns
	MinIdleConns          int           // pool_min_idle_conns
	MaxConnLifetime       time.Duration // pool_max_conn_lifetime
	MaxConnLifetimeJitter time.Duration // pool_max_conn_lifetime_jitter
	MaxConnIdleTime       time.Duration // pool_max_conn_idle_time
	HealthCheckPeriod     time.Duration // pool_health_check_period
	PingTimeout           time.Duration // pool_ping_timeout

	Limit        int           // lifeguard_limit; AutoLimit for auto
	Queue        int           // lifeguard_queue
	QueueTimeout time.Duration // lifeguard_queue_timeout
	QueueTarget  time.Duration // lifeguard_queue_target
	TxShare      float64       // lifeguard_tx_share
	Nested       NestedMode    // lifeguard_nested
	FleetBudget  int           // lifeguard_fleet_budget

	Mode      Mode          // lifeguard_mode
	Cancel    CancelMode    // lifeguard_cancel
	LeakAfter time.Duration // lifeguard_leak_after

	Cache         CacheMode     // lifeguard_cache
	CacheSize     ByteSize      // lifeguard_cache_size
	CacheTTL      time.Duration // lifeguard_cache_ttl
	CacheMaxRows  int           // lifeguard_cache_max_rows
	CacheMaxBytes ByteSize      // lifeguard_cache_max_bytes
	// CacheTables and CacheExclude name tables as SQL does, with a schema or without; a
	// partition stands for its whole table. A view can be excluded, with the queries that
	// read it; whether it is kept depends on its tables otherwise.
	CacheTables  []string      // lifeguard_cache_tables; nil means all
	CacheExclude []string      // lifeguard_cache_exclude
	CacheBound   time.Duration // lifeguard_cache_bound

	// Redis makes CacheLocal hold for all processes that set it to the same Redis. It may hold a
	// password, which no error, log line or metric shows.
	Redis string // lifeguard_redis

	CDCMaxLag      ByteSize      // lifeguard_cdc_max_lag
	CDCPublication string        // lifeguard_cdc_publication
	CDCPoll        time.Duration // lifeguard_cdc_poll

	Slow       time.Duration // lifeguard_slow
	Trace      TraceMode     // lifeguard_trace
	Histograms HistogramMode // lifeguard_histograms

	// instance is the application_name of this instance's connections, if FleetBudget is
	// set, and fleetEvery the time between two looks at the others, for tests.
	instance   string
	fleetEvery time.Duration

	// redisLinger and redisBudget are rediscache.Options, for tests.
	redisLinger, redisBudget time.Duration

	// registered is a name made by stdlib.RegisterConnConfig; stdlib alone can look it up.
	registered string
	// parsedPassword is what ParseConfig found. While ConnConfig still has it, each
	// new connection looks it up again, so that a rotated password file is noticed.
	parsedPassword string
}

// settings is the one place where a setting's key, default, range and meaning stand;
// parsing, validation and the documentation are all made from it.
//
//nolint:gochecknoglobals // a constant table; Go has no constant slices
var settings = []setting{
	{
		key: "pool_max_conns", initial: "10", allowed: "an integer from 1 to 10000", low: 1, high: 10000,
		doc:   "physical connections at most, counting those being opened, closed or cleaned up",
		field: func(c *Config) any { return &c.MaxConns },
	},
	{
		key: "pool_min_conns", initial: "0", allowed: "an integer from 0 to 10000", high: 10000,
		doc:   "physical connections kept open, in the background",
		field: func(c *Config) any { return &c.MinConns },
	},
	{
		key: "pool_min_idle_conns", initial: "0", allowed: "an integer from 0 to 10000", high: 10000,
		doc:   "idle physical connections kept ready, in the background, within `pool_max_conns`",
		field: func(c *Config) any { return &c.MinIdleConns },
	},
	{
		key: "pool_max_conn_lifetime", initial: "1h", allowed: "a duration such as 30m, or 0 for no limit", canBeOff: true,
		doc:   "age after which a physical connection is closed when it is next idle",
		field: func(c *Config) any { return &c.MaxConnLifetime },
	},
	{
		key: "pool_max_conn_lifetime_jitter", initial: "0", allowed: "a duration such as 1m",
		doc:   "random addition to the lifetime, so that connections do not all end at once",
		field: func(c *Config) any { return &c.MaxConnLifetimeJitter },
	},
	{
		key: "pool_max_conn_idle_time", initial: "30m", allowed: "a duration such as 10m, or 0 for no limit", canBeOff: true,
		doc:   "idleness after which a physical connection is closed",
		field: func(c *Config) any { return &c.MaxConnIdleTime },
	},
	{
		key: "pool_health_check_period", initial: "1m", allowed: "a duration of 10ms or more", low: int64(10 * time.Millisecond),
		doc:   "time between two looks at idle connections and at the minimums",
		field: func(c *Config) any { return &c.HealthCheckPeriod },
	},
	{
		key: "pool_ping_timeout", initial: "0", allowed: "a duration such as 1s, or 0 for none", canBeOff: true,
		doc:   "longest ping of a connection that was idle for more than a second; beyond it the connection is replaced",
		field: func(c *Config) any { return &c.PingTimeout },
	},
	{
		key: "lifeguard_limit", initial: "", shown: "`pool_max_conns`", allowed: "an integer from 1 to pool_max_conns, or auto", low: 1, high: 10000,
		doc:  "statements, transactions and pinned connections in flight at most; `auto` (experimental) adapts between 1 and `pool_max_conns` to what the server can do",
		word: "auto", wordValue: AutoLimit,
		field: func(c *Config) any { return &c.Limit },
	},
	{
		key: "lifeguard_queue", initial: "", shown: "100 × limit", allowed: "an integer of 0 or more", canBeOff: true,
		doc:   "callers that may wait; the next one is refused. 0: nobody waits",
		field: func(c *Config) any { return &c.Queue },
	},
	{
		key: "lifeguard_queue_timeout", initial: "30s", allowed: "a duration such as 5s, or 0 for none", canBeOff: true,
		doc:   "longest wait; then the caller is refused",
		field: func(c *Config) any { return &c.QueueTimeout },
	},
	{
		key: "lifeguard_queue_target", initial: "0", allowed: "a duration such as 20ms, or 0 for off", canBeOff: true,
		doc:   "standing wait above which the queue sheds: newest first, and a wait no longer than this (CoDel with adaptive LIFO)",
		field: func(c *Config) any { return &c.QueueTarget },
	},
	{
		key: "lifeguard_fleet_budget", initial: "0", allowed: "an integer from 0 (off) to 100000", high: 100000, canBeOff: true,
		doc:   "physical connections that all instances with the same application_name share on one server; each takes its part, at most `pool_max_conns`",
		field: func(c *Config) any { return &c.FleetBudget },
	},
	{
		key: "lifeguard_tx_share", initial: "0", allowed: "a number such as 0.8, from 0 (off) to 1", canBeOff: true,
		doc:   "part of the slots that transactions may take, so that single statements always get through",
		field: func(c *Config) any { return &c.TxShare },
	},
	{
		key: "lifeguard_nested", initial: string(NestedFront), allowed: "front or refuse",
		options: []string{string(NestedFront), string(NestedRefuse)},
		doc:     "a second checkout by a request that is marked with `Scope` and holds one: goes to the `front` of the queue, or is an error",
		field:   func(c *Config) any { return (*string)(&c.Nested) },
	},
	{
		key: "lifeguard_name", initial: "", shown: "database name", allowed: "any text",
		doc:   "the pool's name in logs and metrics",
		field: func(c *Config) any { return &c.Name },
	},
	{
		key: "lifeguard_mode", initial: string(ModeCheckout), allowed: "checkout or session",
		options: []string{string(ModeCheckout), string(ModeSession)},
		doc:     "`checkout` leases a physical connection for a statement, a transaction or a `sql.Conn`; `session` keeps one for each `database/sql` connection until it is closed",
		field:   func(c *Config) any { return (*string)(&c.Mode) },
	},
	{
		key: "lifeguard_cancel", initial: string(CancelClose), allowed: "close or keep",
		options: []string{string(CancelClose), string(CancelKeep)},
		doc:     "what a cancelled statement does to its connection: `close` it, as pgx does, or cancel on the server and `keep` it",
		field:   func(c *Config) any { return (*string)(&c.Cancel) },
	},
	{
		key: "lifeguard_leak_after", initial: "0", allowed: "a duration such as 30s, or 0 for off", canBeOff: true,
		doc:   "log the stack that holds a physical connection longer than this, once per lease",
		field: func(c *Config) any { return &c.LeakAfter },
	},
	{
		key: "lifeguard_cache", initial: string(CacheOff), allowed: "off, local, cdc or ttl",
		options: []string{string(CacheOff), string(CacheLocal), string(CacheCDC), string(CacheTTL)},
		doc:     "results of queries from memory. `local`: exactly what PostgreSQL would return, if only this process writes to the database, through any of its pools; `cdc`: whoever writes, at most `lifeguard_cache_bound` old, by logical replication; `ttl`: possibly stale, up to `lifeguard_cache_ttl` old",
		field:   func(c *Config) any { return (*string)(&c.Cache) },
	},
	{
		key: "lifeguard_cache_size", initial: "64MiB", allowed: "bytes such as 64MiB, from 64KiB", low: 64 << 10,
		doc:   "memory for cached results",
		field: func(c *Config) any { return &c.CacheSize },
	},
	{
		key: "lifeguard_cache_ttl", initial: "0", allowed: "a duration such as 5s, or 0 for no cap",
		doc:   "age above which no cached result is served",
		field: func(c *Config) any { return &c.CacheTTL },
	},
	{
		key: "lifeguard_cache_max_rows", initial: "10000", allowed: "an integer from 1 to 10000000", low: 1, high: 10_000_000,
		doc:   "rows of a result that is cached, at most",
		field: func(c *Config) any { return &c.CacheMaxRows },
	},
	{
		key: "lifeguard_cache_max_bytes", initial: "1MiB", allowed: "bytes such as 1MiB, from 1KiB to 1GiB", low: 1 << 10, high: 1 << 30,
		doc:   "size of a result that is cached, at most",
		field: func(c *Config) any { return &c.CacheMaxBytes },
	},
	{
		key: "lifeguard_cache_tables", initial: "", shown: "all", allowed: tableListAllowed,
		doc:   "tables whose queries are cached, separated by commas; a query that reads any other table bypasses the cache",
		field: func(c *Config) any { return &c.CacheTables },
	},
	{
		key: "lifeguard_cache_exclude", initial: "", shown: "none", allowed: tableListAllowed,
		doc:   "tables and views whose queries are not cached, separated by commas",
		field: func(c *Config) any { return &c.CacheExclude },
	},
	{
		key: "lifeguard_cache_bound", initial: "100ms", allowed: "a duration of 10ms or more", low: int64(10 * time.Millisecond),
		doc:   "with `lifeguard_cache=cdc`: age of what others have written above which no cached result is served; four small commits in this time keep it so, while somebody reads",
		field: func(c *Config) any { return &c.CacheBound },
	},
	{
		key: "lifeguard_redis", initial: "", shown: "none", secret: true,
		allowed: "redis://[user:password@]host[:port][/db], rediss:// the same over TLS, redis+sentinel://host:port,host:port/master[/db] or redis+cluster://host:port,host:port",
		doc:     "a Redis that the processes share which read and write the database: with `lifeguard_cache=local` they share results, and the promise holds for the writes of all that set it",
		field:   func(c *Config) any { return &c.Redis },
	},
	{
		key: "lifeguard_cdc_max_lag", initial: "1GiB", allowed: "bytes such as 256MiB, from 1MiB", low: 1 << 20,
		doc:   "log of the server that the cache may be behind; then it drops its replication slot, so that the server keeps nothing for it, and begins anew",
		field: func(c *Config) any { return &c.CDCMaxLag },
	},
	{
		key: "lifeguard_cdc_publication", initial: "lifeguard", allowed: "the name of a publication",
		doc:   "publication whose tables are cached; made, and kept complete with tables that have a replica identity, if the role may",
		field: func(c *Config) any { return &c.CDCPublication },
	},
	{
		key: "lifeguard_cdc_poll", initial: "1s", allowed: "a duration of 100ms or more", low: int64(100 * time.Millisecond),
		doc:   "time between two looks at the catalog: so long DDL and REFRESH by others may go unnoticed where no event trigger tells",
		field: func(c *Config) any { return &c.CDCPoll },
	},
	{
		key: "lifeguard_slow", initial: "1s", allowed: "a duration such as 200ms, or 0 for off", canBeOff: true,
		doc:   "log a statement that takes this long from the call to the end of its rows, the wait for admission included; at most 10 lines a second",
		field: func(c *Config) any { return &c.Slow },
	},
	{
		key: "lifeguard_trace", initial: "", shown: "off, unless a provider is given in code", allowed: "on or off",
		options: []string{string(TraceOn), string(TraceOff)},
		doc:     "OpenTelemetry: a span for each statement that is sent, and `db.client.operation.duration`; `on` uses the global providers where code gave none",
		field:   func(c *Config) any { return (*string)(&c.Trace) },
	},
	{
		key: "lifeguard_histograms", initial: string(HistogramsClassic), allowed: "classic or both",
		options: []string{string(HistogramsClassic), string(HistogramsBoth)},
		doc:     "Prometheus histograms with `classic` buckets, or with `both` classic and native ones",
		field:   func(c *Config) any { return (*string)(&c.Histograms) },
	},
}

// registeredPrefix starts every name that stdlib.RegisterConnConfig hands out.
const registeredPrefix = "registeredConnConfig"

// ParseConfig reads a DSN (a URL, keyword=value pairs, or a name made by
// stdlib.RegisterConnConfig) and the environment. Anything pgx.ParseConfig takes is
// taken; the keys of [Settings] are Lifeguard's and do not reach the server. An
// environment variable overrides its DSN key. An empty DSN falls back to
// LIFEGUARD_URL, then DATABASE_URL, then libpq's PG… variables.
//
// An unknown lifeguard_… or pool_… key and a value out of range are errors that name
// the key and what is allowed. A DSN that cannot be parsed gives a
// *pgconn.ParseConfigError without its text, for it may hold a password.
func ParseConfig(dsn string) (Config, error) {
	dsn = cmp.Or(dsn, os.Getenv("LIFEGUARD_URL"), os.Getenv("DATABASE_URL"))
	var cfg Config

	if strings.HasPrefix(dsn, registeredPrefix) {
		cfg.registered = dsn
		if err := readEnvironment(&cfg, os.Getenv); err != nil {
			return Config{}, err
		}
		_, err := cfg.withDefaults()
		return cfg, err
	}

	connConfig, err := pgx.ParseConfig(dsn)
	if err != nil {
		return Config{}, withoutDSN(err)
	}
	cfg.ConnConfig = connConfig
	cfg.parsedPassword = connConfig.Password
	if err := takeSettings(&cfg, connConfig.RuntimeParams); err != nil {
		return Config{}, err
	}
	if err := readEnvironment(&cfg, os.Getenv); err != nil {
		return Config{}, err
	}
	_, err = cfg.withDefaults() // checks what depends on defaults, too
	return cfg, err
}

// withDefaults fills in what was left zero and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	for i := range settings {
		settings[i].fillDefault(&c)
	}
	if c.Limit == 0 {
		c.Limit = c.MaxConns
	}
	if c.FleetBudget > 0 {
		c.MinConns = max(c.MinConns, 1) // an instance without a connection is not counted by the others
	}
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	if c.Name == "" {
		c.Name = c.defaultName()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.DefaultRegisterer
	}
	switch c.Trace {
	case TraceOn:
		c.TracerProvider = cmp.Or(c.TracerProvider, otel.GetTracerProvider())
		c.MeterProvider = cmp.Or(c.MeterProvider, otel.GetMeterProvider())
	case TraceOff:
		c.TracerProvider, c.MeterProvider = nil, nil
	}
	if c.ConnConfig != nil {
		c.ConnConfig = c.ConnConfig.Copy()
	}
	c.CacheTables, c.CacheExclude = slices.Clone(c.CacheTables), slices.Clone(c.CacheExclude)
	return c, nil
}

func (c *Config) defaultName() string {
	if c.ConnConfig == nil {
		return cmp.Or(c.registered, "lifeguard")
	}
	return cmp.Or(c.ConnConfig.Database, c.ConnConfig.User, "lifeguard")
}

// currentPassword looks the password up again where ParseConfig found it, unless the
// caller has put one of their own into ConnConfig since.
func (c *Config) currentPassword() string {
	parsed := c.ConnConfig
	if parsed.Password != c.parsedPassword {
		return parsed.Password
	}
	fresh, err := pgx.ParseConfig(parsed.ConnString())
	if err != nil {
		return parsed.Password
	}
	return fresh.Password
}

// withoutDSN keeps what was wrong with a DSN and drops the DSN: pgx masks passwords
// as well as it can, but a malformed text can be too ambiguous for that.
func withoutDSN(err error) error {
	parts := []struct{ found, hint string }{
		{"failed to parse as URL", "not a valid URL; write postgres://user:password@host:port/database?key=value and percent-encode special characters"},
		{"missing key/value separator", "what follows ? in the URL must be key=value pairs with & between them"},
		{"failed to parse as keyword/value", "not valid keyword=value pairs; write host=… user=… dbname=…, quoting values that hold spaces with '…'"},
		{"failed to read service", "the service of that name was not found in the service file"},
		{"invalid sslcertmode", "sslcertmode must be disable, allow or require"},
		{"invalid connect_timeout", "connect_timeout must be a number of seconds"},
		{"could not match", "the number of ports must be one or that of the hosts"},
		{"invalid port", "port must be a number from 1 to 65535"},
		{"failed to configure TLS", "the ssl… settings are not valid: sslmode must be disable, allow, prefer, require, verify-ca or verify-full, and the certificate files must be readable"},
		{"unknown target_session_attrs", "target_session_attrs must be any, read-write, read-only, primary, standby or prefer-standby"},
		{"min_protocol_version", "min_protocol_version must be 3.0, 3.2 or latest, and not above max_protocol_version"},
		{"max_protocol_version", "max_protocol_version must be 3.0, 3.2 or latest"},
		{"unknown channel_binding", "channel_binding must be disable, prefer or require"},
		{"invalid require_auth", "require_auth is not a valid list of authentication methods"},
		{"cannot parse statement_cache_capacity", "statement_cache_capacity must be an integer"},
		{"cannot parse description_cache_capacity", "description_cache_capacity must be an integer"},
		{"invalid default_query_exec_mode", "default_query_exec_mode must be cache_statement, cache_describe, describe_exec, exec or simple_protocol"},
	}
	// The reason stands behind the DSN in pgx's text; a DSN that contains one of these
	// phrases itself can at worst choose the wrong hint.
	text := err.Error()
	best, at := "not a valid connection string", -1
	for _, part := range parts {
		if i := strings.LastIndex(text, part.found); i > at {
			best, at = part.hint, i
		}
	}
	return pgconn.NewParseConfigError("DSN withheld", best, nil)
}
