package lifeguard

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

func TestTimeBucketsFollowOneAnother(t *testing.T) {
	t.Parallel()
	for i := 1; i < len(timeCounts{}); i++ {
		floor := timeBucketFloor(i)
		if timeBucket(floor) != i || timeBucket(floor-1) != i-1 {
			t.Errorf("bucket %d begins at %v, which is in bucket %d, and a nanosecond less in %d", i, floor, timeBucket(floor), timeBucket(floor-1))
		}
	}
	if timeBucket(0) != 0 || timeBucket(-1) != 0 || timeBucket(1<<62) != len(timeCounts{})-1 {
		t.Error("the ends are not in the first and the last bucket")
	}
}

func TestPercentilesAreOffByAFifthAtMost(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"exponential": func() time.Duration { return time.Duration(random.ExpFloat64() * float64(3*time.Millisecond)) },
		"uniform":     func() time.Duration { return 50*time.Microsecond + time.Duration(random.Int64N(int64(10*time.Second))) },
		"constant":    func() time.Duration { return 700 * time.Microsecond },
	} {
		var sum queryCounts
		all := make([]time.Duration, 20_000)
		for i := range all {
			all[i] = draw()
			sum.add(&event{first: all[i]})
		}
		slices.Sort(all)
		stats := sum.stats()
		for q, got := range map[float64]time.Duration{.50: stats.P50, .95: stats.P95, .99: stats.P99} {
			want := all[int(q*float64(len(all)))]
			if off := float64(got)/float64(want) - 1; off < -.2 || off > .2 {
				t.Errorf("%s: p%.0f is %v, not %v", name, 100*q, got, want)
			}
		}
		if stats.Max != all[len(all)-1] {
			t.Errorf("%s: the longest took %v, not %v", name, stats.Max, all[len(all)-1])
		}
	}
}

func TestAFullBucketKeepsTheRatios(t *testing.T) {
	t.Parallel()
	var times timeCounts
	fast, slow := timeBucket(time.Millisecond), timeBucket(time.Second)
	times[fast], times[slow] = 1<<32-1, 1<<31
	before := times.quantile(.6)
	times.add(time.Millisecond)
	if times[fast] != 1<<31 || times[slow] != 1<<30 {
		t.Errorf("after halving: %d fast, %d slow", times[fast], times[slow])
	}
	if after := times.quantile(.6); after.Round(time.Microsecond) != before.Round(time.Microsecond) {
		t.Errorf("p60 went from %v to %v", before, after)
	}
}

// numbered is the i-th of many statements that differ in more than literals.
func numbered(i int) *sqltext.Statement {
	return sqltext.Analyze(fmt.Sprintf("select c%d from t", i))
}

func sumCalls(list []QueryStats) (calls, rows uint64) {
	for _, q := range list {
		calls += q.Calls
		rows += q.Rows
	}
	return calls, rows
}

func TestANewlyHotStatementDisplacesAColdOneAndNothingIsLostInTheSum(t *testing.T) {
	t.Parallel()
	var top topQueries
	total := uint64(0)
	add := func(i int, took time.Duration) {
		total++
		top.add(i, &event{st: numbered(i), first: took, rows: 1})
	}
	const hot = 4_000_000
	for i := range 100 { // these matter, and never come back
		add(i, time.Second)
	}
	for i := range 20_000 { // each is seen once
		add(1000+i, time.Millisecond)
	}
	for i := range 3 * topFingerprints { // and a newcomer, lighter than all, gets hot amid such
		add(hot, 100*time.Microsecond)
		add(hot+topShards*(i+1), 100*time.Microsecond) // in the same shard
	}

	list := top.list(0)
	if len(list) != 501 {
		t.Fatalf("%d entries, not 500, as TopQueries says, and one for the others", len(list))
	}
	if calls, rows := sumCalls(list); calls != total || rows != total {
		t.Errorf("the sum is %d calls and %d rows of %d", calls, rows, total)
	}
	if last := list[len(list)-1]; last.Summary != "other" || last.Fingerprint != 0 || last.Query != "" {
		t.Errorf("the last entry is %+v", last)
	}
	newcomer := numbered(hot)
	at := slices.IndexFunc(list, func(q QueryStats) bool { return q.Fingerprint == newcomer.Fingerprint })
	if at < 0 {
		t.Fatal("the newcomer is not known")
	}
	if q := list[at]; q.Summary != "SELECT t" || q.Query != newcomer.Normalized || q.Calls < 1400 {
		t.Errorf("the newcomer is %+v", q)
	}
	for i := range 100 {
		if !slices.ContainsFunc(list, func(q QueryStats) bool { return q.Fingerprint == numbered(i).Fingerprint && q.Calls == 1 }) {
			t.Fatalf("statement %d, a second long, has been driven out by short ones", i)
		}
	}
	short := top.list(3)
	if calls, _ := sumCalls(short); len(short) != 4 || calls != total {
		t.Errorf("the first three and the rest are %d entries with %d calls", len(short), calls)
	}
}

