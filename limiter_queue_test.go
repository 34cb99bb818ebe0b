package lifeguard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAHigherClassGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		got := order(t, l, take(t, l, request{}),
			request{class: Bulk}, request{class: Low}, request{}, request{class: High}, request{class: Critical})
		if want := []int{4, 3, 2, 1, 0}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
	})
}

// saturate keeps every class in classes waiting for d, and returns the time
// that each held slots.
func saturate(t *testing.T, l *limiter, d time.Duration, hold map[Priority]time.Duration) map[Priority]time.Duration {
	t.Helper()
	var mu sync.Mutex
	got := make(map[Priority]time.Duration)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for p, h := range hold {
		for range 4 * l.limit() {
			wg.Go(func() {
				for {
					// Without a deadline of its own: this is about shares.
					s, err := l.acquire(context.WithoutCancel(ctx), request{class: p})
					if err != nil {
						t.Error(err)

						return
					}
					over := ctx.Err() != nil
					if !over {
						s.begin(SlotExecuting, "", 0)
						sleep(h)
						mu.Lock()
						got[p] += h
						mu.Unlock()
					}
					l.release(s)
					if over {
						return
					}
				}
			})
		}
	}
	wg.Wait()

	return got
}

func TestNoClassStarvesAndSharesAreOfTime(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	cases := []map[Priority]time.Duration{
		{Critical: 4 * ms, High: 4 * ms, Normal: 4 * ms, Low: 4 * ms, Bulk: 4 * ms},
		{Normal: 2 * ms, Bulk: 50 * ms}, // a load must not take 25 times its share
		{Critical: 3 * ms, Normal: 40 * ms},
		{High: 20 * ms, Normal: ms},
	}
	for i, hold := range cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(t, limiterConfig{limit: 4})
				const d = 2 * time.Minute
				got := saturate(t, l, d, hold)
				var weights uint64
				for p := range hold {
					weights += classWeights[p.index()+1]
				}
				for p := range hold {
					share := float64(got[p]) / float64(4*d)
					want := float64(classWeights[p.index()+1]) / float64(weights)
					if share < want*0.85 || share > want*1.15 {
						t.Errorf("%s: %.3f %% of the time, guaranteed %.3f %%", p, 100*share, 100*want)
					}
				}
			})
		})
	}
}

// Who was away has saved nothing up: when it comes back it gets its share, and not
// what it did not ask for in between.
func TestAClassThatComesBackHasNoCredit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queue: 1000})
		s := take(t, l, request{})
		var mu sync.Mutex
		var served []Priority
		join := func(p Priority, n int) {
			for range n {
				go func() {
					s, err := l.acquire(t.Context(), request{class: p})
					if err != nil {
						t.Error(err)

						return
					}
					mu.Lock()
					served = append(served, p)
					mu.Unlock()
					sleep(time.Millisecond)
					l.release(s)
				}()
				synctest.Wait()
			}
		}
		join(Low, 1)
		join(Normal, 200)
		l.release(s)
		pass(150 * time.Millisecond) // Low had its turn early, then Normal alone
		mu.Lock()
		served = served[:0]
		mu.Unlock()
		join(Low, 40)
		pass(20 * time.Millisecond)
		mu.Lock()
		low := 0
		for _, p := range served[:20] {
			if p == Low {
				low++
			}
		}
		mu.Unlock()
		if low < 3 || low > 5 {
			t.Errorf("Low had %d of 20 grants, and a fifth is its share", low)
		}
		pass(time.Second)
	})
}

func TestAClassAloneUsesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		got := saturate(t, l, time.Second, map[Priority]time.Duration{Bulk: 5 * time.Millisecond})
		if got[Bulk] < 4*time.Second*99/100 {
			t.Errorf("held %v of 4s", got[Bulk])
		}
	})
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		rs := make([]request, 0, 10)
		for range 6 {
			rs = append(rs, request{tenant: "flood"})
		}
		rs = append(rs, request{tenant: "a"}, request{}, request{tenant: "a"}, request{tenant: "b"})
		got := order(t, l, take(t, l, request{}), rs...)
		if want := []int{0, 6, 7, 9, 1, 8, 2, 3, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
		if n := len(l.classes[3].lines[0].byTenant); n != 0 {
			t.Errorf("%d tenants remembered for ever", n)
		}
	})
}

