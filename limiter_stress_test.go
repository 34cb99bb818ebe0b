package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlotsAreConserved lets callers of all sorts come, give up, hold and
// release on real threads, while the limit moves and, at the end, the limiter is
// closed. Nothing may be lost or doubled: every acquire ends, in flight never
// exceeds the largest limit, every slot has one owner, and at the end nobody
// holds or waits. A connection that is left with a slot arrives, or is handed back.
func TestSlotsAreConserved(t *testing.T) {
	t.Parallel()
	configs := []limiterConfig{
		{limit: 4, queueTimeout: 30 * time.Second},
		{limit: 4, queue: 20, queueTimeout: 2 * time.Millisecond, txShare: 0.5},
		{limit: 4, queueTimeout: time.Second, queueTarget: time.Millisecond},
	}
	for i, cfg := range configs {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cfg.maxLimit = 8
			cfg.onWait = func(Priority, time.Duration, waitResult) {}
			cfg.onStall = func(stall) {}
			var on connections
			cfg.onSpare = func(ph *physical) { on.end(t, ph, &on.spare) }
			stress(t, newLimiter(cfg), &on)
		})
	}
}

// connections counts those that are left with a slot.
type connections struct{ left, taken, spare atomic.Int64 }

// end notes that a connection has arrived, or was handed back; each does so once.
func (on *connections) end(t *testing.T, ph *physical, how *atomic.Int64) {
	t.Helper()
	if ph.cancelled {
		t.Error("a connection came twice")
	}
	ph.cancelled = true
	how.Add(1)
}

func stress(t *testing.T, l *limiter, on *connections) {
	t.Helper()
	var (
		wg       sync.WaitGroup
		inFlight atomic.Int64
		owners   [8]atomic.Int64
	)
	for g := range 64 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 400 {
				stressOnce(t, l, rng, &inFlight, &owners, on)
			}
		})
	}
	stop := make(chan struct{})
	var disturber sync.WaitGroup
	disturber.Go(func() {
		rng := rand.New(rand.NewPCG(99, 1))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rng.IntN(300)) * time.Microsecond):
			}
			l.setLimit(1 + rng.IntN(8))
			l.mu.Lock()
			switch rng.IntN(4) {
			case 0:
				l.holds.n = averageKnown / 2 // too few again
			case 1:
				l.probing = !l.probing
			}
			l.reviewLocked(l.now())
			l.mu.Unlock()
			l.check(t)
			_, _ = l.slots(), l.stats()
		}
	})
	wg.Wait()
	close(stop)
	disturber.Wait()
	l.check(t)
	if st := l.stats(); st.InFlight != 0 || st.Queued != 0 || st.Priorities[2].Admitted == 0 {
		t.Errorf("left behind: %+v", st)
	}

	// And a Close in the middle of it.
	for range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond<<rand.IntN(12))
			defer cancel()
			s, err := l.acquire(ctx, request{fingerprint: rand.Uint64N(4)})
			if err == nil {
				<-time.After(time.Millisecond)
				l.release(s)
			} else if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrOverloaded) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("at close: %v", err)
			}
		})
	}
	for n := range 8 {
		l.setLimit(8 - n)
		l.mu.Lock()
		l.reviewLocked(l.now())
		l.mu.Unlock()
	}
	l.close()
	wg.Wait()
	l.check(t)
	if st := l.stats(); st.InFlight != 0 || st.Queued != 0 {
		t.Errorf("after close: %+v", st)
	}
	if left, taken, spare := on.left.Load(), on.taken.Load(), on.spare.Load(); left != taken+spare || taken == 0 {
		t.Errorf("of %d connections that were left with a slot %d have arrived, and %d were handed back", left, taken, spare)
	}
}

