package lifeguard

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// serveAll keeps every slot busy for hold at a time until nobody waits.
func serveAll(l *limiter, ws []*outcome, held []*slot, hold time.Duration) {
	released := make(map[*outcome]bool)
	for len(held) > 0 {
		for _, s := range held {
			s.begin(SlotExecuting, "", s.req.fingerprint)
		}
		pass(hold)
		for _, s := range held {
			l.release(s)
		}
		synctest.Wait()
		held = held[:0]
		for _, w := range ws {
			if w.s != nil && !released[w] {
				released[w] = true
				held = append(held, w.s)
			}
		}
	}
}

// An overload that is there before anything is known fills the queue. As soon as the
// mean is known, whoever cannot be served in time is told so, and the others are
// served.
func TestAnOverloadFromTheFirstMomentIsReviewedOnceTheMeanIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		ctx := within(t, 305*time.Millisecond) // 4 every 20 ms: 60 in time
		held := make([]*slot, 4)
		for i := range held {
			held[i] = take(t, l, request{fingerprint: 7})
		}
		ws := make([]*outcome, 200)
		for i := range ws {
			ws[i] = ask(ctx, l, request{fingerprint: uint64(7 + i%2)})
		}
		serveAll(l, ws, held, 20*time.Millisecond)

		served, early := 0, 0
		for _, w := range ws {
			if w.err == nil {
				served++
				continue
			}
			if o := refusal(t, w.err, ReasonDeadline); o.Waited <= 100*time.Millisecond { // 16 holds after the first of each slot
				early++
			}
		}
		if late := len(ws) - served - early; served < 50 || late > 8 { // some are near the edge
			t.Errorf("%d of %d served, %d refused as soon as possible", served, len(ws), early)
		}
	})
}

// So it is when statements take half or twice as long as each other.
func TestAReviewIsAsQuickWhenHoldsVary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 8})
		var served, early, late atomic.Int64
		for i := range 300 {
			hold := time.Duration(10+7*i%20) * time.Millisecond // 88 in time
			ctx := within(t, 250*time.Millisecond)
			go func() {
				s, err := l.acquire(ctx, request{fingerprint: 7})
				if err != nil {
					if refusal(t, err, ReasonDeadline).Waited <= 100*time.Millisecond {
						early.Add(1)
					} else {
						late.Add(1)
					}

					return
				}
				s.begin(SlotExecuting, "", 7)
				sleep(hold)
				served.Add(1)
				l.release(s)
			}()
			synctest.Wait()
		}
		pass(time.Second)
		if served.Load() < 80 || late.Load() > 16 {
			t.Errorf("%d served, %d refused soon, %d late", served.Load(), early.Load(), late.Load())
		}
	})
}

// Who waits is not refused on a suspicion: by what is certainly before it, or not at all.
func TestAReviewOnlyCountsWhatIsCertainlyBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		teach(t, l, request{fingerprint: 7}, 20, 100*time.Millisecond)
		a, b := take(t, l, request{fingerprint: 7}), take(t, l, request{fingerprint: 7})
		var crowd []*outcome
		for range 10 {
			crowd = append(crowd, ask(t.Context(), l, request{tenant: "crowd", fingerprint: 7}))
		}
		alone := ask(within(t, 400*time.Millisecond), l, request{tenant: "alone", fingerprint: 7})
		l.setLimit(1)
		pass(tickPeriod) // 10 holds of 100 ms wait; but the other tenant has every second turn
		if alone.done {
			t.Fatalf("refused, though its turn is near: %v", alone.err)
		}
		for _, w := range crowd {
			if w.done {
				t.Fatalf("refused without a deadline: %v", w.err)
			}
		}
		l.release(a)
		l.release(b)
		drain(l)
	})
}

// What was let in with two slots cannot be served in time with one.
func TestATickReviewsTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		teach(t, l, request{}, 20, 100*time.Millisecond)
		a, b := take(t, l, request{}), take(t, l, request{})
		var ws [6]*outcome // the last finishes after 400 ms with two slots, after 700 with one
		for i := range ws {
			ws[i] = ask(within(t, time.Second), l, request{})
		}
		sleep(300 * time.Millisecond)
		l.setLimit(1)
		pass(tickPeriod) // 600 ms are left, which is six holds, and the sixth would be late
		for i, w := range ws {
			if w.done {
				t.Fatalf("%d: %v", i, w.err)
			}
		}
		pass(tickPeriod)
		refusal(t, ws[5].err, ReasonDeadline)
		for i, w := range ws[:5] {
			if w.done {
				t.Errorf("%d: %v", i, w.err)
			}
		}
		l.release(a)
		l.release(b)
		drain(l)
	})
}

