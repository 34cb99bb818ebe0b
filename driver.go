// Package lifeguard is a database/sql driver for PostgreSQL. It wraps pgx/stdlib and
// is used by changing the driver's name:
//
//	db, err := sql.Open("lifeguard", "postgres://user@host/database")
//
// A connection that database/sql makes is virtual: it costs no PostgreSQL connection
// until a statement needs one, and gives it back when database/sql takes the virtual
// one back. So any number of goroutines share few physical connections
// (pool_max_conns), whatever sql.DB's own limits say. See [Settings] for what a DSN
// can say, and [FromDB] for the way from a *sql.DB to its [Connector].
package lifeguard

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// DriverName is the name under which the driver is registered.
const DriverName = "lifeguard"

func init() { sql.Register(DriverName, Driver{}) }

// Driver is the driver registered as [DriverName].
type Driver struct {
	connector *Connector // set in the value that a *sql.DB holds; see FromDB
}

var (
	_ driver.Driver        = Driver{}
	_ driver.DriverContext = Driver{}
)

// Open opens one connection outside any pool of database/sql; sql.Open does not use
// it. Closing the connection closes what it stands on.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	connector, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(context.Background())
	if err != nil {
		_ = connector.(*Connector).Close() //nolint:errcheck // OpenConnector returns no other
		return nil, err
	}
	conn.(*Conn).ownsConnector = true //nolint:errcheck // Connect returns no other
	return conn, nil
}

// OpenConnector implements driver.DriverContext for sql.Open. As in pgx/stdlib, a bad
// DSN is reported by the first use, not here.
func (Driver) OpenConnector(dsn string) (driver.Connector, error) {
	c := &Connector{dsn: dsn}
	_, _ = c.ready() // starts the warm-up; a failure is found again by Connect
	return c, nil
}

// Connector makes connections that share one set of physical connections. It is safe
// for concurrent use. Close it, or the *sql.DB over it, to end them.
type Connector struct {
	dsn string // of sql.Open; parsed by ready

	mu   sync.Mutex // guards core and shut; never held while blocking
	core *core
	shut bool
}

var _ driver.Connector = (*Connector)(nil)

// core is what a Connector stands on once its settings are known.
type core struct {
	cfg      Config
	pool     *pool
	limiter  *limiter
	ceilings *ceilings      // of the limiter
	auto     *autoLimit     // nil unless lifeguard_limit=auto
	fleet    *fleet         // nil without lifeguard_fleet_budget
	texts    openTexts      // of prepared statements
	known    *sqltext.Cache // what each SQL text is
	metrics  *metrics
	top      topQueries
	journal  *journal
	groups   *groups                    // nil if they are off
	tracing  *tracing                   // nil if it is off
	cache    *queryCache                // nil if it is off
	teller   atomic.Pointer[queryCache] // without a cache: see guarding
	wrapped  bool                       // the connections are somebody else's
	closed   atomic.Bool
	conns    atomic.Uint32
}

// Open opens a database like sql.Open("lifeguard", dsn), but reports a bad DSN at
// once and lets database/sql keep as many idle virtual connections as there can be
// statements at work: they cost next to nothing. Close on the result ends every
// connection and goroutine.
func Open(dsn string) (*sql.DB, error) {
	cfg, err := ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	connector, err := NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(idleVirtualConns)
	return db, nil
}

// idleVirtualConns is how many virtual connections Open lets database/sql keep. Each
// is some hundred bytes.
const idleVirtualConns = 1024

// NewConnector makes a Connector for sql.OpenDB. It reads no environment and makes no
// connection, except in the background if MinConns or MinIdleConns ask for it.
func NewConnector(cfg Config) (*Connector, error) {
	inner, err := newInner(&cfg)
	if err != nil {
		return nil, err
	}
	return newConnector(inner, cfg)
}

// WrapConnector makes a Connector whose physical connections come from inner, which
// must be one of pgx/stdlib's: stdlib.GetConnector or stdlib.GetPoolConnector. Options
// and hooks given to those keep working. cfg.ConnConfig, BeforeConnect and
// AfterConnect must be unset, for inner has its own, and so must Cancel be CancelKeep.
//
// Over a pgxpool, each connection goes back to that pool at the end of its lease, so
// that other users of the pool are not starved; closing the Connector does not close
// it.
func WrapConnector(inner driver.Connector, cfg Config) (*Connector, error) {
	if inner == nil {
		return nil, errors.New("lifeguard: WrapConnector needs a connector of pgx/stdlib, not nil")
	}
	if _, ok := inner.Driver().(*stdlib.Driver); !ok {
		return nil, fmt.Errorf("lifeguard: WrapConnector needs a connector of pgx/stdlib, not %T", inner)
	}
	if err := cfg.checkInner(); err != nil {
		return nil, err
	}
	return newConnector(inner, cfg)
}

