package lifeguard

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// kind of statement of a mixed load, and what became of it.
type mixPart struct {
	request request
	rate    float64 // per second
	hold    func() time.Duration
	tally
}

// offerMix sends Poisson arrivals of all parts to one limiter for d.
func offerMix(t *testing.T, l *limiter, d, deadline time.Duration, parts ...*mixPart) {
	t.Helper()
	var (
		mu  sync.Mutex // guards the tallies, and each hold
		wg  sync.WaitGroup
		end = time.Now().Add(d)
	)
	one := func(p *mixPart) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		s, err := l.acquire(ctx, p.request)
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(err, ErrOverloaded) {
			p.refused++
		} else if err != nil {
			p.expired++
		}
		if err != nil {
			return
		}
		s.begin(SlotExecuting, "", p.request.fingerprint)
		hold := p.hold()
		mu.Unlock()
		select {
		case <-time.After(hold):
		case <-ctx.Done():
		}
		mu.Lock()
		if s.expired = ctx.Err() != nil; s.expired {
			p.killed++
		} else {
			p.inTime++
		}
		l.release(s)
	}
	for i, p := range parts {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for time.Now().Before(end) {
				sleep(time.Duration(rng.ExpFloat64() / p.rate * float64(time.Second)))
				p.offered++
				wg.Go(func() { one(p) })
			}
		})
	}
	wg.Wait()
}

// fixed and about make holds of one length, and of half to one and a half times it.
func fixed(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func about(d time.Duration) func() time.Duration {
	rng := rand.New(rand.NewPCG(9, 9))

	return func() time.Duration { return d/2 + time.Duration(rng.Int64N(int64(d))) }
}

// Ten times the capacity of short statements and long ones; the short are known, the
// long come with the overload. None may be let in so late that its deadline passes on
// the server, and some get through all the same.
// mixFor is how long a load is offered; ten seconds of it take a minute of a processor with
// the race detector. LIFEGUARD_LONG has them: make test-limiter.
func mixFor() time.Duration {
	if os.Getenv("LIFEGUARD_LONG") != "" {
		return 10 * time.Second
	}
	return 5 * time.Second
}

func TestAMixKillsNobodyUnderOverload(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, hold := range map[string]func() time.Duration{"always 120 ms": fixed(120 * ms), "60 to 180 ms": about(120 * ms)} {
		for _, cfg := range []limiterConfig{{limit: 4}, {limit: 4, queue: 16}, {limit: 4, queueTarget: 20 * ms}} {
			for _, load := range []float64{5, 10} {
				synctest.Test(t, func(t *testing.T) {
					l := testLimiter(t, cfg)
					light := &mixPart{request: request{fingerprint: 1}, hold: fixed(2 * ms)}
					heavy := &mixPart{request: request{fingerprint: 2}, hold: hold}
					teach(t, l, light.request, 40, 2*ms)
					capacity := 4 / (0.9*0.002 + 0.1*0.120)
					light.rate, heavy.rate = 0.9*load*capacity, 0.1*load*capacity
					offerMix(t, l, mixFor(), 250*ms, light, heavy)
					t.Logf("%s, %.0f ×, %+v: light %+v, heavy %+v", name, load, cfg, light.tally, heavy.tally)
					if heavy.killed+light.killed > 1 || heavy.killed > 0 && name == "always 120 ms" {
						t.Errorf("%s, %.0f ×, queue %d: killed %d long, %d short of %d", name, load, cfg.queue, heavy.killed, light.killed, heavy.inTime+light.inTime)
					}
					if heavy.inTime < 3 {
						t.Errorf("%s, %.0f ×: %d long ones in time: starved", name, load, heavy.inTime)
					}
				})
			}
		}
	}
}

// One that takes longer than its callers ever wait costs few connections; when it is
// fast again, it is served again.
func TestAShapeThatWasTooLongIsTriedAgain(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		slow := 300 * ms
		light := &mixPart{request: request{fingerprint: 1}, hold: fixed(2 * ms), rate: 4000}
		heavy := &mixPart{request: request{fingerprint: 2}, rate: 100}
		heavy.hold = func() time.Duration { return slow }
		teach(t, l, light.request, 40, 2*ms)
		offerMix(t, l, 2*mixFor(), 250*ms, light, heavy)
		t.Logf("too long: light %+v, heavy %+v", light.tally, heavy.tally)
		if heavy.killed > 5 {
			t.Errorf("%d deadlines passed on the server", heavy.killed)
		}
		before := heavy.inTime
		slow = 5 * ms
		for range 60 { // until it has been seen
			if heavy.inTime > before {
				break
			}
			offerMix(t, l, time.Second, 250*ms, light, heavy)
		}
		if heavy.inTime == before {
			t.Fatal("never tried again")
		}
		before, heavy.offered = heavy.inTime, 0
		offerMix(t, l, mixFor(), 250*ms, light, heavy)
		t.Logf("short again: light %+v, heavy %+v", light.tally, heavy.tally)
		if heavy.inTime-before < heavy.offered/3 {
			t.Errorf("%d of %d in time once it is short again", heavy.inTime-before, heavy.offered)
		}
	})
}

