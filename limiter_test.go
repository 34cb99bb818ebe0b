package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitersAreServedInOrderOfArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		got := order(t, l, take(t, l, request{}), make([]request, 50)...)
		if !slices.IsSorted(got) || len(got) != 50 {
			t.Errorf("served %v", got)
		}
	})
}

func TestAReleasedSlotIsHandedToAWaiterAndNotToANewcomer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		first := take(t, l, request{})
		waiter := ask(t.Context(), l, request{})
		l.release(first) // the waiter has not run yet, but owns it
		ctx, cancel := context.WithCancel(t.Context())
		newcomer := ask(ctx, l, request{})
		if !waiter.done || waiter.err != nil || newcomer.done {
			t.Fatalf("waiter %+v, newcomer %+v", waiter, newcomer)
		}
		cancel()
		synctest.Wait()
		if !errors.Is(newcomer.err, context.Canceled) {
			t.Errorf("newcomer: %v", newcomer.err)
		}
		l.release(waiter.s)
	})
}

func TestAnEndedContextIsNeverAdmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := l.acquire(ctx, request{}); s != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", s, err)
		}
	})
}

func TestACancelledWaiterLeavesTheOthersInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		holder := take(t, l, request{})
		ctx, cancel := context.WithCancel(t.Context())
		a := ask(t.Context(), l, request{})
		b := ask(ctx, l, request{})
		c := ask(t.Context(), l, request{})
		cancel()
		synctest.Wait()
		if !errors.Is(b.err, context.Canceled) || a.done || c.done {
			t.Fatalf("after the cancellation: %+v %+v %+v", a, b, c)
		}
		l.release(holder)
		synctest.Wait()
		if !a.done || c.done {
			t.Fatal("a is next")
		}
		l.release(a.s)
		synctest.Wait()
		l.release(c.s)
		if st := l.stats(); st.Canceled != 1 {
			t.Errorf("counted %d cancellations", st.Canceled)
		}
	})
}

// The waiter sees both its slot and its end; whichever it reacts to, the slot goes
// to the next, and the caller gets its own error.
func TestAGrantThatMeetsACancellationIsPassedOn(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 1})
			holder := take(t, l, request{})
			ctx, cancel := context.WithCancel(t.Context())
			a := ask(ctx, l, request{})
			b := ask(t.Context(), l, request{})
			l.mu.Lock()
			cancel()
			l.giveBackLocked(holder, l.now())
			l.mu.Unlock()
			synctest.Wait()
			if a.s != nil || !errors.Is(a.err, context.Canceled) {
				t.Fatalf("the cancelled one got %v, %v", a.s, a.err)
			}
			if b.s == nil {
				t.Fatal("the slot was lost")
			}
			l.release(b.s)
		})
	}
}

func TestGrowingAdmitsWaitersAndShrinkingLetsHoldersFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2, maxLimit: 4})
		held := []*slot{take(t, l, request{}), take(t, l, request{})}
		var waiting []*outcome
		for range 6 {
			waiting = append(waiting, ask(t.Context(), l, request{}))
		}
		l.setLimit(100)
		synctest.Wait()
		l.check(t)
		if l.limit() != 4 || !waiting[0].done || !waiting[1].done || waiting[2].done {
			t.Fatalf("limit %d: two more should be in", l.limit())
		}
		held = append(held, waiting[0].s, waiting[1].s)
		l.setLimit(0)
		synctest.Wait()
		l.check(t)
		if st := l.stats(); st.Limit != 1 || st.InFlight != 4 || st.Queued != 4 {
			t.Fatalf("after shrinking: %+v", st)
		}
		for i, s := range held {
			if waiting[2].done {
				t.Fatalf("admitted with %d others in flight", len(held)-i)
			}
			l.release(s)
			synctest.Wait()
			l.check(t)
		}
		for _, w := range waiting[2:] {
			if !w.done {
				t.Fatal("a waiter was lost")
			}
			l.release(w.s)
			synctest.Wait()
		}
	})
}

