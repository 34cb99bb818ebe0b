//go:build linux

package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
)

// conns is the pool of every contestant that has one.
const conns = 4

// statement costs the server processor time and returns one number.
type statement struct {
	text string
	arg  int64
}

// session is a contestant that has been opened.
type session struct {
	do    func(ctx context.Context, s statement) error
	close func()
	db    *sql.DB // nil for pgxpool
}

// contestant is one way to reach the server. A fresh one is opened for each cell.
type contestant struct {
	name   string
	note   string // what it stands for, in the tables
	guard  bool   // Lifeguard
	behind bool   // PgBouncer: dsn is its own
	needs  func() string
	open   func(ctx context.Context, dsn string) (*session, error)
}

// Names that the report looks for.
const (
	nameDefaults   = "stdlib defaults"
	nameMax4       = "stdlib max 4"
	nameMax25      = "stdlib max 25"
	nameOverPool   = "stdlib OpenDBFromPool"
	namePgxpool    = "pgxpool"
	nameBouncer    = "PgBouncer"
	nameGuard      = "Lifeguard defaults"
	nameGuardShort = "Lifeguard queue=16"
	nameGuardCoDel = "Lifeguard codel=20ms"
	nameGuardAuto  = "Lifeguard auto"
)

// contestants lists them in the order of the tables.
func contestants() []*contestant {
	return []*contestant{
		{name: nameDefaults, note: "`sql.Open(\"pgx\", dsn)` and nothing else: no limit, 2 idle", open: openStdlib(0, 0)},
		{name: nameMax4, note: "`SetMaxOpenConns(4)`, `SetMaxIdleConns(4)`", open: openStdlib(conns, conns)},
		{name: nameMax25, note: "`SetMaxOpenConns(25)`, `SetMaxIdleConns(25)`", open: openStdlib(25, 25)},
		{name: nameOverPool, note: "`stdlib.OpenDBFromPool` over a pgxpool of 4", open: openOverPool},
		{name: namePgxpool, note: "pgxpool of 4, native", open: openPgxpool},
		{name: nameBouncer, note: "PgBouncer 1.18, transaction mode, `default_pool_size=4`; clients: stdlib with `SetMaxOpenConns(25)`, `default_query_exec_mode=exec`", behind: true, open: openBouncer},
		{name: nameGuard, note: "`sql.Open(\"lifeguard\", dsn)`, `pool_max_conns=4`", guard: true, open: openGuard("")},
		{name: nameGuardShort, note: "and `lifeguard_queue=16`", guard: true, open: openGuard("lifeguard_queue=16")},
		{name: nameGuardCoDel, note: "and `lifeguard_queue_target=20ms`", guard: true, open: openGuard("lifeguard_queue_target=20ms")},
		{name: nameGuardAuto, note: "and `lifeguard_limit=auto`", guard: true, needs: needsAuto, open: openGuard("lifeguard_limit=auto")},
	}
}

func find(name string) *contestant {
	for _, c := range contestants() {
		if c.name == name {
			return c
		}
	}
	panic("no contestant " + name)
}

// needsAuto says why the adaptive limit cannot compete, or nothing.
func needsAuto() string {
	if _, err := lifeguard.ParseConfig("postgres://u@127.0.0.1/d?lifeguard_limit=auto"); err != nil {
		return "this version has no lifeguard_limit=auto"
	}
	return ""
}

func overSQL(db *sql.DB, end func()) *session {
	return &session{
		db: db,
		do: func(ctx context.Context, s statement) error {
			var n int64
			return db.QueryRowContext(ctx, s.text, s.arg).Scan(&n)
		},
		close: func() {
			_ = db.Close()
			if end != nil {
				end()
			}
		},
	}
}

func openStdlib(maxOpen, maxIdle int) func(context.Context, string) (*session, error) {
	return func(_ context.Context, dsn string) (*session, error) {
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			return nil, err
		}
		if maxOpen > 0 {
			db.SetMaxOpenConns(maxOpen)
			db.SetMaxIdleConns(maxIdle)
		}
		return overSQL(db, nil), nil
	}
}

// openBouncer speaks to PgBouncer in transaction mode, which before 1.21 knows no
// prepared statements: exec mode sends each statement in one unnamed round trip.
func openBouncer(ctx context.Context, dsn string) (*session, error) {
	s, err := openStdlib(25, 25)(ctx, with(dsn, "default_query_exec_mode=exec"))
	return s, err
}

func openPool(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, cfg)
}

func openOverPool(ctx context.Context, dsn string) (*session, error) {
	pool, err := openPool(ctx, dsn)
	if err != nil {
		return nil, err
	}
	return overSQL(stdlib.OpenDBFromPool(pool), pool.Close), nil
}

func openPgxpool(ctx context.Context, dsn string) (*session, error) {
	pool, err := openPool(ctx, dsn)
	if err != nil {
		return nil, err
	}
	return &session{
		do: func(ctx context.Context, s statement) error {
			var n int64
			return pool.QueryRow(ctx, s.text, s.arg).Scan(&n)
		},
		close: pool.Close,
	}, nil
}

func openGuard(setting string) func(context.Context, string) (*session, error) {
	return func(_ context.Context, dsn string) (*session, error) {
		dsn = with(dsn, fmt.Sprintf("pool_max_conns=%d", conns))
		if setting != "" {
			dsn = with(dsn, setting)
		}
		db, err := sql.Open("lifeguard", dsn)
		if err != nil {
			return nil, err
		}
		if _, err := lifeguard.FromDB(db); err != nil {
			return nil, err
		}
		return overSQL(db, nil), nil
	}
}

// with adds a setting to a DSN that is a URL.
func with(dsn, setting string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		panic(err) // pgtest made it
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += setting
	return u.String()
}

// guardStats returns Lifeguard's own numbers; ok is false for the others.
func (s *session) guardStats() (lifeguard.Stats, bool) {
	if s.db == nil {
		return lifeguard.Stats{}, false
	}
	c, err := lifeguard.FromDB(s.db)
	if err != nil {
		return lifeguard.Stats{}, false
	}
	return c.Stats(), true
}