// stressOnce is one caller of a random sort.
func stressOnce(t *testing.T, l *limiter, rng *rand.Rand, inFlight *atomic.Int64, owners *[8]atomic.Int64, on *connections) {
	t.Helper()
	ctx, cancel := randomContext(t, rng)
	defer cancel()
	r := requestFrom(ctx)
	r.fingerprint, r.tx = rng.Uint64N(4), rng.IntN(4) == 0
	s, err := l.acquire(ctx, r)
	if err != nil {
		if !errors.Is(err, ErrOverloaded) && !errors.Is(err, context.Canceled) &&
			!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrNestedAcquire) {
			t.Errorf("unexpected error %v", err)
		}

		return
	}
	if n := inFlight.Add(1); n > 8 {
		t.Errorf("%d in flight", n)
	}
	if n := owners[s.index].Add(1); n != 1 {
		t.Errorf("slot %d has %d owners", s.index, n)
	}
	if s.warm != nil {
		on.end(t, s.warm, &on.taken)
		s.warm = nil
	}
	s.begin(SlotExecuting, "SELECT", 1)
	if r.scope != nil && rng.IntN(2) == 0 {
		s.setState(SlotIdleInTx)
		if n, err := l.acquire(ctx, r); err == nil {
			l.release(n) // with what came with it
		}
	}
	for range rng.IntN(200) {
		_ = rng.Uint64()
	}
	owners[s.index].Add(-1)
	inFlight.Add(-1)
	if l.crowded() {
		s.warm = new(physical)
		on.left.Add(1)
	}
	l.release(s)
}

func randomContext(t *testing.T, rng *rand.Rand) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := t.Context(), context.CancelFunc(func() {})
	switch rng.IntN(6) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(2000))*time.Microsecond)
	case 1:
		ctx, cancel = context.WithTimeout(ctx, time.Microsecond<<rng.IntN(36)) // from 1 µs to 19 hours
	case 2:
		ctx, cancel = context.WithCancel(ctx)
		time.AfterFunc(time.Duration(rng.IntN(500))*time.Microsecond, cancel)
	}
	if rng.IntN(2) == 0 {
		ctx = WithPriority(ctx, Priority(rng.IntN(5)-2))
	}
	if rng.IntN(3) == 0 {
		ctx = WithTenant(ctx, tenants[rng.IntN(5)])
	}
	if rng.IntN(3) == 0 {
		ctx = Scope(ctx)
	}

	return ctx, cancel
}

// TestOrderWithinAClassSurvivesEverything is the same on fake time, where the
// order of arrival is known: whoever is admitted was not overtaken by a later one
// of its class, whatever was cancelled, timed out or resized in between.
func TestOrderWithinAClassSurvivesEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		cfg := limiterConfig{limit: 3, queueTimeout: 50 * time.Millisecond, queue: 40}
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, cfg)
			rng := rand.New(rand.NewPCG(seed, 2))
			type grant struct {
				p  Priority
				at time.Duration // 0: not admitted
			}
			grants := make([]grant, 800)
			var wg sync.WaitGroup
			for i := range grants {
				p := Priority(rng.IntN(5) - 2)
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if rng.IntN(3) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(40))*time.Millisecond)
				}
				hold := time.Duration(rng.IntN(8_000)) * time.Microsecond
				wg.Go(func() {
					defer cancel()
					s, err := l.acquire(ctx, request{class: p})
					if err != nil {
						return
					}
					grants[i] = grant{p, s.acquired}
					sleep(hold)
					l.release(s)
				})
				synctest.Wait()
				l.check(t)
				sleep(time.Duration(rng.IntN(2_000)) * time.Microsecond)
				if rng.IntN(20) == 0 {
					l.setLimit(1 + rng.IntN(6))
				}
			}
			wg.Wait()
			var last [priorities]time.Duration
			for i, g := range grants {
				if g.at == 0 {
					continue
				}
				if g.at < last[g.p.index()] {
					t.Fatalf("seed %d: caller %d (%s) overtook an earlier one", seed, i, g.p)
				}
				last[g.p.index()] = g.at
			}
		})
	}
}