// One deadline that passed on the server says at once that so much time is too little.
func TestOneExpiryTeaches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		short, long := request{fingerprint: 1}, request{fingerprint: 2}
		teach(t, l, short, 40, time.Millisecond)
		a, b := take(t, l, long), take(t, l, short)
		pass(100 * time.Millisecond)
		a.expired = true
		l.release(a)
		if s := l.shapes.find(2); s == nil || s.n != 1 || s.mean != 200*time.Millisecond || s.failures != 1 {
			t.Fatalf("learned %+v", s)
		}
		a = take(t, l, short)
		ask(t.Context(), l, short)
		refusal(t, ask(within(t, 250*time.Millisecond), l, long).err, ReasonDeadline)
		l.release(b)
		l.release(a)
		drain(l)
	})
}

// While one of a new shape is tried, no second one of it gets a slot that somebody else
// can use, even if those hold more than their half.
func TestOneOfANewShapeAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 4})
		known, fresh := request{fingerprint: 1}, request{fingerprint: 2}
		teach(t, l, known, 40, time.Millisecond)
		held := make([]*slot, 4)
		for i := range held {
			held[i] = take(t, l, known)
		}
		k := []*outcome{ask(t.Context(), l, known)}
		f := []*outcome{ask(within(t, time.Second), l, fresh), ask(within(t, time.Second), l, fresh)}
		for range 3 {
			k = append(k, ask(t.Context(), l, known))
		}
		l.release(held[0])
		synctest.Wait()
		if f[0].s == nil || k[0].s != nil {
			t.Fatal("the one that is tried goes first")
		}
		l.check(t)
		for i := range 3 {
			l.release(held[i+1])
			synctest.Wait()
			if f[1].s != nil || k[i].s == nil {
				t.Fatalf("release %d: a second one is tried while others wait", i)
			}
		}
		l.release(f[0].s) // now it is known
		synctest.Wait()
		if f[1].s == nil {
			t.Error("known, and passed over")
		}
		l.check(t)
		drain(l)
	})
}

