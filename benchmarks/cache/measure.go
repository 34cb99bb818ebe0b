//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
	"github.com/lifeguard-go/lifeguard/internal/constantrow"
	"github.com/lifeguard-go/lifeguard/internal/pgstub"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// cell is what one contestant took in one round.
type cell struct {
	Experiment string
	Contestant string
	Rep        int
	Operations int
	Wall       time.Duration
	CPU        time.Duration // of this process
	Others     time.Duration // processor time of the rest of the machine, the server included
	Allocs     uint64
	P99        time.Duration // where latencies are taken; else 0
}

// bench is the server that everybody is measured on, and the ways to it.
type bench struct {
	pg      *pgtest.Server
	dsn     string
	version string
	dbs     map[string]*sql.DB
	cells   []cell
}

// Contestants.
const (
	byConstant = "constant row"
	byPgx      = "pgx/stdlib"
	byOff      = "Lifeguard, cache off"
	byOn       = "Lifeguard, cache on"

	// Those of experiments that need no server.
	byNone   = "Lifeguard, no cache in the process"
	byBeside = "Lifeguard without a cache, beside one"
	byOwn    = "Lifeguard with a cache"
)

const conns = 8

func start(ctx context.Context, o *options) (b *bench, err error) {
	b = &bench{dbs: map[string]*sql.DB{byConstant: constantrow.Open()}}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.pg, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return b, err
	}
	if b.dsn, _, err = b.pg.CreateDatabase(ctx); err != nil {
		return b, err
	}
	if b.dbs[byPgx], err = sql.Open("pgx", b.dsn); err != nil {
		return b, err
	}
	b.dbs[byPgx].SetMaxOpenConns(conns)
	b.dbs[byPgx].SetMaxIdleConns(conns)
	b.dbs[byConstant].SetMaxIdleConns(1024)
	if _, err = b.dbs[byPgx].ExecContext(ctx, schema); err != nil {
		return b, err
	}
	for _, fill := range fills(o.keys) {
		if _, err = b.dbs[byPgx].ExecContext(ctx, fill); err != nil {
			return b, err
		}
	}
	return b, b.dbs[byPgx].QueryRowContext(ctx, "show server_version").Scan(&b.version)
}

