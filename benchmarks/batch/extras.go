//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// extra is what is measured beside the plain loads.
type extra struct {
	upsertGuard, upsertValues []cell

	heapFirst, heapLast uint64 // peaks in the first and in the last tenth of the rows
	heapRows            int
	heapRate            float64

	badRow badRow
}

// badRow is what one refused row costs.
type badRow struct {
	chunks, statements int64
	clean, bad         []time.Duration
}

func extras(ctx context.Context, b *bench, o *options) (e extra, err error) {
	for _, measure := range []func(context.Context, *bench, *options, *extra) error{upserts, badRows, heap} {
		if err := measure(ctx, b, o, &e); err != nil {
			return e, err
		}
	}
	return e, nil
}

// upserts writes rows half of whose keys are there.
func upserts(ctx context.Context, b *bench, o *options, e *extra) error {
	s := narrow(o.upsertRows)
	if err := b.exec(ctx, "drop table if exists event", s.create(), "alter table event add primary key (id)"); err != nil {
		return err
	}
	load := func(c contestant, into *[]cell, rep int) error {
		half := fmt.Sprintf("insert into event select n, 'old', 1, now() from generate_series(1, %d, 2) n", o.upsertRows)
		if err := b.exec(ctx, "truncate event", half); err != nil {
			return err
		}
		got, err := b.measure(ctx, cell{Setting: "upsert", Contestant: c.name, Rep: rep, Rows: o.upsertRows}, c.load)
		if err != nil {
			return err
		}
		*into = append(*into, got)
		o.logf("upsert, %s: %.0f rows/s", c.name, got.perSecond())
		return b.holds(ctx, o.upsertRows)
	}
	guard := contestant{nameGuard, within(func(ctx context.Context) error {
		return byGuard(ctx, b.drivers, s, lifeguard.BatchConfig{FlushInterval: -1, OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}})
	})}
	values := contestant{nameValues, within(func(ctx context.Context) error {
		return byValues(ctx, b.drivers, s, 500, " on conflict (id) do update set name = excluded.name, price = excluded.price, at = excluded.at")
	})}
	for rep := range 2*o.reps + 1 { // they take turns of two only, and the machine has other work
		if err := errors.Join(load(guard, &e.upsertGuard, rep), load(values, &e.upsertValues, rep)); err != nil {
			return err
		}
	}
	return nil
}

// badRows loads the same rows with and without one that the table refuses.
func badRows(ctx context.Context, b *bench, o *options, e *extra) error {
	s := narrow(o.upsertRows)
	if err := b.exec(ctx, "drop table if exists event", s.create(), "alter table event add check (name <> 'bad')"); err != nil {
		return err
	}
	connector, err := lifeguard.FromDB(b.drivers.guard)
	if err != nil {
		return err
	}
	sent := func() (n int64) {
		for _, q := range connector.TopQueries(0) {
			if q.Summary == "COPY public.event" {
				n += int64(q.Calls)
			}
		}
		return n
	}
	middle := len(s.rows) / 2
	good := s.rows[middle].Name
	for range o.reps {
		for _, bad := range []bool{false, true} {
			if s.rows[middle].Name = good; bad {
				s.rows[middle].Name = "bad"
			}
			if err := b.exec(ctx, "truncate event"); err != nil {
				return err
			}
			before, start := sent(), time.Now()
			err := byGuard(ctx, b.drivers, s, lifeguard.BatchConfig{FlushInterval: -1})
			took := time.Since(start)
			var refused *lifeguard.BatchError
			switch {
			case !bad && err == nil:
				e.badRow.clean, e.badRow.chunks = append(e.badRow.clean, took), sent()-before
			case bad && errors.As(err, &refused) && refused.Refused == 1 && refused.Unwritten == 0:
				e.badRow.bad, e.badRow.statements = append(e.badRow.bad, took), sent()-before
			default:
				return fmt.Errorf("one bad row (%v): %w", bad, err)
			}
		}
	}
	return nil
}

// heap loads many rows that take no memory themselves, and looks at the heap after each
// chunk.
func heap(ctx context.Context, b *bench, o *options, e *extra) error {
	if o.heapRows == 0 {
		return nil
	}
	s := narrow(1)
	if err := b.exec(ctx, "drop table if exists event", s.create()); err != nil {
		return err
	}
	runtime.GC() // the rows of the comparison
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	cfg := lifeguard.BatchConfig{FlushInterval: -1, OnFlush: func(f lifeguard.FlushInfo) {
		metrics.Read(sample)
		switch now := sample[0].Value.Uint64(); {
		case f.First < int64(o.heapRows/10):
			e.heapFirst = max(e.heapFirst, now)
		case f.First >= int64(o.heapRows/10*9):
			e.heapLast = max(e.heapLast, now)
		}
	}}
	inserter, err := lifeguard.NewBatchInserter[event](b.drivers.guard, "event", cfg)
	if err != nil {
		return err
	}
	row, start := s.rows[0], time.Now()
	for i := range o.heapRows {
		row.ID = int64(i)
		if inserter.Add(ctx, row) != nil {
			break // Close knows why
		}
	}
	if _, err := inserter.Close(ctx); err != nil {
		return err
	}
	e.heapRows, e.heapRate = o.heapRows, float64(o.heapRows)/time.Since(start).Seconds()
	if err := b.holds(ctx, o.heapRows); err != nil {
		return err
	}
	return b.exec(ctx, "drop table event")
}
