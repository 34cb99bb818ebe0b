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

// GroupMode says whether short reads that wait for a slot may share a connection; see
// docs/admission.md.
type GroupMode string

const (
	// GroupOff gives each statement a connection of its own.
	GroupOff GroupMode = "off"
	// GroupOn lets a short read take others along that wait.
	GroupOn GroupMode = "on"
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

// shares reports whether results are shared through Redis.
func (c *Config) shares() bool { return c.Redis != "" && c.Cache == CacheLocal }

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
	Group        GroupMode     // lifeguard_group

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

	// Redis makes CacheLocal hold for all processes that set it to the same Redis, and those
	// with CacheCDC share replication slots, see CDCSlots. It may hold a password, which no
	// error, log line or metric shows.
	Redis string // lifeguard_redis

	// CDCSlots is how many processes with CacheCDC and Redis hear of changes through a slot
	// of their own. The others hear of them through Redis, where one of these writes them.
	CDCSlots int // lifeguard_cdc_slots

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
