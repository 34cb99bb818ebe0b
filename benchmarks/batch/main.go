//go:build linux

// Command batch compares ways to load many rows into PostgreSQL: Lifeguard's BatchInserter,
// pgx.CopyFrom, psql, INSERT with many VALUES or with unnest, GORM and Bun; on one server,
// with fsync and without, in turns. docs/performance.md says how, and holds the results.
//
//	cd benchmarks && go run ./batch -out ../docs     # about 10 minutes
//	cd benchmarks && go run ./batch -quick           # half a minute, to stdout
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

type options struct {
	rows, wideRows, upsertRows, heapRows int

	reps  int
	only  string
	out   string
	quick bool
}

func (o *options) logf(format string, args ...any) { log.Printf(format, args...) }

func main() {
	var o options
	flag.IntVar(&o.rows, "rows", 1_000_000, "rows of 4 columns")
	flag.IntVar(&o.wideRows, "wide", 200_000, "rows of 20 columns")
	flag.IntVar(&o.upsertRows, "upsert", 200_000, "rows to upsert")
	flag.IntVar(&o.heapRows, "heap", 10_000_000, "rows for the look at the heap")
	flag.IntVar(&o.reps, "reps", 3, "repetitions of every cell")
	flag.StringVar(&o.only, "only", "", "only contestants whose names contain one of these, comma-separated")
	flag.StringVar(&o.out, "out", "", "docs folder: writes plots/ and the tables in performance.md there")
	flag.BoolVar(&o.quick, "quick", false, "few rows, once")
	program.Main(&o.quick, o.shorten, func(ctx context.Context) error { return run(ctx, &o) })
}

func (o *options) shorten() {
	o.rows, o.wideRows, o.upsertRows, o.heapRows, o.reps = 40_000, 20_000, 20_000, 400_000, 1
}

func run(ctx context.Context, o *options) error {
	began := time.Now()
	b, err := startBench(ctx)
	if err != nil {
		return err
	}
	defer b.stop(context.WithoutCancel(ctx))
	log.Print(b.pg.Source())
	dir, err := os.MkdirTemp("", "batch-csv-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := loads(ctx, b, o, dir); err != nil {
		return err
	}
	e, err := extras(ctx, b, o)
	if err != nil {
		return err
	}
	text := tables(b.cells, e, report.Origin(began, b.version), o)
	if o.out != "" {
		plots := filepath.Join(o.out, "plots")
		err := errors.Join(writeCSV(filepath.Join(plots, "batch.csv"), b.cells), drawPlot(filepath.Join(plots, "batch.svg"), b.cells))
		if err != nil {
			return err
		}
	}
	return program.Publish(os.Stdout, o.out, "performance.md", "batch", text)
}

// loads measures everybody on every table.
func loads(ctx context.Context, b *bench, o *options, dir string) error {
	small, large := narrow(o.rows), wide(o.wideRows)
	smallCSV, err := writeRows(ctx, b, small, filepath.Join(dir, "narrow.csv"))
	if err != nil {
		return err
	}
	largeCSV, err := writeRows(ctx, b, large, filepath.Join(dir, "wide.csv"))
	if err != nil {
		return err
	}
	for _, fsync := range []bool{true, false} {
		if err := b.fsync(ctx, fsync); err != nil {
			return err
		}
		for _, keyed := range []bool{false, true} {
			if err := turns(ctx, b, o, small, keyed, fsync, smallCSV); err != nil {
				return err
			}
		}
		if err := turns(ctx, b, o, large, false, fsync, largeCSV); err != nil {
			return err
		}
	}
	return nil
}

// writeRows makes the file that psql loads, if there is a psql.
func writeRows[T any](ctx context.Context, b *bench, s *shape[T], file string) (string, error) {
	if _, err := exec.LookPath("psql"); err != nil {
		log.Print("psql is left out: ", err)
		return "", nil
	}
	if err := b.exec(ctx, "drop table if exists event", s.create()); err != nil {
		return "", err
	}
	if err := byCopy(ctx, b.drivers, s, len(s.rows)); err != nil {
		return "", err
	}
	_, err := psql(ctx, b.drivers.dsn, `\copy event to '`+file+`' with (format csv)`)
	return file, err
}
