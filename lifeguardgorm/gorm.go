// Package lifeguardgorm opens GORM on Lifeguard with what postgres.Open of GORM's own
// driver does with a DSN, and labels GORM's statements with their models:
//
//	db, err := gorm.Open(lifeguardgorm.Open(dsn), &gorm.Config{TranslateError: true})
//	…
//	err = db.Use(lifeguardgorm.Labels{})
//
// It is not needed to use GORM on Lifeguard. postgres.Config{Conn: db} over any *sql.DB of
// Lifeguard's works, and so does postgres.Config{DriverName: "lifeguard", DSN: dsn}; but
// with either, as with any Conn and any DriverName, GORM ignores PreferSimpleProtocol and
// the location that a TimeZone in the DSN gives to timestamps.
package lifeguardgorm

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"go.opentelemetry.io/otel"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/lifeguard-go/lifeguard"
)

// Config is what a [Dialector] is made from. Its fields have the names and meanings of
// GORM's postgres.Config, except for TimestampTZ and Configure.
type Config struct {
	// DSN is read by lifeguard.ParseConfig: pgx's keys and Lifeguard's, and the
	// environment. A TimeZone in it, however it is spelt (TimeZone, timezone, time_zone),
	// is the session's, and the location of what is read from a timestamp without time
	// zone, as with postgres.Open.
	DSN string
	// PreferSimpleProtocol makes simple_protocol the default way to run statements.
	PreferSimpleProtocol bool
	// WithoutReturning and WithoutQuotingCheck are GORM's own.
	WithoutReturning    bool
	WithoutQuotingCheck bool

	// TimestampTZ, if set, is the location of what is read from a timestamptz. PostgreSQL
	// keeps an instant and no zone, so nil means what it means with pgx and with
	// postgres.Open: time.Local. lib/pq gave the session's time zone; for that, set the
	// location that TimeZone in the DSN names. With a location of either kind the query
	// cache keeps no result with such a column, and says so (types).
	TimestampTZ *time.Location

	// Configure, if set, is called with what the DSN says and may change it: hooks,
	// logger, registerer, providers. It is called each time a database is opened.
	Configure func(*lifeguard.Config) error
}

// Dialector is GORM's dialector for PostgreSQL on Lifeguard. gorm.Open opens the database;
// Close of the *sql.DB that gorm.DB.DB returns ends it.
type Dialector struct {
	*postgres.Dialector

	config Config
}

var (
	_ gorm.Dialector                     = (*Dialector)(nil)
	_ gorm.ErrorTranslator               = (*Dialector)(nil)
	_ gorm.SavePointerDialectorInterface = (*Dialector)(nil)
)

// Open is postgres.Open on Lifeguard. A bad DSN is an error of gorm.Open.
func Open(dsn string) gorm.Dialector { return New(Config{DSN: dsn}) }

// New is postgres.New on Lifeguard. A bad DSN is an error of gorm.Open.
func New(config Config) gorm.Dialector {
	return &Dialector{config: config, Dialector: newInner(config, nil)}
}

// newInner makes GORM's dialector. DriverName stays empty: its migrator asks for
// simple_protocol, with which it reads a table that it has just changed, only then.
func newInner(config Config, db *sql.DB) *postgres.Dialector {
	inner := &postgres.Dialector{Config: &postgres.Config{
		DSN:                  config.DSN,
		PreferSimpleProtocol: config.PreferSimpleProtocol,
		WithoutReturning:     config.WithoutReturning,
		WithoutQuotingCheck:  config.WithoutQuotingCheck,
	}}
	if db != nil { // a nil *sql.DB in the interface would be a pool
		inner.Conn = db
	}
	return inner
}

// Initialize opens the database for gorm.Open.
func (d *Dialector) Initialize(db *gorm.DB) error {
	cfg, err := d.config.parse()
	if err != nil {
		return err
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxIdleConns(idleVirtualConns)

	// The copy is this database's: another gorm.Open with d has another pool.
	opened := *d
	opened.Dialector = newInner(d.config, pool)
	if err := opened.Dialector.Initialize(db); err != nil {
		return errors.Join(err, pool.Close())
	}
	db.Dialector = &opened
	return nil
}

// idleVirtualConns is lifeguard.Open's choice: a virtual connection costs next to nothing.
const idleVirtualConns = 1024

// parse makes Lifeguard's configuration of what stands in c.
func (c *Config) parse() (lifeguard.Config, error) {
	cfg, err := lifeguard.ParseConfig(c.DSN)
	if err != nil {
		return lifeguard.Config{}, err
	}
	if cfg.ConnConfig == nil {
		return lifeguard.Config{}, errors.New("lifeguardgorm: a name made by stdlib.RegisterConnConfig is no DSN here; open it with sql.Open and use postgres.Config{Conn: db}")
	}
	if c.PreferSimpleProtocol {
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	}
	location, err := takeTimeZone(cfg.ConnConfig.RuntimeParams)
	if err != nil {
		return lifeguard.Config{}, err
	}
	if c.Configure != nil {
		if err := c.Configure(&cfg); err != nil {
			return lifeguard.Config{}, err
		}
	}
	if location != nil {
		cfg.AfterConnect = reading(&pgtype.Type{
			Name: "timestamp", OID: pgtype.TimestampOID, Codec: &pgtype.TimestampCodec{ScanLocation: location},
		}, cfg.AfterConnect)
	}
	if c.TimestampTZ != nil {
		cfg.AfterConnect = reading(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: c.TimestampTZ},
		}, cfg.AfterConnect)
	}
	if cfg.TracerProvider == nil && cfg.Trace == lifeguard.TraceOn {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.TracerProvider != nil {
		cfg.TracerProvider = TracerProvider(cfg.TracerProvider)
	}
	return cfg, nil
}

// takeTimeZone finds the time zone that GORM would find in the DSN, and leaves it for the
// server under the one name that PostgreSQL knows. It returns nil if there is none.
func takeTimeZone(params map[string]string) (*time.Location, error) {
	zone := ""
	for _, key := range []string{"time_zone", "TimeZone", "timezone"} {
		if value, ok := params[key]; ok {
			zone = value
			delete(params, key)
		}
	}
	if zone == "" {
		return nil, nil
	}
	params["timezone"] = zone
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, errors.New("lifeguardgorm: TimeZone in the DSN is no time zone that Go knows: write one such as Europe/Berlin, and import time/tzdata where the system has no time zones")
	}
	return location, nil
}

// reading makes each connection read a type as t says, and then calls next.
func reading(t *pgtype.Type, next func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(t)
		if next == nil {
			return nil
		}
		return next(ctx, conn)
	}
}