// openPools opens Lifeguard's pools, if that was not done.
func (b *bench) openPools() (err error) {
	if b.dbs[byOn] != nil {
		return nil
	}
	for name, mode := range map[string]lifeguard.CacheMode{byOff: lifeguard.CacheOff, byOn: lifeguard.CacheLocal} {
		if b.dbs[name], err = b.open(mode, nil); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) open(mode lifeguard.CacheMode, recorded *pgstub.Recorded) (*sql.DB, error) {
	cfg, err := lifeguard.ParseConfig(b.dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.Cache, cfg.CacheSize = conns, mode, 512<<20
	if recorded != nil {
		cfg.ConnConfig.DialFunc = recorded.Dial(cfg.ConnConfig.DialFunc)
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(1024)
	return db, nil
}

// measureReady is measure with pools of their own, whose answers are ready: what a statement
// costs the client is a small part of what it takes, which varies by more than that.
func (b *bench) measureReady(ctx context.Context, o *options, e *experiment, name string) (c cell, err error) {
	mode := lifeguard.CacheOff
	if name == byOwn {
		mode = lifeguard.CacheLocal
	}
	if name == byBeside {
		neighbour, err := b.open(lifeguard.CacheLocal, nil)
		if err != nil {
			return c, err
		}
		defer neighbour.Close()
		if err := neighbour.PingContext(ctx); err != nil {
			return c, err
		}
	}
	recorded := &pgstub.Recorded{}
	db, err := b.open(mode, recorded)
	if err != nil {
		return c, err
	}
	defer db.Close()
	do := e.work(db, o, 0)
	for range 10 { // is learnt
		if err := do(ctx); err != nil {
			return c, err
		}
	}
	recorded.Stop()
	c, err = b.measure(ctx, o, e, name, db)
	if n := recorded.Missed(); err == nil && n > 0 {
		return c, fmt.Errorf("%d requests were not recorded", n)
	}
	return c, err
}

func (b *bench) stop() {
	for _, db := range b.dbs {
		_ = db.Close()
	}
	if b.pg != nil {
		_ = b.pg.Stop()
	}
}

// experiment is some work that contestants do in turns.
type experiment struct {
	name        string
	contestants []string
	before      func(ctx context.Context, b *bench, o *options) error // once
	work        work
	workers     int
	processors  int // GOMAXPROCS; 0 leaves it
	latencies   bool
	long        bool // lasts for options.mix
	ready       bool // see measureReady; before all others, as they open pools
}

// work makes what one worker does once: a closure, so that each has its own state.
type work func(db *sql.DB, o *options, worker int) func(ctx context.Context) error

// play does all rounds of an experiment. Each has the contestants in another order.
func (b *bench) play(ctx context.Context, o *options, e *experiment) error {
	if !e.ready {
		if err := b.openPools(); err != nil {
			return err
		}
	}
	if e.before != nil {
		if err := e.before(ctx, b, o); err != nil {
			return err
		}
	}
	if e.processors > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(e.processors))
	}
	order := slices.Clone(e.contestants)
	for rep := range o.reps {
		for _, name := range order {
			measure := func() (cell, error) { return b.measure(ctx, o, e, name, b.dbs[name]) }
			if e.ready {
				measure = func() (cell, error) { return b.measureReady(ctx, o, e, name) }
			}
			c, err := measure()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.Rep = rep
			b.cells = append(b.cells, c)
		}
		order = append(order[1:], order[0])
	}
	return nil
}

// measure has one contestant work for the span of a round.
func (b *bench) measure(ctx context.Context, o *options, e *experiment, name string, db *sql.DB) (cell, error) {
	span := o.span
	if e.long {
		span = o.mix
	}
	// A few operations that do not count: connections, texts, processor caches.
	if _, err := spend(ctx, db, o, e, span/10); err != nil {
		return cell{}, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	busy, self, began := proc.Busy(), proc.Self(), time.Now()
	took, err := spend(ctx, db, o, e, span)
	c := cell{Experiment: e.name, Contestant: name, Wall: time.Since(began), CPU: proc.Self() - self}
	c.Others = max(proc.Busy()-busy-c.CPU, 0)
	runtime.ReadMemStats(&after)
	c.Allocs = after.Mallocs - before.Mallocs
	for _, w := range took {
		c.Operations += w.operations
	}
	if e.latencies {
		c.P99 = p99(took)
	}
	return c, err
}

// worked is what one worker has done.
type worked struct {
	operations int
	latencies  []time.Duration
}

func spend(ctx context.Context, db *sql.DB, o *options, e *experiment, span time.Duration) ([]worked, error) {
	took := make([]worked, max(e.workers, 1))
	errs := make([]error, len(took))
	var wait sync.WaitGroup
	plain := context.WithoutCancel(ctx) // one that can end costs database/sql five allocations more
	until := time.Now().Add(span)
	for i := range took {
		wait.Go(func() {
			do := e.work(db, o, i)
			for time.Now().Before(until) && errs[i] == nil && ctx.Err() == nil {
				if e.latencies {
					began := time.Now()
					errs[i] = do(plain)
					took[i].latencies = append(took[i].latencies, time.Since(began))
					took[i].operations++
					continue
				}
				for range 20 { // the clock is read once for these
					if errs[i] = do(plain); errs[i] != nil {
						break
					}
					took[i].operations++
				}
			}
		})
	}
	wait.Wait()
	return took, errors.Join(errors.Join(errs...), ctx.Err())
}

func p99(took []worked) time.Duration {
	var all []time.Duration
	for _, w := range took {
		all = append(all, w.latencies...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}
