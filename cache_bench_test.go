package lifeguard_test

import (
	"database/sql"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// BenchmarkOneRow reads one row by its key: from memory, from the server past a cache
// that is on, from the server without one, and through plain pgx/stdlib.
func BenchmarkOneRow(b *testing.B) {
	dsn := pgtest.DSN(b)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = plain.Close() })
	if _, err := plain.Exec(cacheSchema); err != nil {
		b.Fatal(err)
	}
	cached := openDSN(b, withSettings(dsn, "lifeguard_cache=local"))
	for _, bench := range []struct {
		name  string
		db    *sql.DB
		query string
	}{
		{"hit", cached, oneItem},
		{"bypass", cached, oneItem + " and random() >= 0"},
		{"off", openDSN(b, dsn), oneItem},
		{"pgx", plain, oneItem},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var id int
			var name string
			for range 5 {
				if err := bench.db.QueryRow(bench.query, 7).Scan(&id, &name); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			for b.Loop() {
				if err := bench.db.QueryRow(bench.query, 7).Scan(&id, &name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	connector, err := lifeguard.FromDB(cached)
	if err != nil {
		b.Fatal(err)
	}
	if connector.Stats().Cache.Hits == 0 {
		b.Error("no hit")
	}
}
