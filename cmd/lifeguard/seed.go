package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

const seedIntro = `Usage: lifeguard seed [flags]

Fills a pet shop (owners, pets, appointments) with -n rows through BatchInserter, or with
-csv FILE loads a CSV file into a table.

Where to: the database of -dsn, else of the environment's LIFEGUARD_URL, else a PostgreSQL
that is started for this run and thrown away at its end. To look around in that one,
add -keep: it then stays until Ctrl-C.

The shop is the schema petshop, made if it is not there; nothing outside it is touched.
A second run adds rows to those that are there, -reset drops the schema first. Without
-table a tenth of the rows are owners, two tenths pets and the rest appointments. The same
rows are made each time, but for their ids.

A CSV file's first line names the table's columns; an empty field is null, and a time
without a zone is UTC. The table is -table, or is named like the file. A line that cannot be read or that the server refuses
is reported with its number, and the others are loaded; the exit code is then 1.

Ctrl-C stops and says how many rows are in; they stay there. Flags may also be given as
n=100000.

Examples:

  lifeguard seed -n 100000 -batch-size 500
  lifeguard seed -n 1000000 -workers 4 -keep
  lifeguard seed -dsn 'postgres://user@host/database' -reset
  lifeguard seed -dsn 'postgres://user@host/database' -csv events.csv -table public.events
`

// seedOptions is the command line of seed.
type seedOptions struct {
	dsn       string
	rows      int
	batchSize int
	workers   int
	table     string
	csv       string
	reset     bool
	keep      bool
	given     map[string]bool // flags that were set
}

func parseSeed(args []string, out output) (seedOptions, error) {
	o := seedOptions{given: map[string]bool{}}
	flags := flag.NewFlagSet("seed", flag.ContinueOnError)
	flags.StringVar(&o.dsn, "dsn", "", "fill this `database`; the default is LIFEGUARD_URL, or a server of its own")
	flags.IntVar(&o.rows, "n", 100_000, "`rows` to make")
	flags.IntVar(&o.batchSize, "batch-size", 10_000, "`rows` in a batch, which is one COPY and one commit")
	flags.IntVar(&o.workers, "workers", 2, "batches that are sent at once, each on a connection")
	flags.StringVar(&o.table, "table", "", "fill only this `table` of the shop; with -csv, the table to load into")
	flags.StringVar(&o.csv, "csv", "", "load this `file` instead of made-up rows")
	flags.BoolVar(&o.reset, "reset", false, "drop the schema petshop first, with all that is in it")
	flags.BoolVar(&o.keep, "keep", false, "keep a server that was started for this run until Ctrl-C")
	if err := parse(flags, seedArgs(args, flags), out, seedIntro); err != nil {
		return o, err
	}
	flags.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	if o.csv == "" {
		o.table = strings.TrimPrefix(o.table, petSchema+".")
	}
	if problem := o.problem(); problem != "" {
		return o, &usageError{command: "seed", text: problem}
	}
	return o, nil
}

var assignment = regexp.MustCompile(`^([a-z][a-z-]*)=`)

// seedArgs turns n=100000, as just and make write it, into -n=100000, and drops the --
// that some put before what is not for them.
func seedArgs(args []string, flags *flag.FlagSet) []string {
	var all []string
	for _, arg := range args {
		if arg == "--" {
			continue
		}
		if m := assignment.FindStringSubmatch(arg); m != nil && flags.Lookup(m[1]) != nil {
			arg = "-" + arg
		}
		all = append(all, arg)
	}
	return all
}

// problem says what is wrong with the values, or nothing.
func (o *seedOptions) problem() string {
	_, known := shopTable(o.table)
	switch {
	case o.rows < 1 || o.rows > 1_000_000_000:
		return fmt.Sprintf("-n must be from 1 to 1000000000, not %d", o.rows)
	case o.batchSize < 1 || o.batchSize > 1_000_000:
		return fmt.Sprintf("-batch-size must be from 1 to 1000000, not %d", o.batchSize)
	case o.workers < 1 || o.workers > 90:
		return fmt.Sprintf("-workers must be from 1 to 90, not %d", o.workers)
	case o.csv != "" && o.given["n"]:
		return "-n does not go with -csv, which loads what is in the file"
	case o.csv == "" && o.table != "" && !known:
		return fmt.Sprintf("-table must be owners, pets or appointments, not %q; other tables need -csv", o.table)
	case o.keep && o.dsn != "":
		return "-keep does not go with -dsn, whose server is not stopped anyway"
	}
	return ""
}

