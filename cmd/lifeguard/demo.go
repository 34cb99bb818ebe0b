package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

const demoIntro = `Usage: lifeguard demo [flags]

Starts a throw-away PostgreSQL (or uses yours), fills a small shop, and runs a mixed
workload through sql.Open("lifeguard", …) from many goroutines over few connections.
With -overload it offers that multiple of what the server can do, by turns to plain
pgx/stdlib and to Lifeguard, and compares what becomes of it.

Everything it starts is stopped, and everything it creates is dropped. Ctrl-C ends it
early, with a report of what has run.

Examples:

  lifeguard demo
  lifeguard demo -duration 30s -goroutines 1000 -conns 4
  lifeguard demo -overload 10
  lifeguard demo -dsn 'postgres://user@host/database'
`

// demoOptions is the command line of the demo.
type demoOptions struct {
	dsn        string
	duration   time.Duration
	goroutines int
	conns      int
	rows       int
	overload   float64
	given      map[string]bool // flags that were set
}

func parseDemo(args []string, out output) (demoOptions, error) {
	o := demoOptions{given: map[string]bool{}}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.dsn, "dsn", "", "work on this `database`, in a new schema that is dropped at the end")
	flags.DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure; with -overload, each of the two")
	flags.IntVar(&o.goroutines, "goroutines", 64, "how many goroutines work at once")
	flags.IntVar(&o.conns, "conns", 8, "PostgreSQL connections at most (pool_max_conns)")
	flags.IntVar(&o.rows, "rows", 100_000, "orders to fill the shop with")
	flags.Float64Var(&o.overload, "overload", 0, "offer this `multiple` of the server's capacity, to pgx/stdlib and to Lifeguard")
	if err := parse(flags, args, out, demoIntro); err != nil {
		return o, err
	}
	flags.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	if problem := o.problem(); problem != "" {
		return o, &usageError{command: "demo", text: problem}
	}
	return o, nil
}

// problem says what is wrong with the values, or nothing.
func (o *demoOptions) problem() string {
	switch {
	case o.duration < 10*time.Millisecond || o.duration > time.Hour:
		return fmt.Sprintf("-duration must be from 10ms to 1h, not %v", o.duration)
	case o.goroutines < 1 || o.goroutines > 100_000:
		return fmt.Sprintf("-goroutines must be from 1 to 100000, not %d", o.goroutines)
	case o.conns < 1 || o.conns > 10_000:
		return fmt.Sprintf("-conns must be from 1 to 10000, not %d", o.conns)
	case o.rows < 1 || o.rows > 100_000_000:
		return fmt.Sprintf("-rows must be from 1 to 100000000, not %d", o.rows)
	case o.given["overload"] && !(o.overload >= 0.1 && o.overload <= 100):
		return fmt.Sprintf("-overload must be from 0.1 to 100, not %v", o.overload)
	case o.given["overload"] && o.given["rows"]:
		return "-rows does not go with -overload, which needs no tables"
	case o.given["overload"] && o.given["goroutines"]:
		return "-goroutines does not go with -overload, which starts one per request"
	}
	return ""
}

func runDemo(ctx context.Context, args []string, out output) (err error) {
	o, err := parseDemo(args, out)
	if err != nil {
		return err
	}
	t := &target{schema: newSchemaName()}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.find(ctx, o, out); err != nil {
		return err
	}

	if o.given["overload"] {
		return runOverload(ctx, t, o, out)
	}
	return runShop(ctx, t, o, out)
}

// runShop fills the shop, works in it, and reports.
func runShop(ctx context.Context, t *target, o demoOptions, out output) (err error) {
	db, err := sql.Open(lifeguard.DriverName, t.dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		return err
	}

	s := newShop(db, t.schema, o.rows)
	defer func() { err = errors.Join(err, s.drop(ctx)) }()
	if err := s.create(ctx); err != nil {
		return err
	}
	if err := s.fill(ctx, out); err != nil {
		return err
	}

	fmt.Fprintf(out, "\n%s goroutines work for %v over at most %d connections\n",
		thousands(o.goroutines), o.duration, connector.Stats().Pool.Max)
	w := newWorkload(s, connector)
	w.run(ctx, o.goroutines, o.duration, out)
	w.report(out, o.goroutines)
	if w.all.count() == 0 && ctx.Err() == nil {
		return errors.New("no operation succeeded")
	}
	return nil
}
