//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const (
	bound   = 100 * time.Millisecond // lifeguard_cache_bound's default
	writers = 4
)

// bench is a server whose log can be decoded, with a database on it.
type bench struct {
	pg      *pgtest.Server
	dsn     string
	version string
	pid     int // of the postmaster
	probe   cdc.Relation
	began   time.Time
}

func start(ctx context.Context) (b *bench, err error) {
	b = &bench{began: time.Now()}
	b.pg, err = pgtest.Start(ctx, pgtest.Options{Durable: true, Settings: map[string]string{
		"wal_level": "logical", "max_replication_slots": "20", "max_wal_senders": "20", "max_wal_size": "4GB",
	}})
	if err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.dsn, _, err = b.pg.CreateDatabase(ctx); err != nil {
		return b, err
	}
	return b, b.with(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `create table probe (id int primary key, n bigint not null); insert into probe values (1, 0);
			create table item (id int primary key, n bigint not null, filler text not null);
			insert into item select i, 0, repeat('x', 100) from generate_series(1, 10000) i;
			create table bulk (id int primary key, filler text not null)`)
		if err != nil {
			return err
		}
		var folder string
		err = conn.QueryRow(ctx, "select current_setting('data_directory'), current_setting('server_version'), 'probe'::regclass::oid").Scan(&folder, &b.version, &b.probe)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(folder, "postmaster.pid"))
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		b.pid, err = strconv.Atoi(line)
		return err
	})
}

func (b *bench) stop() {
	if b.pg != nil {
		_ = b.pg.Stop()
	}
}

func (b *bench) now() time.Duration { return time.Since(b.began) }

func (b *bench) with(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, b.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(conn)
}

// ear notes when each change of the table probe, or of any other, was told.
type ear struct {
	probe cdc.Relation
	heard chan time.Time
	other chan time.Time
}

func (*ear) Begin(string)   {}
func (*ear) Lost()          {}
func (*ear) SchemaChanged() {}
func (e *ear) Changed(relations []cdc.Relation) {
	to := e.other
	if slices.Contains(relations, e.probe) {
		to = e.heard
	}
	select {
	case to <- time.Now():
	default:
	}
}

// listen starts what a process with lifeguard_cache=cdc has, with a stream of its own, and
// waits until it serves.
func (b *bench) listen(ctx context.Context, relay *cdc.Relay) (*cdc.Consumer, *ear, error) {
	e := &ear{probe: b.probe, heard: make(chan time.Time, 1), other: make(chan time.Time, 1)}
	c := cdc.New(cdc.Config{
		Connect: func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			cfg, err := pgconn.ParseConfig(b.dsn)
			if err != nil {
				return nil, err
			}
			if replication {
				cfg.RuntimeParams["replication"] = "database"
			}
			return pgconn.ConnectConfig(ctx, cfg)
		},
		Cache: e, Now: b.now, Relay: relay, Bound: bound, MaxLag: 8 << 30, Publication: "lifeguard", PollEvery: time.Second,
	})
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !c.Serves(b.now()) {
		select {
		case <-limit.Done():
			c.Close()
			return nil, nil, fmt.Errorf("the stream serves nothing: %s %s", c.Stats().State, c.Stats().Reason)
		case <-time.After(time.Millisecond):
		}
	}
	return c, e, nil
}

