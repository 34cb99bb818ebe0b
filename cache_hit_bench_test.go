//go:build unix

package lifeguard_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/constantrow"
)

const hitQuery = "select n from t where id = $1"

func hitContestants(b *testing.B, keys int, run func(b *testing.B, db *sql.DB)) {
	b.Helper()
	b.Run("driver=constant", func(b *testing.B) {
		db := constantrow.Open()
		defer db.Close()
		db.SetMaxIdleConns(1024)
		run(b, db)
	})
	b.Run("driver=lifeguard", func(b *testing.B) {
		c := openCached(b, "create table t (id int8 primary key, n int8); insert into t select i, i + 1000 from generate_series(1, 100000) i")
		c.warm(hitQuery, int64(1))
		for id := range keys {
			var n int64
			if err := c.QueryRow(hitQuery, int64(1+id)).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
		misses := c.stats().Misses
		run(b, c.DB)
		if n := c.stats().Misses - misses; n > 0 {
			b.Errorf("%d misses", n)
		}
	})
}

func benchmarkHits(b *testing.B, keys int, parallel bool) {
	b.Helper()
	ids := make([]any, keys)
	for i := range ids {
		ids[i] = int64(1 + i)
	}
	hitContestants(b, keys, func(b *testing.B, db *sql.DB) {
		b.Helper()
		b.ReportAllocs()
		ctx := context.Background()
		if parallel {
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				rng := rand.New(rand.NewPCG(1, rand.Uint64()))
				var n int64
				for pb.Next() {
					if err := db.QueryRowContext(ctx, hitQuery, ids[rng.IntN(keys)]).Scan(&n); err != nil {
						b.Error(err)
						return
					}
				}
			})
			return
		}
		rng := rand.New(rand.NewPCG(1, 2))
		var n int64
		before := cpuTime()
		defer func() { b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op") }()
		for b.Loop() {
			if err := db.QueryRowContext(ctx, hitQuery, ids[rng.IntN(keys)]).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHit100, BenchmarkHit100000: one row from memory, with everything on that is on by default.
func BenchmarkHit100(b *testing.B)      { benchmarkHits(b, 100, false) }
func BenchmarkHit100000(b *testing.B)   { benchmarkHits(b, 100_000, false) }
func BenchmarkHitParallel(b *testing.B) { benchmarkHits(b, 100, true) }

// cpuTime is what this process has used: a busy machine does not change it much.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