func TestCloseWakesEverybodyAndSlotsStayValid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queueTimeout: time.Second})
		holder := take(t, l, request{})
		var waiting []*outcome
		for i := range 10 {
			waiting = append(waiting, ask(t.Context(), l, request{class: Priority(i%5 - 2), tenant: "t", tx: i%2 == 0}))
		}
		l.close()
		synctest.Wait()
		for _, w := range waiting {
			if !w.done || !errors.Is(w.err, ErrClosed) || errors.Is(w.err, ErrOverloaded) {
				t.Fatalf("waiter: %+v", w)
			}
		}
		l.release(holder)
		l.setLimit(5)
		l.close()
		if _, err := l.acquire(t.Context(), request{}); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestASecondReleasePanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		s := take(t, l, request{})
		l.release(s)
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		l.release(s)
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		queue    int
		at2, at3 int // waiters at limit 2 and 3
	}{
		{"following the limit", 0, 200, 300},
		{"set", 5, 5, 5},
		{"none", -1, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(t, limiterConfig{limit: 2, queue: c.queue})
				ctx, cancel := context.WithCancel(t.Context())
				fill := func(want int) {
					for st := l.stats(); st.InFlight < st.Limit; st = l.stats() {
						take(t, l, request{})
					}
					for l.stats().Queued < want {
						ask(ctx, l, request{})
					}
					o := refusal(t, ask(ctx, l, request{}).err, ReasonQueueFull)
					if o.Queued != want || o.Limit != l.limit() || o.Waited != 0 || o.RetryAfter <= 0 {
						t.Errorf("refused with %+v", o)
					}
				}
				fill(c.at2)
				l.setLimit(3)
				synctest.Wait()
				fill(c.at3)
				cancel()
				drain(l)
			})
		})
	}
}

// With default settings and without deadlines, nothing is refused that
// database/sql would have served within 30 s, whatever was learned before.
func TestNothingIsRefusedWithoutConsent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 10, queueTimeout: 30 * time.Second})
		var slow sync.WaitGroup
		for range 100 { // a slow past
			slow.Go(func() {
				s := take(t, l, request{})
				sleep(time.Second)
				l.release(s)
			})
		}
		slow.Wait()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				s, err := l.acquire(t.Context(), request{
					class:       Priority(i%5 - 2),
					tx:          i%3 == 0,
					fingerprint: uint64(i % 4),
				})
				if err != nil {
					t.Errorf("caller %d: %v", i, err)

					return
				}
				sleep(290 * time.Millisecond) // the last is served after 29 s
				l.release(s)
			})
		}
		wg.Wait()
	})
}

func TestRefusalsAnswerTheQuestionsAskedOfThem(t *testing.T) {
	t.Parallel()
	var err error = &OverloadError{Reason: ReasonTimeout, Limit: 8, Queued: 31, Waited: 1200 * time.Millisecond, RetryAfter: time.Second}
	const text = "lifeguard: overloaded: limit 8, 31 queued, waited 1.2s, reason timeout, retry after 1s"
	if err.Error() != text {
		t.Errorf("got  %s\nwant %s", err, text)
	}
	if !errors.Is(err, ErrOverloaded) {
		t.Error("is not ErrOverloaded")
	}
	for _, e := range []error{err, ErrClosed, ErrNestedAcquire} {
		for _, never := range []error{driver.ErrBadConn, driver.ErrSkip, context.DeadlineExceeded, context.Canceled} {
			if errors.Is(e, never) {
				t.Errorf("%v is %v", e, never)
			}
		}
	}
	if _, ok := err.(interface{ Timeout() bool }); ok {
		t.Error("looks like a net.Error: generic code would retry it at once")
	}
}

func TestSlotsSayWhatTheirHoldersDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 3})
		a := take(t, l, request{class: High, tenant: "acme", fingerprint: 7})
		b := take(t, l, request{tx: true})
		sleep(time.Second)
		a.begin(SlotExecuting, "SELECT 1", 7)
		b.begin(SlotExecuting, "BEGIN", 0)
		sleep(time.Second)
		b.setState(SlotIdleInTx)
		sleep(time.Second)

		infos := l.slots()
		slices.SortFunc(infos, func(x, y SlotInfo) int { return int(x.State) - int(y.State) })
		want := []SlotInfo{
			{State: SlotExecuting, Held: 3 * time.Second, InState: 2 * time.Second, Fingerprint: 7, SQL: "SELECT 1", Priority: High, Tenant: "acme"},
			{State: SlotIdleInTx, Held: 3 * time.Second, InState: time.Second, SQL: "BEGIN", Tx: true},
		}
		if !slices.Equal(infos, want) {
			t.Errorf("got  %+v\nwant %+v", infos, want)
		}
		st := l.stats()
		if st.States[SlotExecuting].Slots != 1 || st.States[SlotIdleInTx].Slots != 1 || st.States[SlotExecuting].Time != time.Second {
			t.Errorf("states %+v", st.States)
		}

		l.release(a)
		l.release(b)
		st = l.stats()
		for state, want := range map[SlotState]time.Duration{
			SlotConnecting: 2 * time.Second, SlotExecuting: 3 * time.Second, SlotIdleInTx: time.Second,
		} {
			if got := st.States[state]; got.Time != want || got.Slots != 0 {
				t.Errorf("%s: %+v, want %v", state, got, want)
			}
		}
		if c := take(t, l, request{}); c.sql != "" || c.state != SlotConnecting || c.fingerprint != 0 {
			t.Errorf("a reused slot remembers %+v", c.info(l.now()))
		} else {
			c.begin(SlotExecuting, "SELECT 2", 0)
			l.release(c)
		}
		if again := l.stats().States[SlotExecuting].Time; again != 3*time.Second {
			t.Errorf("the time of a former hold was counted again: %v", again)
		}
	})
}

func TestWaitsAndSamplesAreReported(t *testing.T) {
	t.Parallel()
	type wait struct {
		p      Priority
		waited time.Duration
		result waitResult
	}
	var mu sync.Mutex
	var waits []wait
	var samples []sample
	cfg := limiterConfig{limit: 1, queueTimeout: time.Second, nestedStrict: true}
	cfg.onWait = func(p Priority, d time.Duration, r waitResult) {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, wait{p, d, r})
	}
	cfg.onSample = func(s sample) { samples = append(samples, s) }
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, cfg)
		scoped := requestFrom(Scope(t.Context()))
		s := take(t, l, scoped) // admitted
		_, _ = l.acquire(t.Context(), scoped)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		ask(ctx, l, request{class: Low})
		ask(t.Context(), l, request{class: High})
		pass(time.Second)
		ask(t.Context(), l, request{class: Critical})
		s.observe(5*time.Millisecond, 9, true, true)
		l.close()
		synctest.Wait()
		l.release(s)
	})
	want := []wait{
		{Normal, 0, waitAdmitted},
		{Normal, 0, waitRefused},
		{Low, 300 * time.Millisecond, waitCanceled},
		{High, time.Second, waitRefused},
		{Critical, 0, waitClosed},
	}
	if !slices.Equal(waits, want) {
		t.Errorf("got  %v\nwant %v", waits, want)
	}
	if len(samples) != 1 || samples[0] != (sample{5 * time.Millisecond, 9, true, true, 1, 1, 1}) {
		t.Errorf("samples %+v", samples)
	}
}

func TestTheContextCarriesOneValue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	if r := requestFrom(ctx); r != (request{}) || r.class != Normal {
		t.Errorf("unmarked: %+v", r)
	}
	ctx = Scope(WithTenant(WithPriority(ctx, High), "acme"))
	r := requestFrom(ctx)
	if r.class != High || r.tenant != "acme" || r.scope == nil {
		t.Errorf("marked: %+v", r)
	}
	if inner := requestFrom(Scope(WithPriority(ctx, 99))); inner.class != Critical || inner.scope != r.scope {
		t.Errorf("marked again: %+v", inner)
	}
	if low := requestFrom(WithPriority(ctx, -99)); low.class != Bulk {
		t.Errorf("out of range: %+v", low)
	}
}

func TestTheUncontendedPathAllocatesNothing(t *testing.T) {
	l := newLimiter(limiterConfig{limit: 2, queueTimeout: time.Second})
	defer l.close()
	ctx := WithTenant(t.Context(), "acme")
	if n := testing.AllocsPerRun(1000, func() {
		s, err := l.acquire(ctx, requestFrom(ctx))
		if err != nil {
			t.Fatal(err)
		}
		s.begin(SlotExecuting, "SELECT 1", 1)
		l.release(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
