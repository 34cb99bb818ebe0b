//go:build linux

// Command cdc measures what lifeguard_cache=cdc costs, and how soon it hears of what others
// write. docs/cache-cdc.md holds the results.
//
//	cd benchmarks && go run ./cdc -out ../docs     # about 5 minutes
//	cd benchmarks && go run ./cdc -quick           # some seconds, to stdout
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

type options struct {
	reps   int           // rounds of what is compared
	span   time.Duration // of one contestant in one round
	events int           // commits of which the time is taken
	rows   int           // of the large transaction
	fills  int           // of each kind
	out    string
	quick  bool
}

func main() {
	var o options
	flag.IntVar(&o.reps, "reps", 5, "rounds of what is compared")
	flag.DurationVar(&o.span, "span", 4*time.Second, "of one contestant in one round")
	flag.IntVar(&o.events, "events", 3000, "commits of which the time is taken")
	flag.IntVar(&o.rows, "rows", 500_000, "rows of the large transaction")
	flag.IntVar(&o.fills, "fills", 20_000, "fills with the gate, and as many without")
	flag.StringVar(&o.out, "out", "", "docs folder: writes the tables in cache-cdc.md there")
	flag.BoolVar(&o.quick, "quick", false, "little of everything, once")
	program.Main(&o.quick, o.shorten, func(ctx context.Context) error { return run(ctx, &o, os.Stdout) })
}

func (o *options) shorten() {
	o.reps, o.span, o.events, o.rows, o.fills = 1, 150*time.Millisecond, 50, 5000, 200
}

func run(ctx context.Context, o *options, stdout io.Writer) error {
	began := time.Now()
	b, err := start(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	var r results
	for _, step := range []struct {
		name string
		do   func(context.Context, *options, *results) error
	}{
		{"events, idle and under load", b.events},
		{"a large transaction", b.large},
		{"the gate", b.gate},
		{"writes with the cache off and on", b.writes},
		{"slots", b.slots},
	} {
		log.Print(step.name)
		if err := step.do(ctx, o, &r); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	text := r.tables(report.Origin(began, b.version), o)
	return program.Publish(stdout, o.out, "cache-cdc.md", "cdc", text)
}
