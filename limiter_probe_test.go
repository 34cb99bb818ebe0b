package lifeguard

import (
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

		var served, refused int
		come := func(n int) {
			for range n {
				go func() {
					s, err := l.acquire(within(t, 600*time.Millisecond), r)
					seen.Add(1)
					if err != nil {
						refused++
						return
					}
					sent := s.begin(SlotExecuting, "", 7)
					sleep(10 * time.Millisecond)
					s.observe(l.now()-sent, 7, false, true)
					l.release(s)
					seen.Add(1)
					served++
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
		if served != 150 || refused != 0 || a.snapshot().Probes == 0 {
			t.Errorf("%d served, %d refused; %+v", served, refused, a.snapshot())
		}
	})
}
