//go:build linux

// Command overload measures what becomes of a service when more is asked of its
// database than it can give: open-loop Poisson arrivals against one PostgreSQL, through
// database/sql with and without limits, pgxpool, PgBouncer and Lifeguard, in turns.
// docs/performance.md says how, and holds the results.
//
//	cd benchmarks && go run ./overload -out ../docs      # 17 minutes
//	cd benchmarks && go run ./overload -quick            # 1 minute, to stdout
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
)

type options struct {
	quick   bool
	reps    int
	seconds float64
	only    string
	skip    string
	factors string
	out     string
	render  string
	seed    uint64
	cell    bool
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "two load factors, one repetition")
	flag.IntVar(&o.reps, "reps", 3, "repetitions of every cell")
	flag.Float64Var(&o.seconds, "seconds", 1.5, "measured seconds of a cell, after a short ramp")
	flag.StringVar(&o.only, "only", "", "only contestants whose names contain one of these, comma-separated")
	flag.StringVar(&o.skip, "skip", "", "experiments to leave out: same,mix,priorities,heavy,nested,retry")
	flag.StringVar(&o.factors, "factors", "0.5,1,2,5,10,20", "offered ÷ capacity")
	flag.StringVar(&o.out, "out", "", "docs folder: writes plots/ and the tables in performance.md there")
	flag.StringVar(&o.render, "render", "", "measure nothing; render this CSV")
	flag.Uint64Var(&o.seed, "seed", 1, "of the arrivals")
	flag.BoolVar(&o.cell, cellFlag[1:], false, "for internal use: measure the cell that stdin describes")
	program.Main(&o.quick, func() { o.reps, o.factors = 1, "2,10" }, func(ctx context.Context) error {
		if o.cell {
			return cellMain(ctx)
		}
		return run(ctx, o)
	})
}

func run(ctx context.Context, o options) error {
	var (
		rows  []row
		about string
		err   error
	)
	switch {
	case o.render != "":
		if rows, err = readCSV(o.render); err != nil {
			return err
		}
		b, err := os.ReadFile(aboutFile(o.render))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		about = string(b)
	default:
		if rows, about, err = measure(ctx, o); err != nil {
			return err
		}
	}
	text, err := tables(rows, about)
	if err != nil {
		return err
	}
	if o.out == "" {
		fmt.Println(text)
		return nil
	}
	return publish(o, rows, about, text)
}

func aboutFile(csv string) string { return strings.TrimSuffix(csv, ".csv") + ".txt" }

// measure makes all cells. In each repetition a load factor is offered to all
// contestants in turn, in another order each time, so that what else happens on the
// machine meets everybody.
func measure(ctx context.Context, o options) ([]row, string, error) {
	s, err := startServer(ctx)
	if err != nil {
		return nil, "", err
	}
	defer s.stop()
	began := time.Now()
	p := &plan{o: o, s: s}
	var missing []string
	for _, c := range contestants() {
		why := ""
		if c.behind {
			why = s.noBouncer
		}
		if c.needs != nil {
			why = c.needs()
		}
		switch {
		case why != "":
			missing = append(missing, c.name+": "+why)
		case program.Selected(o.only, c.name):
			p.who = append(p.who, c.name)
		}
	}
	log.Printf("%s; 4 ms are %d rows", s.pg.Source(), s.args.Medium)

	err = p.all(ctx)
	if o.out != "" || err != nil { // what was measured is not lost
		if kept := filepath.Join(os.TempDir(), "overload-last.csv"); writeCSV(kept, p.rows) == nil {
			log.Printf("the rows are in %s too; -render shows them", kept)
		}
	}
	if err != nil {
		return nil, "", err
	}
	return p.rows, p.s.about(o, began, missing), nil
}
