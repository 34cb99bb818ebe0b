package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// teach lets the limiter see n holds of d, one after the other.
func teach(t *testing.T, l *limiter, r request, n int, d time.Duration) {
	t.Helper()
	for range n {
		s := take(t, l, r)
		s.begin(SlotExecuting, "", r.fingerprint)
		sleep(d)
		l.release(s)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)

	return ctx
}

func TestAHopelessDeadlineIsRefusedOnArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		teach(t, l, request{}, 20, 100*time.Millisecond)
		a, b := take(t, l, request{}), take(t, l, request{})
		w1, w2 := ask(t.Context(), l, request{}), ask(t.Context(), l, request{})

		// (2 ahead + 2) ÷ 2 × 100 ms = 200 ms, which is half of 400 ms.
		before := time.Now()
		o := refusal(t, ask(within(t, 399*time.Millisecond), l, request{}).err, ReasonDeadline)
		if time.Since(before) != 0 || o.Waited != 0 || o.Queued != 2 || o.Limit != 2 {
			t.Errorf("refused with %+v", o)
		}
		if o.RetryAfter < 160*time.Millisecond || o.RetryAfter > 240*time.Millisecond {
			t.Errorf("retry after %v, expected 200ms ± 20 %%", o.RetryAfter)
		}
		fits := ask(within(t, 401*time.Millisecond), l, request{})
		if fits.done {
			t.Errorf("refused: %v", fits.err)
		}
		l.release(a)
		l.release(b)
		synctest.Wait()
		l.release(w1.s)
		l.release(w2.s)
		synctest.Wait()
		l.release(fits.s)
	})
}

// Others may wait for half of their time.
func TestACriticalCallerMayWaitForAllOfItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		for i := range 40 {
			teach(t, l, request{class: []Priority{High, Critical}[i%2]}, 1, 50*time.Millisecond)
		}
		a, b := take(t, l, request{}), take(t, l, request{})
		w1, w2 := ask(t.Context(), l, request{class: Critical}), ask(t.Context(), l, request{class: Critical})

		// (2 ahead + 2) ÷ 2 × 50 ms = 100 ms.
		refusal(t, ask(within(t, 99*time.Millisecond), l, request{class: Critical}).err, ReasonDeadline)
		refusal(t, ask(within(t, 101*time.Millisecond), l, request{class: High}).err, ReasonDeadline)
		fits := ask(within(t, 101*time.Millisecond), l, request{class: Critical})
		if fits.done {
			t.Fatalf("refused: %v", fits.err)
		}
		l.release(a)
		l.release(b)
		pass(50 * time.Millisecond)
		l.release(w1.s)
		l.release(w2.s)
		synctest.Wait()
		if fits.s == nil {
			t.Fatalf("in time, and refused in the end: %v", fits.err)
		}
		l.release(fits.s)
	})
}

func TestHigherClassesAreAheadAndLowerOnesAreNot(t *testing.T) {
	t.Parallel()
	for p, refused := range map[Priority]bool{Critical: true, Low: false} {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 1})
			teach(t, l, request{}, 20, 100*time.Millisecond)
			teach(t, l, request{class: p}, 4, 100*time.Millisecond)
			take(t, l, request{})
			for range 5 {
				ask(t.Context(), l, request{class: p})
			}
			w := ask(within(t, 400*time.Millisecond), l, request{})
			if w.done != refused {
				t.Errorf("with five %s ahead: %+v", p, w)
			}
			drain(l)
		})
	}
}

func TestAFreeSlotOrAnUncertainEstimateNeverRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		teach(t, l, request{}, averageKnown-1, time.Second)
		s := take(t, l, request{})
		w := ask(within(t, time.Millisecond), l, request{}) // 15 samples are too few
		pass(time.Millisecond)
		if !errors.Is(w.err, context.DeadlineExceeded) {
			t.Fatalf("its own deadline passed in the queue, and it got %v", w.err)
		}
		l.release(s)
		teach(t, l, request{}, 20, time.Second)
		s, err := l.acquire(within(t, time.Millisecond), request{})
		if err != nil {
			t.Fatalf("a free slot was refused: %v", err)
		}
		refusal(t, ask(within(t, time.Millisecond), l, request{}).err, ReasonDeadline)
		pass(10 * time.Second) // no news for long: what was learned may be wrong
		if w := ask(within(t, time.Millisecond), l, request{}); w.done {
			t.Errorf("refused because of what was true long ago: %v", w.err)
		}
		pass(time.Second)
		l.release(s)
	})
}

// A short statement is not refused, or given up, because transactions are long.
func TestItsOwnKindCountsForACallersOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 10})
		tx := request{tx: true}
		teach(t, l, request{}, 20, time.Millisecond)
		for range 3 {
			teach(t, l, tx, 10, 500*time.Millisecond)
			teach(t, l, request{}, 10, time.Millisecond)
		}
		held := make([]*slot, 10)
		for i := range held {
			held[i] = take(t, l, tx)
		}
		w := ask(within(t, 100*time.Millisecond), l, request{})
		if w.done {
			t.Fatalf("a statement of 1 ms with 100 ms left: %v", w.err)
		}
		refusal(t, ask(within(t, 100*time.Millisecond), l, tx).err, ReasonDeadline)
		pass(90 * time.Millisecond)
		l.release(held[0])
		synctest.Wait()
		if w.s == nil {
			t.Fatalf("given up: %v", w.err)
		}
		l.release(w.s)
		for _, s := range held[1:] {
			l.release(s)
		}
	})
}

func TestASlowPastIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		teach(t, l, request{}, 40, 10*time.Second)
		fast := func() time.Duration { return 2 * time.Millisecond }
		first := offer(t, l, Normal, 2*2000, time.Second, 250*time.Millisecond, fast)
		then := offer(t, l, Normal, 2*2000, time.Second, 250*time.Millisecond, fast)
		t.Logf("first second %+v, second %+v", *first, *then)
		if first.inTime < 1500 || then.inTime < 1900 {
			t.Errorf("of 2000 that could be served: first second %+v, second %+v", *first, *then)
		}
	})
}

func TestOneForgottenTransactionIsNotTypical(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		teach(t, l, request{}, 40, 2*time.Millisecond)
		teach(t, l, request{}, 1, time.Hour)
		teach(t, l, request{}, 40, 2*time.Millisecond)
		if mean := l.stats().HoldMean; mean > 4*time.Millisecond {
			t.Errorf("mean hold %v", mean)
		}
	})
	// The same in the middle of traffic, so that the hour is no gap.
	var a average
	now := time.Duration(0)
	add := func(n int, d time.Duration) {
		for range n {
			now += time.Millisecond
			a.add(d, now)
		}
	}
	add(100, 2*time.Millisecond)
	add(1, time.Hour)
	if a.mean > 4*time.Millisecond {
		t.Errorf("one sample made the mean %v", a.mean)
	}
	add(300, 2*time.Millisecond)
	add(128, 200*time.Millisecond) // a server that has really become slow
	if a.mean < 100*time.Millisecond {
		t.Errorf("after 128 samples of 200ms the mean is %v", a.mean)
	}
}

func TestASlotThatWasNotUsedTeachesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		teach(t, l, request{}, 20, 50*time.Millisecond)
		for range 50 {
			s := take(t, l, request{})
			ctx, cancel := context.WithCancel(t.Context())
			ask(ctx, l, request{})
			l.mu.Lock()
			cancel()
			l.giveBackLocked(s, l.now())
			l.mu.Unlock()
			synctest.Wait()
		}
		if mean := l.stats().HoldMean; mean != 50*time.Millisecond {
			t.Errorf("mean hold %v", mean)
		}
	})
}

func TestADoomedWaiterIsSkippedOnGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		teach(t, l, request{}, 20, 50*time.Millisecond)
		s := take(t, l, request{})
		doomed := ask(within(t, 100*time.Millisecond), l, request{})
		next := ask(t.Context(), l, request{})
		pass(60 * time.Millisecond) // 40 ms left, and 50 ms are typical
		l.release(s)
		synctest.Wait()
		o := refusal(t, doomed.err, ReasonDeadline)
		if o.Waited != 60*time.Millisecond || o.Queued != 1 {
			t.Errorf("refused with %+v", o)
		}
		if next.s == nil {
			t.Fatal("the slot did not go to the next")
		}
		l.release(next.s)
	})
}

func TestWaitersTimeOutExactlyAndTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queueTimeout: 30 * time.Second, queue: 2000})
		s := take(t, l, request{})
		var wg sync.WaitGroup
		for i := range 1000 {
			sleep(37 * time.Millisecond)
			wg.Go(func() {
				began := time.Now()
				_, err := l.acquire(t.Context(), request{class: Priority(i%5 - 2)})
				o := refusal(t, err, ReasonTimeout)
				if d := time.Since(began); d != 30*time.Second || o.Waited != d {
					t.Errorf("waited %v, says %v", d, o.Waited)
				}
			})
		}
		wg.Wait()
		if st := l.stats(); st.Refusals[2].Count != 1000 {
			t.Errorf("counted %+v", st.Refusals)
		}
		l.release(s)
	})
}

func TestAnIdleLimiterRunsNoTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queueTimeout: time.Second})
		s := take(t, l, request{})
		w := ask(t.Context(), l, request{})
		l.release(s)
		synctest.Wait()
		l.release(w.s)
		pass(tickPeriod)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.armed {
			t.Error("nobody waits and the timer is armed")
		}
	})
}

// serve keeps a slot busy with holds of d until nobody waits.
func serve(l *limiter, s *slot, d time.Duration) {
	for l.stats().InFlight > 0 {
		pass(d)
		l.release(s)
	}
	synctest.Wait()
}

