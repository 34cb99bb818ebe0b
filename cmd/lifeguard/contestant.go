package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
)

// outstandingLimit bounds the requests that have begun and not ended.
const outstandingLimit = 20_000

// A contestant is one way to reach the server, and what became of its requests.
type contestant struct {
	name    string
	db      *sql.DB
	open    func() int // connections, now
	waiting func() int // in a queue that tells; nil without

	offered     atomic.Int64
	outstanding atomic.Int64
	notStarted  atomic.Int64 // offered beyond outstandingLimit
	inTime      histogram    // answered before the deadline
	refused     histogram    // until the refusal
	late        atomic.Int64 // answered or failed after the deadline
	failed      errorCounts  // for other reasons
	attempted   atomic.Int64 // connections
	opened      atomic.Int64
	measured    time.Duration
	top         peaks
}

// newPlain is sql.Open("pgx", dsn), with hooks that count connections.
func newPlain(t *target) *contestant {
	c := &contestant{name: "pgx/stdlib"}
	c.db = sql.OpenDB(stdlib.GetConnector(*t.config.ConnConfig,
		stdlib.OptionBeforeConnect(c.countAttempt), stdlib.OptionAfterConnect(c.countOpened)))
	c.open = func() int { return c.db.Stats().OpenConnections }
	return c
}

// newGuarded is sql.Open("lifeguard", dsn), with the same hooks.
func newGuarded(t *target) (*contestant, error) {
	c := &contestant{name: "Lifeguard"}
	cfg := t.config
	cfg.BeforeConnect, cfg.AfterConnect = c.countAttempt, c.countOpened
	cfg.Logger = slog.New(slog.DiscardHandler) // the table says what is refused
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	c.db = sql.OpenDB(connector)
	c.open = func() int { return connector.Stats().Pool.Total }
	c.waiting = func() int { return connector.Stats().Limiter.Queued }
	return c, nil
}

func (c *contestant) countAttempt(context.Context, *pgx.ConnConfig) error {
	c.attempted.Add(1)
	return nil
}

func (c *contestant) countOpened(context.Context, *pgx.Conn) error {
	c.opened.Add(1)
	return nil
}

// closedLoop keeps n goroutines busy with the statement for a time.
func closedLoop(ctx context.Context, db *sql.DB, work, n int, forTime time.Duration, answered *histogram) error {
	end := time.Now().Add(forTime)
	failures := make(chan error, n)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for time.Now().Before(end) {
				began := time.Now()
				if err := ask(ctx, db, work); err != nil {
					failures <- err
					return
				}
				answered.add(time.Since(began))
			}
		})
	}
	workers.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func ask(ctx context.Context, db *sql.DB, work int) error {
	var sum float64
	return db.QueryRowContext(ctx, statement, work).Scan(&sum)
}

// takeTurn offers requests for a time and returns when all have ended.
func (c *contestant) takeTurn(ctx context.Context, v *overload, turn time.Duration) {
	began := time.Now()
	arrivals, stop := context.WithTimeout(ctx, turn)
	defer stop()
	done := make(chan struct{})
	var observer sync.WaitGroup
	observer.Go(func() { c.watch(done, v, began, turn) })

	var requests sync.WaitGroup
	next := began
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next = next.Add(time.Duration(rand.ExpFloat64() / v.rate * float64(time.Second)))
		if wait := time.Until(next); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-arrivals.Done():
			}
		}
		if arrivals.Err() != nil {
			break
		}
		c.offered.Add(1)
		if c.outstanding.Load() >= outstandingLimit {
			c.notStarted.Add(1)
			continue
		}
		c.outstanding.Add(1)
		due := next
		requests.Go(func() {
			defer c.outstanding.Add(-1)
			c.request(context.WithoutCancel(ctx), due, v.work) // it has its deadline
		})
	}
	c.measured += time.Since(began)
	requests.Wait()
	close(done)
	observer.Wait()
}

// request is one request, due at a time that may have passed already: what it lost
// before it began counts too.
func (c *contestant) request(ctx context.Context, due time.Time, work int) {
	ctx, cancel := context.WithDeadline(ctx, due.Add(deadline))
	defer cancel()
	err := ask(ctx, c.db, work)
	spent := time.Since(due)
	switch {
	case err == nil && spent <= deadline:
		c.inTime.add(spent)
	case errors.Is(err, lifeguard.ErrOverloaded):
		c.refused.add(spent)
	case spent >= deadline:
		c.late.Add(1)
	default:
		c.failed.add(err)
	}
}

// watch samples what the contestant costs, and prints a line for each second of
// arrivals, the last one when all that has arrived has ended.
func (c *contestant) watch(done <-chan struct{}, v *overload, began time.Time, turn time.Duration) {
	sample := time.NewTicker(10 * time.Millisecond)
	defer sample.Stop()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}

	last, lastTime := c.count(), began
	var top peaks
	show := func(now time.Time) {
		current := c.count()
		c.printLine(v.out, current, last, now.Sub(lastTime).Seconds(), top)
		last, lastTime, top = current, now, peaks{}
	}
	for {
		select {
		case <-done:
			if end := began.Add(turn); time.Now().After(end) {
				show(end)
			} else {
				show(time.Now())
			}
			return
		case now := <-sample.C:
			metrics.Read(heap)
			top.raise(peaks{goroutines: runtime.NumGoroutine(), conns: c.open(), heap: heap[0].Value.Uint64()})
			if c.waiting != nil {
				top.raise(peaks{queued: c.waiting()})
			}
			c.top.raise(top)
			if now.Sub(lastTime) >= time.Second && began.Add(turn).Sub(now) > time.Second/2 {
				show(now)
			}
		}
	}
}

// peaks are the highest values that were sampled.
type peaks struct {
	goroutines, conns, queued int
	heap                      uint64
}

func (p *peaks) raise(to peaks) {
	p.goroutines = max(p.goroutines, to.goroutines)
	p.conns = max(p.conns, to.conns)
	p.queued = max(p.queued, to.queued)
	p.heap = max(p.heap, to.heap)
}

// counts is what a contestant had done at one moment.
type counts struct {
	offered, refused, late, failed int
	inTime                         *snapshot
}

func (c *contestant) count() counts {
	return counts{
		offered: int(c.offered.Load()), refused: c.refused.count(), late: int(c.late.Load()),
		failed: c.failed.total(), inTime: c.inTime.snapshot(),
	}
}

const liveFormat = "%-11s %9s %9s %9s %9s %9s %9s %7s %7s %11s\n"

func (v *overload) printHeader() {
	fmt.Fprintf(v.out, liveFormat, "per second", "offered", "in time", "p99", "refused", "too late", "failed", "queued", "conns", "goroutines")
}

func (c *contestant) printLine(out output, now, before counts, seconds float64, top peaks) {
	perSecond := func(n int) string { return thousands(int(float64(n) / max(seconds, 0.01))) }
	inTime := now.inTime.since(before.inTime)
	p99, queued := "–", "–"
	if inTime.count() > 0 {
		p99 = duration(min(inTime.percentile(0.99), deadline))
	}
	if c.waiting != nil {
		queued = thousands(top.queued)
	}
	fmt.Fprintf(out, liveFormat, c.name, perSecond(now.offered-before.offered), perSecond(inTime.count()), p99,
		perSecond(now.refused-before.refused), perSecond(now.late-before.late), perSecond(now.failed-before.failed),
		queued, thousands(top.conns), thousands(top.goroutines))
}
