//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// cell is what one contestant took once.
type cell struct {
	Setting    string // "4 columns, key"
	Fsync      bool
	Contestant string
	Rep        int
	Rows       int
	Wall       time.Duration
	Client     time.Duration // processor time of this process, or of psql
	Server     time.Duration // of PostgreSQL
	Awaited    time.Duration // for which backends were ready to run and had no processor
	Others     time.Duration // of the rest of the machine
	Allocs     uint64
}

func (c *cell) perSecond() float64             { return float64(c.Rows) / c.Wall.Seconds() }
func (c *cell) perRow(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(c.Rows) }

// bench is the server that everybody is measured on.
type bench struct {
	pg         *pgtest.Server
	drivers    *drivers
	admin      *pgx.Conn
	postmaster int
	version    string
	cells      []cell
}

func startBench(ctx context.Context) (b *bench, err error) {
	b = &bench{}
	defer func() {
		if err != nil {
			b.stop(ctx)
		}
	}()
	if b.pg, err = pgtest.Start(ctx, pgtest.Options{Durable: true, Settings: map[string]string{
		"autovacuum": "off", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "shared_buffers": "256MB",
	}}); err != nil {
		return b, err
	}
	dsn, _, err := b.pg.CreateDatabase(ctx)
	if err != nil {
		return b, err
	}
	if b.admin, err = pgx.Connect(ctx, dsn); err != nil {
		return b, err
	}
	if b.drivers, err = openDrivers(ctx, dsn); err != nil {
		return b, err
	}
	var dir string
	if err = b.admin.QueryRow(ctx, "select current_setting('data_directory'), current_setting('server_version')").Scan(&dir, &b.version); err != nil {
		return b, err
	}
	file, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return b, fmt.Errorf("the server's process is needed for its processor time: %w", err)
	}
	first, _, _ := strings.Cut(string(file), "\n")
	b.postmaster, err = strconv.Atoi(strings.TrimSpace(first))
	return b, err
}

func (b *bench) stop(ctx context.Context) {
	if b.drivers != nil {
		b.drivers.close(ctx)
	}
	if b.admin != nil {
		_ = b.admin.Close(ctx)
	}
	if b.pg != nil {
		_ = b.pg.Stop()
	}
}

func (b *bench) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := b.admin.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// fsync turns it on or off for the server as it runs.
func (b *bench) fsync(ctx context.Context, on bool) error {
	if err := b.exec(ctx, fmt.Sprintf("alter system set fsync = %v", on), "select pg_reload_conf()"); err != nil {
		return err
	}
	want := map[bool]string{true: "on", false: "off"}[on]
	for range 200 {
		var now string
		if err := b.admin.QueryRow(ctx, "show fsync").Scan(&now); err != nil || now == want {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("the server does not turn fsync %s", want)
}

// measure takes the time of one load into an empty table.
func (b *bench) measure(ctx context.Context, c cell, load func(context.Context) (time.Duration, error)) (cell, error) {
	if err := b.exec(ctx, "checkpoint"); err != nil {
		return c, err
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	self, family, busy := proc.Self(), proc.Family(b.postmaster), proc.Busy()
	ran, awaited := proc.Children(b.postmaster)
	start := time.Now()
	child, err := load(ctx)
	c.Wall = time.Since(start)
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Contestant, err)
	}
	self = proc.Self() - self
	if child > 0 {
		time.Sleep(200 * time.Millisecond) // until its backend has ended, and counts
	}
	c.Server, c.Awaited = proc.Children(b.postmaster)
	c.Server, c.Awaited = c.Server-ran, c.Awaited-awaited
	if child > 0 {
		c.Server, c.Awaited = proc.Family(b.postmaster)-family, 0
	}
	c.Others = max(proc.Busy()-busy-c.Server-self-child, 0)
	runtime.ReadMemStats(&after)
	c.Allocs = after.Mallocs - before.Mallocs
	c.Client = self
	if child > 0 {
		c.Client = child
	}
	return c, nil
}

// holds makes sure that the table has so many rows.
func (b *bench) holds(ctx context.Context, rows int) error {
	var n int
	if err := b.admin.QueryRow(ctx, "select count(*) from event").Scan(&n); err != nil {
		return err
	}
	if n != rows {
		return fmt.Errorf("%d rows in the table, not %d", n, rows)
	}
	return nil
}

// turns lets all contestants load the shape, each repetition in another order.
func turns[T any](ctx context.Context, b *bench, o *options, s *shape[T], keyed, fsync bool, csv string) error {
	setting := s.name
	ddl := []string{"drop table if exists event", s.create()}
	if keyed {
		setting += ", primary key"
		ddl = append(ddl, "alter table event add primary key (id)")
	}
	if err := b.exec(ctx, ddl...); err != nil {
		return err
	}
	all := contestants(b.drivers, s, csv)
	for rep := range o.reps {
		for i := range all {
			c := all[(i+rep)%len(all)]
			if !program.Selected(o.only, c.name) {
				continue
			}
			if err := b.exec(ctx, "truncate event"); err != nil {
				return err
			}
			got, err := b.measure(ctx, cell{Setting: setting, Fsync: fsync, Contestant: c.name, Rep: rep, Rows: len(s.rows)}, c.load)
			if err != nil {
				return err
			}
			if err := b.holds(ctx, len(s.rows)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			b.cells = append(b.cells, got)
			o.logf("%s, fsync %v, %s: %.0f rows/s", setting, fsync, c.name, got.perSecond())
		}
	}
	return nil
}