// The first statement of each slot opens a connection, and finds nothing prepared there.
func TestTheFirstHoldOfASlotIsNotWhatAHoldTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		hold := func(d time.Duration) {
			s := take(t, l, request{})
			sleep(d)
			l.release(s)
		}
		hold(time.Second)
		if mean := l.stats().HoldMean; mean != 0 {
			t.Errorf("after the first: mean hold %v", mean)
		}
		for range averageOver {
			hold(10 * time.Millisecond)
		}
		if mean := l.stats().HoldMean; mean != 10*time.Millisecond {
			t.Errorf("of equal holds: mean hold %v", mean)
		}
		other := take(t, l, request{})
		hold(100 * time.Millisecond) // the second slot's first, when much is known
		if mean := l.stats().HoldMean; mean <= 10*time.Millisecond {
			t.Errorf("a later one takes its slot for as long as it opens a connection; mean hold %v", mean)
		}
		l.release(other)
	})
}

// A statement of another shape passes those whose shape holds half of the slots.
func TestAReviewDoesNotCountWhatIsPassedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		heavy, light := request{fingerprint: 7}, request{fingerprint: 8}
		teach(t, l, heavy, 20, time.Second)
		teach(t, l, light, 20, 5*time.Millisecond)
		teach(t, l, heavy, 20, time.Second)
		teach(t, l, light, 1, 5*time.Millisecond)
		held := make([]*slot, 4)
		for i := range held {
			held[i] = take(t, l, heavy)
		}
		for range 40 {
			ask(t.Context(), l, heavy)
		}
		w := ask(within(t, 2*time.Second), l, light)
		pass(3 * tickPeriod)
		l.release(held[0])
		synctest.Wait()
		if w.s == nil {
			t.Errorf("the light statement was not next: %v", w.err)
		}
		drain(l)
	})
}

// Whoever gets their slots together do not wait for each other.
func TestAReviewDoesNotCountWhatRunsAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 10})
		teach(t, l, request{}, 2*averageOver, 100*time.Millisecond)
		held, ws := make([]*slot, 10), make([]*outcome, 10)
		for i := range held {
			held[i] = take(t, l, request{})
		}
		for i := range ws {
			ws[i] = ask(within(t, 385*time.Millisecond), l, request{})
		}
		pass(205 * time.Millisecond) // 180 ms are left, and each takes 100
		serveAll(l, ws, held, 0)
		for i, w := range ws {
			if w.err != nil {
				t.Errorf("%d: %v", i, w.err)
			}
		}
	})
}

func TestADeadlineInCenturiesIsNotOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		held := []*slot{take(t, l, request{fingerprint: 7})}
		ctx, cancel := context.WithTimeout(t.Context(), math.MaxInt64)
		defer cancel()
		ws := make([]*outcome, 10)
		for i := range ws {
			ws[i] = ask(ctx, l, request{fingerprint: 7})
		}
		serveAll(l, ws, held, 10*time.Millisecond)
		for i, w := range ws {
			if w.err != nil {
				t.Errorf("%d: %v", i, w.err)
			}
		}
	})
}

// Where waiters time out one after the other, the timer runs for each of them; the
// review, which looks at all of them, does not, and not at all if it can refuse nobody.
func TestReviewsAreNoMoreFrequentThanTheirPeriod(t *testing.T) {
	t.Parallel()
	for _, deadlines := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 1, queueTimeout: time.Second})
			teach(t, l, request{}, 20, time.Minute) // so long is it believed
			s := take(t, l, request{})
			ctx := t.Context()
			if deadlines {
				ctx = within(t, time.Hour)
			}
			for range 100 {
				ask(ctx, l, request{})
				sleep(time.Millisecond)
			}
			pass(time.Second) // in which all of them time out
			l.mu.Lock()
			n := l.lanes
			l.mu.Unlock()
			if n > 12 || deadlines != (n > 0) {
				t.Errorf("with deadlines %v: %d reviews of one lane in 1.1 s", deadlines, n)
			}
			l.release(s)
		})
	}
}