// checkInner refuses what cannot be done to connections that somebody else opens.
func (c *Config) checkInner() error {
	if c.ConnConfig != nil || c.BeforeConnect != nil || c.AfterConnect != nil {
		return errors.New("lifeguard: ConnConfig, BeforeConnect and AfterConnect belong to the inner connector; use stdlib.GetConnector's options")
	}
	if c.FleetBudget > 0 {
		return errors.New("lifeguard: lifeguard_fleet_budget needs a DSN or NewConnector, where Lifeguard names the physical connections itself")
	}
	if c.Cancel == CancelKeep {
		return errors.New("lifeguard: lifeguard_cancel=keep needs a DSN or NewConnector, where Lifeguard opens the physical connections itself")
	}
	if c.Cache != "" && c.Cache != CacheOff {
		return errors.New("lifeguard: lifeguard_cache needs a DSN or NewConnector: hooks of an inner connector may change a session between two leases")
	}
	return nil
}

func newConnector(inner driver.Connector, cfg Config) (*Connector, error) {
	co, err := newCore(inner, cfg)
	if err != nil {
		return nil, err
	}
	return &Connector{core: co}, nil
}

// newCore makes what all connections of a Connector share. Nothing is sent before the first of
// them, but for the cache of the mode cdc, which begins to listen.
//
//nolint:contextcheck // what it starts outlives whoever asked for it, until Close
func newCore(inner driver.Connector, cfg Config) (*core, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	co := &core{cfg: cfg, known: sqltext.NewCache(sqltext.CacheConfig{})}
	limits := cfg.limiterConfig(co.logStall, co.countWait)
	limits.onSpare = func(ph *physical) { co.pool.put(ph) }
	co.limiter = newLimiter(limits)
	co.journal = newJournal(&co.cfg, co.limiter.now)
	co.pool = newPool(&co.cfg, co.journal.watching(inner.Connect), isPoolConnector(inner), co.limiter.now)
	co.journal.watchPool(co.pool)
	if co.cache, err = newQueryCache(co); err != nil {
		return nil, err
	}
	co.pool.cache.Store(co.cache)
	co.wrapped = cfg.ConnConfig == nil
	co.groups = newGroups(co)
	co.pool.groups.Store(co.groups)
	co.adapt()
	if co.metrics, err = registerMetrics(&co.cfg, co.stats); err != nil {
		cfg.Logger.Warn("lifeguard: the pool's metrics could not be registered", "pool", cfg.Name, "error", err)
	}
	if co.tracing, err = newTracing(&co.cfg, co.metrics.pool); err != nil {
		cfg.Logger.Warn("lifeguard: the OpenTelemetry instrument could not be made", "pool", cfg.Name, "error", err)
	}
	inProcess.join(co)
	return co, nil
}

// close ends everything that the core has started. A second call must leave the registry
// alone: there may be another pool of that name by then.
func (co *core) close() {
	again := co.closed.Swap(true)
	co.auto.close()
	co.limiter.close()
	co.cache.close()
	co.teller.Load().close()
	inProcess.leave(co)
	co.pool.close()
	co.cache.awaitSharing()
	if !again && co.metrics.registered {
		co.cfg.Registerer.Unregister(co.metrics)
	}
}

// newInner makes the connector that opens physical connections.
func newInner(cfg *Config) (driver.Connector, error) {
	if cfg.registered != "" {
		if err := cfg.checkInner(); err != nil {
			return nil, err
		}
		return stdlib.GetDefaultDriver().(driver.DriverContext).OpenConnector(cfg.registered) //nolint:errcheck // stdlib's driver is one
	}
	if cfg.ConnConfig == nil {
		return nil, errors.New("lifeguard: Config.ConnConfig is not set; make it with lifeguard.ParseConfig or pgx.ParseConfig")
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	own := *cfg
	own.ConnConfig = cfg.ConnConfig.Copy()
	if cfg.FleetBudget > 0 {
		cfg.instance = fleetName(own.ConnConfig.RuntimeParams["application_name"])
		own.ConnConfig.RuntimeParams["application_name"] = cfg.instance
	}
	options := []stdlib.OptionOpenDB{stdlib.OptionBeforeConnect(own.beforeConnect)}
	if own.AfterConnect != nil {
		options = append(options, stdlib.OptionAfterConnect(own.afterConnect))
	}
	return stdlib.GetConnector(*own.ConnConfig, options...), nil
}

// beforeConnect prepares the copy of ConnConfig that one connection is opened with.
func (c *Config) beforeConnect(ctx context.Context, connConfig *pgx.ConnConfig) error {
	connConfig.Password = c.currentPassword()
	if c.Cancel == CancelKeep {
		connConfig.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
			w := &cancelWatch{pg: pg}
			pg.CustomData()[cancelWatchKey] = w
			return w
		}
	}
	if c.BeforeConnect == nil {
		return nil
	}
	return c.BeforeConnect(ctx, connConfig)
}