func TestAStandingQueueIsShedNewestFirstUntilItIsEmpty(t *testing.T) {
	t.Parallel()
	const target = 20 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queueTarget: target, queueTimeout: 30 * time.Second})
		normal := &l.classes[Normal.index()+1]
		s := take(t, l, request{})

		// A burst that is gone within the interval is none of its business.
		burst := make([]*outcome, 30)
		for i := range burst {
			burst[i] = ask(t.Context(), l, request{})
		}
		serve(l, s, 3*time.Millisecond)
		for i, o := range burst {
			if o.err != nil || i > 0 && !burst[i-1].at.Before(o.at) {
				t.Fatalf("waiter %d of the burst: %v, at %v", i, o.err, o.at)
			}
		}

		// Twice the capacity for a while.
		s = take(t, l, request{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		var served, refused int
		var longest time.Duration
		for i := range 400 {
			sleep(time.Millisecond)
			wg.Go(func() {
				began := time.Now()
				s, err := l.acquire(t.Context(), request{})
				if err != nil {
					o := refusal(t, err, ReasonCoDel)
					mu.Lock()
					defer mu.Unlock()
					refused++
					if i > 200 {
						longest = max(longest, o.Waited)
					}

					return
				}
				mu.Lock()
				served++
				mu.Unlock()
				if d := time.Since(began); i > 200 && d > target {
					t.Errorf("served after %v, though newest first", d)
				}
				sleep(2 * time.Millisecond)
				l.release(s)
			})
			if i == 0 {
				l.release(s)
			}
			if i == 250 && !normal.shedding {
				t.Error("the queue stands and is not shed")
			}
		}
		wg.Wait()
		if served < 195 || refused < 150 {
			t.Errorf("served %d, refused %d of 400", served, refused)
		}
		if longest < target || longest > 2*target {
			t.Errorf("refused after %v, expected about %v", longest, target)
		}
		if normal.shedding {
			t.Error("still shedding with an empty queue")
		}

		// And in order again.
		if got := order(t, l, take(t, l, request{}), make([]request, 5)...); got[0] != 0 || got[4] != 4 {
			t.Errorf("served %v", got)
		}
	})
}

func TestNewestFirstServesTheNewest(t *testing.T) {
	t.Parallel()
	mixed := make([]request, 5) // statements and transactions wait in two lines
	mixed[1].tx, mixed[2].tx = true, true
	for name, rs := range map[string][]request{"statements": make([]request, 5), "and transactions": mixed} {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 1, queueTarget: time.Hour, txShare: 1})
			s := take(t, l, request{})
			w := ask(t.Context(), l, request{}) // keeps the class from being empty
			l.classes[Normal.index()+1].shedding = true
			if got := order(t, l, s, rs...); fmt.Sprint(got) != "[4 3 2 1 0]" {
				t.Errorf("%s: served %v", name, got)
			}
			l.release(w.s)
		})
	}
}

func TestAQueueThatNobodyServesIsShedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queueTarget: 20 * time.Millisecond, queueTimeout: time.Minute})
		s := take(t, l, request{})
		began := time.Now()
		w := ask(t.Context(), l, request{})
		pass(time.Second)
		refusal(t, w.err, ReasonCoDel)
		if d := w.at.Sub(began); d < 100*time.Millisecond || d > 160*time.Millisecond {
			t.Errorf("after %v", d)
		}
		l.release(s)
	})
}

func TestAStallIsReportedOncePerEpisode(t *testing.T) {
	t.Parallel()
	var stalls []stall
	cfg := limiterConfig{limit: 2, queueTimeout: time.Minute, onStall: func(s stall) {
		seen.Add(1)
		stalls = append(stalls, s)
	}}
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, cfg)
		a := take(t, l, request{tx: true})
		a.begin(SlotExecuting, "BEGIN", 0)
		a.setState(SlotIdleInTx)
		b := take(t, l, request{})
		b.begin(SlotExecuting, "SELECT * FROM big", 0xb)
		pass(time.Second) // nobody waits
		w := ask(t.Context(), l, request{})
		pass(time.Second) // b executes
		if len(stalls) != 0 {
			t.Fatalf("reported %v", stalls)
		}
		b.setState(SlotRowsOpen)
		pass(150 * time.Millisecond)
		if len(stalls) != 0 {
			t.Fatal("reported too early")
		}
		pass(5 * time.Second)
		if len(stalls) != 1 {
			t.Fatalf("reported %d times", len(stalls))
		}
		text := stalls[0].String()
		for _, part := range []string{"1 rows_open, 1 idle_in_tx", "1 statements wait", `"BEGIN"`, "idle_in_tx for 2."} {
			if !strings.Contains(text, part) {
				t.Errorf("%q lacks %q", text, part)
			}
		}
		t.Log(text)
		for range 4 { // one episode after the other
			b.setState(SlotExecuting)
			pass(200 * time.Millisecond)
			b.setState(SlotRowsOpen)
			pass(time.Second)
		}
		if len(stalls) != 1 {
			t.Fatalf("%d lines in 10 s", len(stalls))
		}
		pass(time.Second) // the last of them lasts until it may be reported
		if len(stalls) != 2 {
			t.Fatalf("the episode that lasts was not reported: %d", len(stalls))
		}
		pass(20 * time.Second)
		if len(stalls) != 2 {
			t.Fatalf("reported %d times", len(stalls))
		}
		l.release(a)
		synctest.Wait()
		l.release(w.s)
		l.release(b)
	})
}