// load has writers change rows until it is stopped, which returns how many transactions
// there were.
func (b *bench) load(ctx context.Context) (stop func() (int64, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	var count atomic.Int64
	errs := make(chan error, writers)
	for w := range writers {
		done.Go(func() {
			errs <- b.with(ctx, func(conn *pgx.Conn) error {
				for i := w; ctx.Err() == nil; i += writers {
					if _, err := conn.Exec(ctx, "update item set n = n + 1 where id = $1", i%10000+1); err != nil {
						return err
					}
					count.Add(1)
				}
				return nil
			})
		})
	}
	return func() (int64, error) {
		cancel()
		done.Wait()
		for range writers {
			if err := <-errs; err != nil && !errors.Is(err, context.Canceled) && !pgconn.Timeout(err) {
				return 0, err
			}
		}
		return count.Load(), nil
	}
}

// events takes the time from the answer to a commit until the cache was told.
func (b *bench) events(ctx context.Context, o *options, r *results) error {
	c, e, err := b.listen(ctx, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, loaded := range []bool{false, true} {
		stop := func() (int64, error) { return 0, nil }
		if loaded {
			stop = b.load(ctx)
		}
		lags, before, err := b.lags(ctx, o.events, e)
		if _, stopErr := stop(); err != nil || stopErr != nil {
			return errors.Join(err, stopErr)
		}
		r.lags = append(r.lags, lagged{loaded: loaded, lags: lags, before: before})
	}
	return nil
}

func (b *bench) lags(ctx context.Context, events int, e *ear) (lags []time.Duration, before int, err error) {
	err = b.with(ctx, func(conn *pgx.Conn) error {
		for n := range events {
			if _, err := conn.Exec(ctx, "update probe set n = $1", n); err != nil {
				return err
			}
			answered := time.Now()
			select {
			case at := <-e.heard:
				if at.Before(answered) {
					before++
				}
				lags = append(lags, max(at.Sub(answered), 0))
			case <-time.After(time.Minute):
				return errors.New("a commit was not heard of")
			}
		}
		return nil
	})
	slices.Sort(lags)
	return lags, before, err
}

// large commits many rows at once.
func (b *bench) large(ctx context.Context, o *options, r *results) error {
	c, e, err := b.listen(ctx, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	return b.with(ctx, func(conn *pgx.Conn) error {
		for range o.reps {
			began := time.Now()
			_, err := conn.Exec(ctx, "insert into bulk select i, repeat('x', 50) from generate_series(1, "+strconv.Itoa(o.rows)+") i")
			if err != nil {
				return err
			}
			answered := time.Now()
			served := time.Duration(0) // so long after the commit something was served that did not know it
			var heard time.Time
			for heard.IsZero() {
				now := time.Now()
				serves := c.Serves(b.now())
				select {
				case heard = <-e.other:
				case <-time.After(100 * time.Microsecond):
					if serves {
						served = now.Sub(answered)
					}
				}
			}
			r.large = append(r.large, largeTransaction{wrote: answered.Sub(began), heard: heard.Sub(answered), served: served})
			if _, err := conn.Exec(ctx, "truncate bulk"); err != nil {
				return err
			}
			<-e.other
		}
		return nil
	})
}

// gate compares a query with the same behind the question for a snapshot, in one round trip.
func (b *bench) gate(ctx context.Context, o *options, r *results) error {
	const query = "select n, filler from item where id = 77"
	return b.with(ctx, func(conn *pgx.Conn) error {
		pg := conn.PgConn()
		plain := func() error { return pg.ExecParams(ctx, query, nil, nil, nil, nil).Read().Err }
		gated := func() error {
			p := pg.StartPipeline(ctx)
			p.SendQueryParams(cdc.SnapshotSQL, nil, nil, nil, nil)
			p.SendQueryParams(query, nil, nil, nil, nil)
			if err := p.Sync(); err != nil {
				return err
			}
			for range 2 {
				result, err := p.GetResults()
				if err != nil {
					return err
				}
				if reader, ok := result.(*pgconn.ResultReader); !ok {
					return errors.New("no rows")
				} else if read := reader.Read(); read.Err != nil {
					return read.Err
				}
			}
			return p.Close()
		}
		for range o.fills {
			for i, do := range []func() error{plain, gated} {
				began := time.Now()
				if err := do(); err != nil {
					return err
				}
				r.fills[i] = append(r.fills[i], time.Since(began))
			}
		}
		return nil
	})
}

// fleet is so many processes that listen: each through a slot of its own, or two of them, and
// the others through Redis.
type fleet struct {
	processes int
	relayed   bool
}

const relaySlots = 2

func fleets() []fleet {
	return []fleet{{0, false}, {1, false}, {4, false}, {8, false}, {8, true}}
}

// slots has as many streams as so many processes would have, beside somebody else's writes.
func (b *bench) slots(ctx context.Context, o *options, r *results) error {
	for rep := range o.reps {
		for i := range fleets() {
			s, err := b.withFleet(ctx, fleets()[(i+rep)%len(fleets())], o.span)
			if err != nil {
				return err
			}
			s.rep = rep
			r.slots = append(r.slots, s)
		}
	}
	return nil
}

func (b *bench) withFleet(ctx context.Context, f fleet, span time.Duration) (slotted, error) {
	var relay *cdc.Relay
	if f.relayed {
		redis, err := pgtest.StartRedis(ctx, pgtest.RedisOptions{})
		if err != nil {
			return slotted{}, err
		}
		defer func() { _ = redis.Stop() }()
		open, err := redisurl.Dialer(redis.URL())
		if err != nil {
			return slotted{}, err
		}
		relay = &cdc.Relay{Open: open, Place: redis.URL(), Slots: relaySlots}
	}
	for range f.processes {
		c, _, err := b.listen(ctx, relay)
		if err != nil {
			return slotted{}, err
		}
		defer c.Close()
	}
	stop := b.load(ctx)
	before, began := proc.Family(b.pid), time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(span):
	}
	used := proc.Family(b.pid) - before // while the streams are there; see proc.Family
	took := time.Since(began)
	count, err := stop()
	return slotted{fleet: f, rate: float64(count) / took.Seconds(), cpu: used / time.Duration(max(count, 1))}, err
}