func runSeed(ctx context.Context, args []string, out output) (err error) {
	o, err := parseSeed(args, out)
	if err != nil {
		return err
	}
	if o.csv != "" { // before a server is started for it
		if _, err := os.Stat(o.csv); err != nil {
			return err
		}
	}
	t := &target{}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.findForSeed(ctx, &o, out); err != nil {
		return err
	}
	db, err := lifeguard.Connect(ctx, t.dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := createPetShop(ctx, db, o.reset); err != nil {
		return err
	}
	s := &seeder{db: db, o: &o, out: out}
	if o.csv != "" {
		err = s.loadCSV(ctx)
	} else {
		err = s.fillPetShop(ctx)
	}
	if t.server == nil || ctx.Err() != nil {
		return err
	}
	if !o.keep {
		fmt.Fprintln(out, "This database was made for this run and is dropped now; -keep or -dsn keep it.")
		return err
	}
	fmt.Fprintf(out, "This database stays until Ctrl-C, and is dropped then:\n\n  psql '%s'\n\n", t.userDSN)
	<-ctx.Done()
	return err
}

// A seeder loads rows and tells how far it is.
type seeder struct {
	db    *sql.DB
	o     *seedOptions
	out   output
	began time.Time
	total lifeguard.BatchStats // of the tables that are done
}

// config is that of one table's BatchInserter. reached hears how many rows of this table
// are done with.
func (s *seeder) config(reached func(rows int)) lifeguard.BatchConfig {
	return lifeguard.BatchConfig{
		MaxRows:  s.o.batchSize,
		Workers:  s.o.workers,
		Priority: new(lifeguard.Normal), // somebody waits for it
		Progress: func(stats lifeguard.BatchStats) { reached(int(stats.Written + stats.Refused)) },
	}
}

// add counts a table that is done.
func (s *seeder) add(stats lifeguard.BatchStats) {
	s.total.Written += stats.Written
	s.total.Refused += stats.Refused
	s.total.Chunks += stats.Chunks
	s.total.Retries += stats.Retries
}

// report says what is in the tables now, also after Ctrl-C.
func (s *seeder) report(ctx context.Context, table string) {
	if ctx.Err() != nil {
		fmt.Fprintf(s.out, "stopped: %s rows are in %s\n", thousands(int(s.total.Written)), table)
		return
	}
	took := time.Since(s.began)
	fmt.Fprintf(s.out, "%s rows into %s in %s, %s rows/s: %s batches of at most %s rows, %d at once\n",
		thousands(int(s.total.Written)), table, duration(took), thousands(int(float64(s.total.Written)/took.Seconds())),
		thousands(int(s.total.Chunks)), thousands(s.o.batchSize), s.o.workers)
	if s.total.Retries > 0 {
		fmt.Fprintf(s.out, "%s batches were sent again\n", thousands(int(s.total.Retries)))
	}
}

// findForSeed takes the database of -dsn or the environment, or starts a PostgreSQL. Close
// t also after an error.
func (t *target) findForSeed(ctx context.Context, o *seedOptions, out output) error {
	dsn, from := o.dsn, "-dsn"
	if dsn == "" {
		dsn, from = os.Getenv("LIFEGUARD_URL"), "LIFEGUARD_URL"
	}
	params := []param{{"application_name", "lifeguard-seed"}, {"lifeguard_slow", "0"}}
	conns := param{"pool_max_conns", strconv.Itoa(o.workers + 1)}
	if dsn == "" {
		began := time.Now()
		if err := t.start(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, ready in %s\n", t.server.Source(), duration(time.Since(began)))
		return t.setDSN(withParams(t.userDSN, append(params, conns)...))
	}
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		return err
	}
	if cfg.ConnConfig == nil {
		return fmt.Errorf("%s must be a URL or a list of keyword=value", from)
	}
	if cfg.MaxConns == 0 {
		params = append(params, conns)
	}
	fmt.Fprintf(out, "PostgreSQL at %s:%d, database %q, from %s\n",
		cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Database, from)
	return t.setDSN(withParams(dsn, params...))
}
