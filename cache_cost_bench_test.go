package lifeguard_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/pgstub"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// useless are statements that have nothing of a cache.
var useless = []struct {
	name string
	do   func(ctx context.Context, db *sql.DB) error
}{
	{"bypass", func(ctx context.Context, db *sql.DB) error {
		var n float64
		return db.QueryRowContext(ctx, "select id + random() from item where id = $1", int64(7)).Scan(&n)
	}},
	{"write", func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "insert into log (line) values ($1)", int64(7))
		return err
	}},
	{"tx", func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "insert into log (line) values ($1)", int64(7)); err != nil {
			return err
		}
		return tx.Commit()
	}},
}

// neighbourhoods are the caches that there may be in a process: none at all, one of another
// Connector, and one's own.
var neighbourhoods = []struct {
	name        string
	own, beside string // lifeguard_cache; empty for no Connector
}{
	{"none", "off", ""}, {"beside", "off", "local"}, {"own", "local", ""},
}

// openUseless is a pool whose statements are known, of a server that costs nothing.
func openUseless(tb testing.TB, dsn, own, beside string, do func(context.Context, *sql.DB) error) *sql.DB {
	tb.Helper()
	if beside != "" {
		other := openDSN(tb, withSettings(dsn, "lifeguard_cache="+beside))
		if err := other.PingContext(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	recorded := &pgstub.Recorded{}
	cfg := parse(tb, withSettings(dsn, "sslmode=disable", "pool_max_conns=1", "lifeguard_cache="+own))
	cfg.ConnConfig.DialFunc = recorded.Dial(cfg.ConnConfig.DialFunc)
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	db := sql.OpenDB(connector)
	tb.Cleanup(func() { _ = db.Close() })
	for range 8 {
		if err := do(tb.Context(), db); err != nil {
			tb.Fatal(err)
		}
	}
	recorded.Stop()
	if err := do(tb.Context(), db); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if n := recorded.Missed(); n > 0 {
			tb.Errorf("%d requests were not known", n)
		}
	})
	return db
}

const uselessSchema = cacheSchema + `; create table log (line int8)`

// BenchmarkUselessCache is what statements cost the client that have nothing of a cache, by
// the caches that there are.
func BenchmarkUselessCache(b *testing.B) {
	dsn := pgtest.DSN(b)
	plain := openDSN(b, dsn)
	mustExec(b, plain, uselessSchema)
	mustClose(b, plain)
	for _, s := range useless {
		for _, n := range neighbourhoods {
			b.Run(s.name+"/cache="+n.name, func(b *testing.B) {
				b.ReportAllocs()
				db := openUseless(b, dsn, n.own, n.beside, s.do)
				ctx := context.Background()
				for b.Loop() {
					if err := s.do(ctx, db); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
