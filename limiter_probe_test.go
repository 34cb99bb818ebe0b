package lifeguard

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A probe lowers the limit for a moment. Nobody is refused as though it stayed so low.
func TestNobodyIsRefusedBecauseOfAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 8, queue: 800})
		a := newAutoLimit(8, l, l.setLimit)
		defer a.close()
		l.cfg.onSample = a.observe
		r := request{fingerprint: 7}
		teach(t, l, r, 2*averageOver, 10*time.Millisecond)

		var served, refused atomic.Int64
		come := func(n int) {
			for range n {
				go func() {
					s, err := l.acquire(within(t, 600*time.Millisecond), r)
					if err != nil {
						refused.Add(1)

						return
					}
					sent := s.begin(SlotExecuting, "", 7)
					sleep(10 * time.Millisecond)
					s.observe(l.now()-sent, 7, false, true)
					l.release(s)
					served.Add(1)
				}()
				synctest.Wait()
			}
		}
		come(100) // with eight slots they take 130 ms
		a.mu.Lock()
		a.startProbe(a.now())
		a.mu.Unlock()
		pass(20 * time.Millisecond)
		if n := l.limit(); n != quietInFlight {
			t.Fatalf("limit %d in a probe", n)
		}
		come(50)
		pass(time.Second)
		if served.Load() != 150 || refused.Load() != 0 || a.snapshot().Probes == 0 {
			t.Errorf("%d served, %d refused; %+v", served.Load(), refused.Load(), a.snapshot())
		}
	})
}

// In a probe one transaction that waits for its application is all that there is.
func TestAProbeIsNoStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stalls atomic.Int64
		l := testLimiter(t, limiterConfig{limit: 8, onStall: func(stall) { stalls.Add(1) }})
		take(t, l, request{tx: true}).setState(SlotIdleInTx)
		pass(time.Second)
		l.setProbing(true)
		l.setLimit(quietInFlight)
		ask(t.Context(), l, request{})
		pass(probeLimit)
		l.setProbing(false)
		l.setLimit(8)
		pass(time.Second)
		if n := stalls.Load(); n != 0 {
			t.Errorf("%d stalls reported", n)
		}
		drain(l)
	})
}

// A request that holds the only slot of a probe waits for its end.
func TestAProbeIsNoDeadlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 8})
		ctx := Scope(t.Context())
		r := requestFrom(ctx)
		s := take(t, l, r)
		s.setState(SlotIdleInTx)
		l.setProbing(true)
		l.setLimit(quietInFlight)
		w := ask(ctx, l, r)
		if w.done {
			t.Errorf("during the probe: %v", w.err)
		}
		pass(probeLimit)
		l.setProbing(false)
		l.setLimit(8)
		synctest.Wait()
		if w.s == nil {
			t.Errorf("after the probe: %+v", w)
		}
		drain(l)
	})
}