// afterConnect calls the hook, and closes the connection that it refuses, which
// stdlib leaves open.
func (c *Config) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	accepted := false
	defer func() {
		if !accepted { // an error, or a panic
			_ = conn.Close(ctx)
		}
	}()
	if err := c.AfterConnect(ctx, conn); err != nil {
		return err
	}
	accepted = true
	return nil
}

// isPoolConnector reports whether inner takes its connections from a pgxpool. stdlib
// does not say so; its unexported field does, and a test notices if that changes.
func isPoolConnector(inner driver.Connector) bool {
	v := reflect.ValueOf(inner)
	if v.Kind() != reflect.Struct {
		return false
	}
	field := v.FieldByName("pool")
	return field.IsValid() && field.Kind() == reflect.Pointer && !field.IsNil()
}

// ready returns the core, made from the DSN at first need. Until that succeeds it is
// tried again each time, since what a DSN refers to (a service file, a registered
// configuration, the environment) may be mended.
func (c *Connector) ready() (*core, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return nil, ErrClosed
	}
	if c.core != nil {
		return c.core, nil
	}
	cfg, err := ParseConfig(c.dsn)
	if err != nil {
		return nil, err
	}
	inner, err := newInner(&cfg)
	if err != nil {
		return nil, err
	}
	c.core, err = newCore(inner, cfg)
	return c.core, err
}

// Connect implements driver.Connector. In checkout mode it makes no connection to the
// server; in session mode it does.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	co, err := c.ready()
	if err != nil {
		return nil, err
	}
	number := co.conns.Add(1)
	conn := &Conn{core: co, connector: c, shard: uint8(number), dice: number<<1 | 1} //nolint:gosec // any number does
	if co.cfg.Mode == ModeSession {
		if conn.session, err = co.pool.openSession(ctx); err != nil {
			return nil, err
		}
		conn.parked = true
	}
	return conn, nil
}

// Driver implements driver.Connector. Its result leads [FromDB] back to c.
func (c *Connector) Driver() driver.Driver { return Driver{connector: c} }

// Close ends the physical connections and every goroutine of the connector. As in
// database/sql, what has been started may finish: a leased connection is closed at the
// end of its lease. *sql.DB's Close calls it. Closing twice is no error.
func (c *Connector) Close() error {
	c.mu.Lock()
	co := c.core
	c.shut = true
	c.mu.Unlock()
	if co != nil {
		co.close()
	}
	return nil
}

// FromDB returns the Connector under a *sql.DB that was opened on this driver, by
// sql.Open, Open or sql.OpenDB. It fails if db stands on another driver, or if its
// DSN is not valid.
func FromDB(db *sql.DB) (*Connector, error) {
	d, ok := db.Driver().(Driver)
	if !ok || d.connector == nil {
		return nil, fmt.Errorf("lifeguard: the database was opened on another driver, %T", db.Driver())
	}
	if _, err := d.connector.ready(); err != nil && !errors.Is(err, ErrClosed) {
		return nil, err
	}
	return d.connector, nil
}

// Config returns the settings in force, with defaults filled in, but without
// ConnConfig, which holds the password. It is the zero Config while the DSN is not
// valid.
func (c *Connector) Config() Config {
	co, err := c.peek()
	if err != nil {
		return Config{}
	}
	cfg := co.cfg
	cfg.ConnConfig = nil
	return cfg
}

// PgxConn returns the pgx connection behind what sql.Conn.Raw hands over. It works
// for Lifeguard's connections, for stdlib's, and for wrappers that offer Raw() or
// Conn(). The physical connection stays with the sql.Conn until that is closed.
func PgxConn(driverConn any) (*pgx.Conn, error) {
	switch c := driverConn.(type) {
	case *Conn:
		return c.pgxConn(context.Background())
	case interface{ Conn() *pgx.Conn }:
		return c.Conn(), nil
	case interface{ Raw() driver.Conn }:
		return PgxConn(c.Raw())
	}
	return nil, fmt.Errorf("lifeguard: a %T has no pgx connection", driverConn)
}
