package lifeguard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// testLimiter returns a limiter that must be empty and consistent at the end.
func testLimiter(t *testing.T, cfg limiterConfig) *limiter {
	t.Helper()
	l := newLimiter(cfg)
	t.Cleanup(func() {
		synctest.Wait()
		l.check(t)
		if st := l.stats(); st.InFlight != 0 || st.Queued != 0 {
			t.Errorf("left behind: %d in flight, %d queued", st.InFlight, st.Queued)
		}
		l.close()
	})

	return l
}

// sleep lets fake time pass.
func sleep(d time.Duration) { <-time.After(d) }

// seen orders what a test has read before what a timer lets another goroutine
// write; synctest.Wait orders only the opposite.
var seen atomic.Int64

// pass lets fake time pass, and what it sets off happen.
func pass(d time.Duration) {
	seen.Add(1)
	sleep(d)
	synctest.Wait()
}

// drain releases whatever slots are held, until nobody waits.
func drain(l *limiter) {
	for {
		synctest.Wait()
		l.mu.Lock()
		i := slices.IndexFunc(l.all, func(s *slot) bool { return s.held })
		if i < 0 {
			l.mu.Unlock()

			return
		}
		s := l.all[i]
		l.mu.Unlock()
		l.release(s)
	}
}

// check verifies the invariants in limiter's comment, at any time.
func (l *limiter) check(tb testing.TB) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()

	held, tx, trials := 0, 0, 0
	for _, s := range l.all {
		if s.trial {
			trials++
		}
		if s.held {
			held++
			if s.req.tx {
				tx++
			}
		} else if l.fingerprints[s.index] != 0 {
			tb.Errorf("slot %d is free and has a fingerprint", s.index)
		} else if s.warm != nil {
			tb.Errorf("slot %d is free and has a connection", s.index)
		}
	}
	if held != l.inFlight || tx != l.txHeld || held+len(l.free) != len(l.all) {
		tb.Errorf("%d slots held, %d tx, %d free of %d; counted %d in flight, %d tx",
			held, tx, len(l.free), len(l.all), l.inFlight, l.txHeld)
	}
	queued, statements := 0, 0
	for i := range l.classes {
		n, s := l.classes[i].check(tb)
		queued += n
		statements += s
	}
	if queued != l.queued {
		tb.Errorf("%d waiters in the classes, counted %d", queued, l.queued)
	}
	if l.inFlight < l.capacity && (statements > 0 || queued > 0 && l.txHeld < l.txMax) {
		tb.Errorf("a slot idles: %d of %d in flight, %d wait", l.inFlight, l.capacity, queued)
	}
	shaped := 0
	for i := range l.shapes {
		s := &l.shapes[i]
		sum := 0
		for _, n := range s.waiters {
			sum += n
		}
		if sum != s.queued || s.counted != 0 || s.queued == 0 && s.work != [classCount]time.Duration{} {
			tb.Errorf("shape %x counts %v waiters, %d queued, %v of work", s.fingerprint, s.waiters, s.queued, s.work)
		}
		shaped += s.queued
	}
	timed := 0
	for i := range l.classes {
		for w := l.classes[i].oldest; w != nil; w = w.newer {
			if w.deadline > 0 {
				timed++
			}
			if w.trial {
				trials++
			}
		}
	}
	if timed != l.timed {
		tb.Errorf("%d waiters with a deadline, counted %d", timed, l.timed)
	}
	if trials > 1 || (trials == 1) != l.trial.on {
		tb.Errorf("%d trials, counted: %v", trials, l.trial.on)
	}
	if shaped > l.queued {
		tb.Errorf("%d waiters in shapes, %d queued", shaped, l.queued)
	}
	if l.queued > 0 && !l.armed {
		tb.Error("somebody waits and the timer is not armed")
	}
}

func (c *class) check(tb testing.TB) (n, statements int) {
	tb.Helper()
	byAge := 0
	for w := c.oldest; w != nil; w = w.newer {
		byAge++
		if w.class != c || w.lane == nil || w.newer == nil && c.newest != w {
			tb.Error("list by age is broken")
		}
	}
	var work [2]time.Duration
	for w := c.oldest; w != nil; w = w.newer {
		if w.line == &c.lines[0] {
			work[0] += w.expect
		} else {
			work[1] += w.expect
		}
	}
	for i := range c.lines {
		q, flows := &c.lines[i], 0
		if q.work != work[i] || q.n == 0 && q.variance != 0 {
			tb.Errorf("%v of work in a line, counted %v; variance %v", work[i], q.work, q.variance)
		}
		for f := q.turn; f != nil; {
			flows++
			inFlow := f.lane.check(tb)
			for _, a := range f.aside {
				inFlow += a.check(tb)
			}
			if inFlow != f.n || f.n == 0 {
				tb.Errorf("%d waiters in a flow, counted %d", inFlow, f.n)
			}
			n += inFlow
			if f = f.next; f == q.turn {
				break
			}
		}
		if flows != q.flows {
			tb.Errorf("%d flows, counted %d", flows, q.flows)
		}
	}
	if n != c.n || byAge != c.n {
		tb.Errorf("%d waiters in lines, %d by age, counted %d", n, byAge, c.n)
	}

	return n, c.lines[0].n
}

func (q *lane) check(tb testing.TB) (n int) {
	tb.Helper()
	var last *waiter
	for w := q.head; w != nil; w = w.next {
		if w.prev != last || w.lane != q || last != nil && last.number >= w.number {
			tb.Error("lane is broken or out of order")
		}
		last = w
		n++
	}
	if q.tail != last {
		tb.Error("lane has a wrong end")
	}

	return n
}

// take acquires a slot that must be free.
func take(tb testing.TB, l *limiter, r request) *slot {
	tb.Helper()
	s, err := l.acquire(tb.Context(), r)
	if err != nil {
		tb.Fatalf("acquire: %v", err)
	}

	return s
}

// outcome is what a caller got that had to wait.
type outcome struct {
	s    *slot
	err  error
	done bool
	at   time.Time
}

// ask acquires in the background and returns when that waits, or is over.
func ask(ctx context.Context, l *limiter, r request) *outcome {
	o := new(outcome)
	go func() {
		s, err := l.acquire(ctx, r)
		seen.Add(1)
		o.s, o.err, o.done, o.at = s, err, true, time.Now()
	}()
	synctest.Wait()

	return o
}

// order lets n waiters come one after the other, and returns the order in which
// they are served, each releasing at once, after start was released.
func order(t *testing.T, l *limiter, start *slot, rs ...request) []int {
	t.Helper()
	var mu sync.Mutex
	var served []int
	for i, r := range rs {
		go func() {
			s, err := l.acquire(t.Context(), r)
			if err != nil {
				t.Errorf("waiter %d: %v", i, err)

				return
			}
			mu.Lock()
			served = append(served, i)
			mu.Unlock()
			l.release(s)
		}()
		synctest.Wait()
	}
	l.release(start)
	synctest.Wait()

	return served
}

// refusal returns the numbers of an error that must be a refusal for that reason.
func refusal(tb testing.TB, err error, why OverloadReason) OverloadError {
	tb.Helper()
	var o *OverloadError
	if !errors.As(err, &o) || o.Reason != why {
		tb.Fatalf("got %v, want a refusal with reason %s", err, why)
	}

	return *o
}
