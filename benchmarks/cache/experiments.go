//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/lifeguard-go/lifeguard"
)

const schema = `
	create table product (id int8 primary key, n int8 not null, name text not null, price numeric(10,2) not null, at timestamptz not null);
	create table wide (id int4 primary key, grp int4 not null, a int8, b int8, c text, d text, e float8, f bool, g timestamptz, h int4);
	create index on wide (grp);
	create table orders (id int8 generated always as identity primary key, product int8 not null, at timestamptz not null default now())`

// fills are the rows of product and of wide: groups of 20, and one of 1,000.
func fills(keys int) []string {
	return []string{
		fmt.Sprintf("insert into product select i, i + 1000, 'product ' || i, i / 7.0, '2026-01-01'::timestamptz + i * interval '1 minute' from generate_series(1, %d) i", keys),
		`insert into wide select i, case when i <= 1000 then 0 else i / 20 end, i, -i, 'text ' || i, 'more text ' || i, i / 3.0, i % 2 = 0,
			'2026-01-01'::timestamptz + i * interval '1 minute', i % 10 from generate_series(1, 3000) i`,
		"analyze",
	}
}

const (
	onePoint = "select n from product where id = $1"
	twenty   = "select id, a, c, e, g from wide where grp = $1 order by id" // of 20 rows, if the group is not 0
	thousand = "select * from wide where grp = $1 order by id"
)

// The names of experiments, which the tables look for.
const (
	hot         = "100 keys"
	many        = "all keys, at random"
	oneCore     = "hits on one processor"
	twoCores    = "hits on two processors"
	crowd       = "1,000 goroutines"
	smallResult = "20 rows of 5 columns"
	largeResult = "1,000 rows of 10 columns"
	bypassed    = "a statement that bypasses the cache"
	written     = "an autocommit write"
	transacted  = "a transaction with one write"
	atOnce      = ", answered at once"
	webMix      = "95 % reads, writes elsewhere"
	sharedMix   = "95 % reads, each hundredth write to the same table"
	worstMix    = "95 % reads, all writes to the same table"
)

func experiments() []experiment {
	three, hits, both, sides := []string{byConstant, byOn, byPgx}, []string{byConstant, byOn}, []string{byOff, byOn}, []string{byPgx, byOn}
	ready := []string{byNone, byBeside, byOwn}
	return []experiment{
		{name: bypassed + atOnce, contestants: ready, work: bypass, ready: true},
		{name: written + atOnce, contestants: ready, work: write, ready: true},
		{name: transacted + atOnce, contestants: ready, work: transact, ready: true},
		{name: hot, contestants: three, before: warm(100), work: points(100)},
		{name: many, contestants: hits, before: warm(0), work: points(0)},
		{name: oneCore, contestants: hits, work: points(100), workers: 8, processors: 1},
		{name: twoCores, contestants: hits, work: points(100), workers: 8, processors: 2},
		{name: crowd, contestants: hits, work: points(100), workers: 1000},
		{name: smallResult, contestants: sides, work: results(twenty, 100, 5)},
		{name: largeResult, contestants: sides, work: results(thousand, 0, 10)},
		{name: bypassed, contestants: both, work: bypass},
		{name: written, contestants: both, work: write},
		{name: transacted, contestants: both, work: transact},
		{name: webMix, contestants: sides, work: mix(never), workers: 64, latencies: true, long: true},
		{name: sharedMix, contestants: sides, work: mix(100), workers: 64, latencies: true, long: true},
		{name: worstMix, contestants: sides, work: mix(1), workers: 64, latencies: true, long: true},
	}
}

// warm has the results of so many keys in memory; 0 stands for all.
func warm(keys int) func(context.Context, *bench, *options) error {
	return func(ctx context.Context, b *bench, o *options) error {
		keys := keys
		if keys == 0 {
			keys = o.keys
		}
		errs := make([]error, conns)
		var wait sync.WaitGroup
		for w := range errs {
			wait.Go(func() {
				var n int64
				for i := w; i < 2*keys && errs[w] == nil; i += conns { // twice: a text is learnt at its second sighting
					errs[w] = b.dbs[byOn].QueryRowContext(ctx, onePoint, int64(1+i%keys)).Scan(&n)
				}
			})
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		connector, err := lifeguard.FromDB(b.dbs[byOn])
		if err != nil {
			return err
		}
		if st := connector.Stats().Cache; st.Entries < keys*9/10 {
			return fmt.Errorf("%d of %d results are in memory: %+v", st.Entries, keys, st)
		}
		return nil
	}
}

// points reads one row by one of so many keys.
func points(keys int) work {
	return func(db *sql.DB, o *options, worker int) func(context.Context) error {
		keys := keys
		if keys == 0 {
			keys = o.keys
		}
		rng := rand.New(rand.NewPCG(uint64(worker), 1)) //nolint:gosec // repeatable
		var n int64
		return func(ctx context.Context) error {
			return db.QueryRowContext(ctx, onePoint, int64(1+rng.IntN(keys))).Scan(&n)
		}
	}
}

// results reads all rows of one group.
func results(query string, group, columns int) work {
	return func(db *sql.DB, _ *options, _ int) func(context.Context) error {
		values := make([]any, columns)
		into := make([]any, columns)
		for i := range values {
			into[i] = &values[i]
		}
		return func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, query, group)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				if err := rows.Scan(into...); err != nil {
					return err
				}
			}
			return rows.Err()
		}
	}
}

func bypass(db *sql.DB, _ *options, _ int) func(context.Context) error {
	var n float64
	return func(ctx context.Context) error {
		return db.QueryRowContext(ctx, "select n + random() from product where id = $1", int64(7)).Scan(&n)
	}
}

// write inserts where nothing is read, as a log does.
func write(db *sql.DB, _ *options, _ int) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "insert into orders (product) values ($1)", int64(7))
		return err
	}
}

func transact(db *sql.DB, _ *options, _ int) func(context.Context) error {
	return func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "insert into orders (product) values ($1)", int64(7)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
}

const never = math.MaxInt // does a mix write a product

// mix reads products as often as they are asked for in a shop (s = 1.1), and writes with
// one statement in twenty: an order, and at each so many-th write a product.
func mix(writesToProduct int) work {
	return func(db *sql.DB, o *options, worker int) func(context.Context) error {
		rng := rand.New(rand.NewPCG(uint64(worker), 2)) //nolint:gosec // repeatable
		zipf := rand.NewZipf(rng, 1.1, 1, uint64(o.keys-1))
		var n int64
		var name string
		writes := worker // so that not all of them write a product at once
		return func(ctx context.Context) error {
			id := int64(1 + zipf.Uint64()) //nolint:gosec // small
			if rng.IntN(20) > 0 {
				return db.QueryRowContext(ctx, "select n, name from product where id = $1", id).Scan(&n, &name)
			}
			text := "insert into orders (product) values ($1)"
			if writes++; writes%writesToProduct == 0 {
				text = "update product set n = n + 1 where id = $1"
			}
			_, err := db.ExecContext(ctx, text, id)
			return err
		}
	}
}