// What one of a new shape has already taken, the next of it will take, too: who has less
// left is refused on arrival, while it waits, and when its turn comes.
func TestATrialThatGoesOnTeaches(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	fresh := request{fingerprint: 2}
	for name, ends := range map[string]func(t *testing.T, l *limiter, other *slot){
		"on arrival": func(t *testing.T, l *limiter, _ *slot) {
			t.Helper()
			pass(80 * ms)
			refusal(t, ask(within(t, 159*ms), l, fresh).err, ReasonDeadline)
			if w := ask(within(t, 161*ms), l, fresh); w.done {
				t.Errorf("161 ms are more than twice 80: %v", w.err)
			}
		},
		"while it waits": func(t *testing.T, l *limiter, _ *slot) {
			t.Helper()
			w := ask(within(t, 350*ms), l, fresh)
			pass(120 * ms)
			if w.done {
				t.Errorf("with 250 ms left after 100: %v", w.err)
			}
			pass(90 * ms)
			refusal(t, w.err, ReasonDeadline)
		},
		"at its turn": func(t *testing.T, l *limiter, other *slot) {
			t.Helper()
			late, w := ask(within(t, 150*ms), l, fresh), ask(within(t, 170*ms), l, fresh)
			pass(80 * ms)
			l.release(other)
			synctest.Wait()
			refusal(t, late.err, ReasonDeadline)
			if w.s == nil {
				t.Errorf("with 90 ms left after 80: %v", w.err)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 2})
			teach(t, l, request{fingerprint: 1}, 40, ms)
			take(t, l, fresh)
			ends(t, l, take(t, l, request{fingerprint: 1}))
			if t.Failed() {
				t.Log(name)
			}
			drain(l)
		})
	}
}

// Those of a new shape that wait for a trial do not keep others out of a full queue.
func TestAKnownShapeFindsRoomAmongThoseThatAreTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 3, queue: 2})
		known, fresh := request{fingerprint: 1}, request{fingerprint: 2}
		teach(t, l, known, 40, time.Millisecond)
		held := []*slot{take(t, l, fresh), take(t, l, known), take(t, l, known)}
		a, b := ask(t.Context(), l, fresh), ask(t.Context(), l, fresh)
		k := ask(t.Context(), l, known)
		refusal(t, b.err, ReasonQueueFull)
		if a.done || k.done {
			t.Fatalf("the newest of them goes, and nobody else: %+v %+v", a, k)
		}
		refusal(t, ask(t.Context(), l, fresh).err, ReasonQueueFull) // but not for its like
		for _, s := range held {
			l.release(s)
		}
		drain(l)
	})
}

// While one of a new shape is at work, the next of it waits only if somebody else can use
// the slot.
func TestANewShapeAloneLeavesNoSlotIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2})
		known, fresh := request{fingerprint: 1}, request{fingerprint: 2}
		teach(t, l, known, 40, time.Millisecond)
		first, other := take(t, l, fresh), take(t, l, known)
		w := ask(t.Context(), l, fresh)
		l.release(other)
		synctest.Wait()
		if w.s == nil {
			t.Error("a slot is free, and nobody else waits")
		}
		l.check(t)
		l.release(first)
		drain(l)
	})
}

// A trial that ends without a slot leaves room for the next.
func TestATrialThatIsCancelledIsNoTrial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		trying := func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()

			return l.trial.on
		}
		teach(t, l, request{fingerprint: 1}, 40, time.Millisecond)
		s := take(t, l, request{fingerprint: 1})
		gone := ask(within(t, 10*time.Millisecond), l, request{fingerprint: 2})
		if !trying() {
			t.Fatal("a new shape is not tried")
		}
		pass(10 * time.Millisecond)
		if gone.err == nil || trying() {
			t.Fatalf("gone with %v, and the trial goes on", gone.err)
		}
		ask(within(t, 10*time.Millisecond), l, request{fingerprint: 3})
		if !trying() {
			t.Error("the next new shape is not tried")
		}
		l.release(s)
		drain(l)
		if trying() {
			t.Error("all is over and a trial is on")
		}
	})
}

// A slot that got no connection teaches nothing.
func TestAFailedConnectIsNoHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		teach(t, l, request{}, 200, 50*time.Millisecond)
		for range 200 {
			s := take(t, l, request{})
			s.unused = true
			l.release(s)
		}
		if mean := l.stats().HoldMean; mean != 50*time.Millisecond {
			t.Errorf("mean hold %v", mean)
		}
		if s := take(t, l, request{}); s.unused {
			t.Error("the next hold counts as unused too")
		} else {
			l.release(s)
		}
	})
}