func TestTopQueriesOfManyGoroutinesAddUp(t *testing.T) {
	t.Parallel()
	var top topQueries
	const goroutines, each = 8, 5000
	statements := make([]*sqltext.Statement, 2*topFingerprints)
	for i := range statements {
		statements[i] = numbered(i)
	}
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				top.add(g, &event{st: statements[(i*i+g)%len(statements)], first: time.Duration(i) * time.Microsecond})
				if i%500 == 0 {
					top.list(10)
				}
			}
		})
	}
	all.Wait()
	if calls, _ := sumCalls(top.list(0)); calls != goroutines*each {
		t.Errorf("%d calls of %d", calls, goroutines*each)
	}
}

func TestARationSaysHowManyLinesItSuppressed(t *testing.T) {
	t.Parallel()
	var r ration
	var passed, suppressed uint64
	for i := range 1000 { // five seconds
		if n, ok := r.take(time.Duration(i)*5*time.Millisecond, 2); ok {
			passed++
			suppressed += n
		}
	}
	n, ok := r.take(6*time.Second, 2)
	if !ok || passed != 10 || suppressed+n != 990 {
		t.Errorf("%d lines passed, and said of %d that they did not", passed, suppressed+n)
	}
}

func BenchmarkTopQueries(b *testing.B) {
	statements := make([]*sqltext.Statement, 100)
	for i := range statements {
		statements[i] = numbered(i)
	}
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		var top topQueries
		e := event{first: time.Millisecond, rows: 1}
		for i := 0; b.Loop(); i++ {
			e.st = statements[i%len(statements)]
			top.add(0, &e)
		}
	})
	// Two goroutines that run the same statement hold two slots.
	for _, sharing := range []string{"one-hot", "hundred"} {
		b.Run("parallel-"+sharing, func(b *testing.B) {
			b.ReportAllocs()
			var top topQueries
			var mu sync.Mutex
			slots := 0
			b.RunParallel(func(pb *testing.PB) {
				mu.Lock()
				slot := slots
				slots++
				mu.Unlock()
				e := event{first: time.Millisecond, rows: 1, st: statements[0]}
				for i := 0; pb.Next(); i++ {
					if sharing == "hundred" {
						e.st = statements[i%len(statements)]
					}
					top.add(slot, &e)
				}
			})
		})
	}
	b.Run("every-one-new", func(b *testing.B) {
		b.ReportAllocs()
		var top topQueries
		e := event{first: time.Millisecond, rows: 1}
		for i := 0; b.Loop(); i++ {
			e.st = &sqltext.Statement{Fingerprint: uint64(i), Summary: "SELECT t"}
			top.add(0, &e)
		}
	})
}

// BenchmarkObserve is what observing a statement costs on the query path: Prometheus' part
// of it, with the wait for admission, and all of it. Those of "parallel" run one on each
// core, in slots of their own.
func BenchmarkObserve(b *testing.B) {
	logger := slog.New(slog.DiscardHandler)
	for _, histograms := range []HistogramMode{HistogramsClassic, HistogramsBoth} {
		cfg := Config{Name: "shop", MaxConns: 10, Slow: time.Second, Registerer: prometheus.NewRegistry(), Logger: logger, Histograms: histograms}
		m, err := registerMetrics(&cfg, func() Stats { return Stats{} })
		if err != nil {
			b.Fatal(err)
		}
		co := &core{cfg: cfg, metrics: m, journal: newJournal(&cfg, func() time.Duration { return 0 })}
		ctx := b.Context()
		for _, part := range []struct {
			name    string
			observe func(*event)
		}{
			{"metrics", func(e *event) {
				co.countWait(Normal, 0, waitAdmitted)
				m.executed(e)
			}},
			{"all", func(e *event) {
				co.countWait(Normal, 0, waitAdmitted)
				co.observe(ctx, e)
			}},
		} {
			b.Run(part.name+"/histograms="+string(histograms), func(b *testing.B) {
				b.ReportAllocs()
				e := event{st: numbered(1), first: time.Millisecond, took: time.Millisecond, rows: 1}
				for b.Loop() {
					part.observe(&e)
				}
			})
			b.Run(part.name+"/parallel/histograms="+string(histograms), func(b *testing.B) {
				b.ReportAllocs()
				var slots atomic.Int32
				b.RunParallel(func(pb *testing.PB) {
					e := event{st: numbered(1), slot: int(slots.Add(1)), first: time.Millisecond, took: time.Millisecond, rows: 1}
					for pb.Next() {
						part.observe(&e)
					}
				})
			})
		}
	}
}