func TestAFullQueueIsNotClosedToOthers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		flood, other, same request
	}{
		"higher class": {request{class: Low}, request{class: Normal}, request{class: Low}},
		"tenant":       {request{tenant: "flood"}, request{tenant: "light"}, request{tenant: "flood"}},
		"no tenant":    {request{tenant: "flood"}, request{}, request{tenant: "flood"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(t, limiterConfig{limit: 1, queue: 4})
				take(t, l, c.flood)
				var flood []*outcome
				for range 4 {
					flood = append(flood, ask(t.Context(), l, c.flood))
				}
				refusal(t, ask(t.Context(), l, c.same).err, ReasonQueueFull)
				other := ask(t.Context(), l, c.other)
				if other.done {
					t.Fatalf("refused: %v", other.err)
				}
				refusal(t, flood[3].err, ReasonQueueFull) // the newest makes room
				l.check(t)
				drain(l)
				for _, o := range append(flood[:3:3], other) {
					if o.s == nil {
						t.Errorf("a waiter that may stay got %v", o.err)
					}
				}
			})
		})
	}
}

func TestOneFingerprintHoldsHalfOfTheSlotsWhileOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		heavy, light := request{fingerprint: 1}, request{fingerprint: 2}
		held := make([]*slot, 0, 4)
		for range 4 {
			held = append(held, take(t, l, heavy)) // nobody waits: it may have all
		}
		h1, h2 := ask(t.Context(), l, heavy), ask(t.Context(), l, heavy)
		l1, l2, l3 := ask(t.Context(), l, light), ask(t.Context(), l, light), ask(t.Context(), l, light)
		step := func(s *slot, want *outcome, what string) {
			t.Helper()
			l.release(s)
			synctest.Wait()
			l.check(t)
			if !want.done {
				t.Fatal(what)
			}
		}
		step(held[0], l1, "heavy holds 3: a light one passes")
		step(held[1], l2, "heavy holds 2, still its half: a light one passes")
		step(held[2], h1, "heavy holds 1: its oldest is before the light one")
		step(l1.s, l3, "heavy holds 2, light 1")
		step(l2.s, h2, "only heavy waits: the cap is void")
		for _, s := range []*slot{held[3], h1.s, h2.s, l3.s} {
			l.release(s)
		}
	})
}

func TestACapNeverIdlesASlot(t *testing.T) {
	t.Parallel()
	for _, rs := range [][]request{
		{{fingerprint: 1}},
		{{fingerprint: 1}, {fingerprint: 2}, {fingerprint: 3}},
		{{fingerprint: 1, tenant: "a"}, {fingerprint: 1, tenant: "b"}, {fingerprint: 1}},
		{{fingerprint: 1, class: High}, {fingerprint: 1, class: Bulk}},
	} {
		for limit := 1; limit < 6; limit++ {
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(t, limiterConfig{limit: limit})
				var wg sync.WaitGroup
				for i := range 60 {
					wg.Go(func() {
						s := take(t, l, rs[i%len(rs)])
						sleep(time.Millisecond)
						l.check(t)
						l.release(s)
					})
				}
				began := time.Now()
				wg.Wait()
				if d := time.Since(began); d != time.Duration(60/limit)*time.Millisecond {
					t.Errorf("limit %d, %v: took %v", limit, rs, d)
				}
			})
		}
	}
}

func TestALightStatementIsFoundBehindTenThousandHeavyOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2, queue: 20_000})
		ctx, cancel := context.WithCancel(t.Context())
		heavy := request{fingerprint: 1}
		a := take(t, l, heavy)
		take(t, l, heavy)
		for range 10_000 {
			go func() { _, _ = l.acquire(ctx, heavy) }()
		}
		synctest.Wait()
		light := ask(t.Context(), l, request{fingerprint: 2})
		l.release(a)
		synctest.Wait()
		l.check(t)
		if light.s == nil {
			t.Fatal("the light one waits")
		}
		cancel()
		synctest.Wait()
		l.check(t)
		drain(l)
	})
}

func TestTransactionsLeaveSlotsForStatements(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 5, txShare: 0.8})
		tx := request{tx: true}
		var held []*slot
		for range 4 {
			held = append(held, take(t, l, tx))
		}
		t1, t2 := ask(t.Context(), l, tx), ask(t.Context(), l, tx)
		if t1.done {
			t.Fatal("a transaction took the last slot")
		}
		l.check(t)
		s := take(t, l, request{}) // past the waiting transactions, at once
		s1 := ask(t.Context(), l, request{})
		l.release(held[0])
		synctest.Wait()
		if !t1.done || s1.done {
			t.Fatal("within the share, age decides")
		}
		l.release(s)
		synctest.Wait()
		l.check(t)
		if !s1.done || t2.done {
			t.Fatal("the statement's slot goes to the statement")
		}
		l.setLimit(10) // the share is 8 now
		synctest.Wait()
		if !t2.done {
			t.Fatal("a larger share was not used")
		}
		for _, s := range append(held[1:], t1.s, t2.s, s1.s) {
			l.release(s)
		}
	})
}
