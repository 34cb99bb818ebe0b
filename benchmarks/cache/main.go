//go:build linux

// Command cache measures Lifeguard's query cache: what a hit costs beside database/sql
// itself and beside the same query through pgx/stdlib, what the cache costs whoever cannot
// use it, and what a service with many readers gets from it. docs/performance.md says how,
// and holds the results.
//
//	cd benchmarks && go run ./cache -out ../docs     # about 5 minutes
//	cd benchmarks && go run ./cache -quick           # half a minute, to stdout
//	cd benchmarks && go run ./cache -only 'rows of'  # some of the experiments
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

type options struct {
	keys  int           // rows of the table, and different questions
	reps  int           // rounds of every experiment
	span  time.Duration // of one contestant in one round
	mix   time.Duration // of one contestant in one round of the mix
	out   string
	only  *regexp.Regexp // names of experiments; nil for all
	quick bool
}

func main() {
	var o options
	flag.IntVar(&o.keys, "keys", 100_000, "rows of the table, and different questions")
	flag.IntVar(&o.reps, "reps", 7, "rounds of every experiment")
	flag.DurationVar(&o.span, "span", 400*time.Millisecond, "of one contestant in one round")
	flag.DurationVar(&o.mix, "mix", 3*time.Second, "of one contestant in one round of the mix")
	flag.StringVar(&o.out, "out", "", "docs folder: writes plots/cache.csv and the tables in performance.md there")
	flag.Func("only", "a regular expression: only the experiments whose names match", func(text string) (err error) {
		o.only, err = regexp.Compile(text)
		return err
	})
	flag.BoolVar(&o.quick, "quick", false, "few keys, once")
	program.Main(&o.quick, o.shorten, func(ctx context.Context) error { return run(ctx, &o, os.Stdout) })
}

func (o *options) shorten() {
	o.keys, o.reps, o.span, o.mix = 2000, 1, 30*time.Millisecond, 300*time.Millisecond
}

func (o *options) chosen(e *experiment) bool { return o.only == nil || o.only.MatchString(e.name) }

func run(ctx context.Context, o *options, stdout io.Writer) error {
	began := time.Now()
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	for _, e := range experiments() {
		if !o.chosen(&e) {
			continue
		}
		log.Print(e.name)
		if err := b.play(ctx, o, &e); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	text := tables(b.cells, report.Origin(began, b.version), o)
	if o.out != "" {
		if err := writeCSV(filepath.Join(o.out, "plots", "cache.csv"), b.cells); err != nil {
			return err
		}
	}
	return program.Publish(stdout, o.out, "performance.md", "cache", text)
}
