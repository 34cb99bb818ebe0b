// Command redis measures what lifeguard_redis costs and saves: a look-up beside a bare round
// trip to Redis, the part of three processes' reads that PostgreSQL is spared, and how soon a
// process that starts anew answers without it. docs/cache-redis.md holds the results.
//
//	cd benchmarks && go run ./redis -out ../docs     # about a minute
//	cd benchmarks && go run ./redis -quick           # to stdout
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type options struct {
	rows  int // of the table
	reads int // of each process in the mix
	trips int // of which the time is taken
	out   string
	quick bool
}

func main() {
	if job := os.Getenv(jobEnv); job != "" {
		os.Exit(work(job))
	}
	var o options
	flag.IntVar(&o.rows, "rows", 50_000, "rows of the table")
	flag.IntVar(&o.reads, "reads", 60_000, "reads of each process in the mix")
	flag.IntVar(&o.trips, "trips", 5_000, "look-ups of which the time is taken")
	flag.StringVar(&o.out, "out", "", "docs folder: writes the table in cache-redis.md there")
	flag.BoolVar(&o.quick, "quick", false, "little of everything, once")
	program.Main(&o.quick, o.shorten, func(ctx context.Context) error { return run(ctx, &o, os.Stdout) })
}

func (o *options) shorten() { o.rows, o.reads, o.trips = 2_000, 1_000, 200 }

func run(ctx context.Context, o *options, stdout io.Writer) error {
	began := time.Now()
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	// One process is always there, as in a fleet: after a second without any, everything in Redis
	// would have to be forgotten.
	other, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	// The first process fills Redis, the second takes from it what it has not itself, and then
	// has it in memory. The third does so with bare round trips in between.
	filler, err := b.run(ctx, &job{Warm: true, Each: o.trips})
	if err != nil {
		return err
	}
	again, err := b.run(ctx, &job{Each: o.trips})
	if err != nil {
		return err
	}
	timed, err := b.run(ctx, &job{Each: o.trips, Twice: true, Bare: true})
	if err != nil {
		return err
	}
	var t report.Table
	t.Say("%s\n", report.Origin(began, b.version))
	t.Head("", "median")
	t.Row("a bare round trip to Redis, GET of a value as long", micros(timed.Bare))
	t.Row("a query that Redis answers", micros(timed.InRedis))
	t.Row("… beyond the bare round trip", micros(timed.InRedis-timed.Bare))
	t.Row("a query that memory answers, and Redis confirms", micros(timed.InMemory))
	t.Row("a query that PostgreSQL answers", micros(filler.InDatabase))
	t.Row(fmt.Sprintf("a new process: from its start until it has answered %d queries, %d of them from PostgreSQL", again.Reads, again.FromDatabase),
		again.Took.Round(time.Millisecond).String())
	t.Say("\nThree processes read %d rows each at random by primary key, of %d (Zipf, s = 1.1):\n\n", o.reads, o.rows)
	t.Head("", "not from PostgreSQL", "queries that PostgreSQL ran")
	for _, with := range []bool{false, true} {
		share, asked, err := b.mix(ctx, o, with)
		if err != nil {
			return err
		}
		name := "each with its own memory"
		if with {
			name = "with lifeguard_redis"
		}
		t.Row(name, fmt.Sprintf("%.1f %%", 100*share), fmt.Sprint(asked))
	}
	return program.Publish(stdout, o.out, "cache-redis.md", "redis", t.String())
}

func micros(d time.Duration) string { return fmt.Sprintf("%.0f µs", float64(d.Nanoseconds())/1000) }

// bench is a PostgreSQL and a Redis.
type bench struct {
	pg      *pgtest.Server
	redis   *pgtest.RedisServer
	dsn     string
	version string
}

func (b *bench) stop() {
	if b.redis != nil {
		_ = b.redis.Stop()
	}
	if b.pg != nil {
		_ = b.pg.Stop()
	}
}
