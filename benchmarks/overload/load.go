//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// deadline is what each call allows itself, from the moment it was due.
const deadline = 250 * time.Millisecond

// maxOutstanding bounds the calls that wait, so that the generator survives what the
// contestants do not. What it drops is counted.
const maxOutstanding = 20_000

// kind is how a call ended.
type kind uint8

const (
	answered kind = iota // and in time
	late                 // answered after its deadline
	expired              // the deadline's error
	refused              // Lifeguard's OverloadError
	tooMany              // PostgreSQL's 53300, too many clients
	failed               // anything else
	dropped              // never called: maxOutstanding
	kinds
)

func (k kind) String() string {
	return [...]string{"answered", "late", "expired", "refused", "too many clients", "failed", "dropped"}[k]
}

// call is one arrival and what became of it.
type call struct {
	at     time.Duration // when it was due, since the load began
	behind time.Duration // how late the generator was
	total  time.Duration // from when it was due to the end
	took   time.Duration // from the call to its return
	waited time.Duration // refused: in Lifeguard's queue
	reason lifeguard.OverloadReason
	kind   kind
	class  uint8 // the scenario's
	err    error // failed
}

// poisson makes the arrivals of a rate per second. The seed is the same for every
// contestant of a repetition: they all see the same crowd.
func poisson(seed uint64, rate float64, length time.Duration) []call {
	r := rand.New(rand.NewPCG(seed, seed))
	calls := make([]call, 0, int(rate*length.Seconds()*1.1)+64)
	for at := time.Duration(0); ; {
		at += time.Duration(r.ExpFloat64() / rate * float64(time.Second))
		if at >= length {
			return calls
		}
		calls = append(calls, call{at: at})
	}
}

// merge puts several streams of arrivals into one, in order.
func merge(streams ...[]call) []call {
	all := slices.Concat(streams...)
	slices.SortFunc(all, func(a, b call) int { return int(a.at - b.at) })
	return all
}

// drive makes the calls when they are due, on one scheduling goroutine and one more
// for each call, as an HTTP server would have. It returns when all are done. A call's
// deadline and its latency count from when it was due, so a generator that is late
// flatters nobody. unborn counts the goroutines of calls that have been started and have
// not run yet: they are the generator's, not what the contestant makes wait.
func drive(ctx context.Context, calls []call, unborn *atomic.Int64, do func(ctx context.Context, c *call) error) {
	var (
		outstanding atomic.Int64
		running     sync.WaitGroup
	)
	start := time.Now()
	for i := range calls {
		c := &calls[i]
		if wait := c.at - time.Since(start); wait > 0 {
			time.Sleep(wait)
		}
		c.behind = time.Since(start) - c.at
		if outstanding.Load() >= maxOutstanding {
			c.kind = dropped
			continue
		}
		outstanding.Add(1)
		unborn.Add(1)
		running.Go(func() {
			unborn.Add(-1)
			defer outstanding.Add(-1)
			due := start.Add(c.at)
			ctx, cancel := context.WithDeadline(ctx, due.Add(deadline))
			defer cancel()
			began := time.Now()
			err := do(ctx, c)
			end := time.Now()
			c.took, c.total = end.Sub(began), end.Sub(due)
			c.classify(err)
		})
	}
	running.Wait()
}

func (c *call) classify(err error) {
	var (
		over  *lifeguard.OverloadError
		pgErr *pgconn.PgError
	)
	switch {
	case err == nil && c.total > deadline:
		c.kind = late
	case err == nil:
		c.kind = answered
	case errors.As(err, &over):
		c.kind, c.reason, c.waited = refused, over.Reason, over.Waited
	case errors.As(err, &pgErr) && pgErr.Code == "53300":
		c.kind = tooMany
	case errors.Is(err, context.DeadlineExceeded):
		c.kind = expired
	default:
		c.kind, c.err = failed, err
	}
}

// closedLoop keeps the contestant busy with some workers for a while and returns the
// answers per second.
func closedLoop(ctx context.Context, s *session, next func() statement, workers int, length time.Duration) (float64, error) {
	var (
		n    atomic.Int64
		wg   sync.WaitGroup
		bad  atomic.Pointer[error]
		stop = time.Now().Add(length)
		mu   sync.Mutex // guards next, which is no concurrent function
	)
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for time.Now().Before(stop) {
				mu.Lock()
				st := next()
				mu.Unlock()
				if err := s.do(ctx, st); err != nil {
					bad.Store(&err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if err := bad.Load(); err != nil {
		return 0, *err
	}
	return float64(n.Load()) / time.Since(start).Seconds(), nil
}

// quantile returns the q-quantile of the durations, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(int(q*float64(len(d))), len(d)-1)]
}
