package lifeguard_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard"
)

// BenchmarkSharedHit is a query that Redis answers, and one that memory answers and Redis
// confirms. After each there is a bare round trip, a GET of a value as long: "over-µs" is by
// how much the median of the one exceeds that of the other.
func BenchmarkSharedHit(b *testing.B) {
	url := sharedURL(b)
	o, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	raw := redis.NewClient(o)
	b.Cleanup(func() { _ = raw.Close() })
	if err := raw.Set(b.Context(), "bare", strings.Repeat("x", 950), 0).Err(); err != nil {
		b.Fatal(err)
	}
	dsn, _ := sharedDB(b, "create table item (id int primary key, n bigint not null, filler text not null)")
	filler, of := openShared(b, dsn, url)
	if _, err := filler.ExecContext(b.Context(), "insert into item select i, 7 * i, repeat('x', 700) from generate_series(1, 500) i"); err != nil {
		b.Fatal(err)
	}
	const query = "select n, id, filler from item where id = $1"
	fromRedis := func(st *lifeguard.CacheStats) uint64 { return st.Redis.Hits }
	untilItem := func(read func(), count func() uint64) {
		for before, begun := count(), time.Now(); count() == before; read() {
			if time.Since(begun) > 30*time.Second {
				b.Fatal("not within 30 s")
			}
		}
	}
	for _, c := range []struct {
		name    string
		counter func(*lifeguard.CacheStats) uint64
		memory  string
	}{
		{"memory", hits, "lifeguard_cache_size=64MiB"},
		{"redis", fromRedis, "lifeguard_cache_size=64KiB"}, // for some of the rows
	} {
		db, conn := openShared(b, dsn, url, c.memory)
		var id, n, next int
		var text string
		read := func() {
			next = next%500 + 1
			if err := db.QueryRowContext(b.Context(), query, next).Scan(&n, &id, &text); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			fill := func() {
				next = next%500 + 1
				_ = filler.QueryRowContext(b.Context(), query, next).Scan(&n, &id, &text)
			}
			untilItem(fill, func() uint64 { return hits(of.Stats().Cache) })
			for range 500 {
				fill()
			}
			untilItem(read, func() uint64 { return c.counter(conn.Stats().Cache) })
			for range 500 {
				read()
			}
			before := c.counter(conn.Stats().Cache)
			var took, bare []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				begun := time.Now()
				read()
				took = append(took, time.Since(begun))
				b.StopTimer()
				begun = time.Now()
				if err := raw.Get(b.Context(), "bare").Err(); err != nil {
					b.Fatal(err)
				}
				bare = append(bare, time.Since(begun))
				b.StartTimer()
			}
			if answered := c.counter(conn.Stats().Cache) - before; answered < uint64(len(took))*7/10 {
				b.Errorf("%d of %d: %+v", answered, len(took), conn.Stats().Cache)
			}
			slices.Sort(took)
			slices.Sort(bare)
			b.ReportMetric(float64((took[len(took)/2]-bare[len(bare)/2]).Nanoseconds())/1000, "over-µs")
			b.ReportMetric(float64(bare[len(bare)/2].Nanoseconds())/1000, "bare-µs")
		})
	}
}
