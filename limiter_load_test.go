package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tally counts what callers of an open-loop load got.
type tally struct{ offered, inTime, refused, late, expired, killed int } // late: refused after waiting

// offer sends Poisson arrivals of one class at rate per second for d; each has a
// deadline, holds a slot for hold(), and is killed if the deadline passes then.
func offer(t *testing.T, l *limiter, p Priority, rate float64, d, deadline time.Duration, hold func() time.Duration) *tally {
	t.Helper()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		got  tally
		rng  = rand.New(rand.NewPCG(1, uint64(p)+100))
		ends = time.Now().Add(d)
	)
	for time.Now().Before(ends) {
		sleep(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		got.offered++
		h := hold()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			began := time.Now()
			s, err := l.acquire(ctx, request{class: p, fingerprint: 1})
			if err == nil {
				s.begin(SlotExecuting, "", 1)
				select {
				case <-time.After(h):
				case <-ctx.Done():
					err = errKilled
				}
				l.release(s)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got.inTime++
			case errors.Is(err, errKilled):
				got.killed++
			case errors.Is(err, ErrOverloaded) && time.Since(began) > 0:
				got.late++
			case errors.Is(err, ErrOverloaded):
				got.refused++
			default:
				got.expired++
			}
		})
	}
	wg.Wait()

	return &got
}

var errKilled = errors.New("expired while it ran")

// Five times the capacity is offered. Critical's own part of it fits, or is as much as the
// server can do and by chance a little more: then the queue must be long enough.
func TestCriticalDoesNotNoticeTheOverloadOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		queue int
		part  float64 // of the capacity
	}{{0, 0.9}, {16, 0.9}, {0, 1.02}} {
		t.Run(fmt.Sprintf("queue=%d, %.2f", c.queue, c.part), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(t, limiterConfig{limit: 4, queue: c.queue})
				const capacity = 1000.0 // 4 slots, 4 ms
				rng := rand.New(rand.NewPCG(3, 4))
				hold := func() time.Duration { return time.Duration(float64(4*time.Millisecond) * rng.ExpFloat64()) }
				fixed := func() time.Duration { return 4 * time.Millisecond }
				var critical, normal *tally
				var wg sync.WaitGroup
				wg.Go(func() {
					critical = offer(t, l, Critical, c.part*capacity, 5*time.Second, 250*time.Millisecond, fixed)
				})
				wg.Go(func() {
					normal = offer(t, l, Normal, (5-c.part)*capacity, 5*time.Second, 250*time.Millisecond, hold)
				})
				wg.Wait()
				t.Logf("critical %+v, normal %+v", *critical, *normal)
				if critical.inTime*100 < critical.offered*99 {
					t.Errorf("critical: %+v", *critical)
				}
				if normal.inTime == 0 {
					t.Error("normal starved")
				}
				// What cannot be served is told so at once.
				if normal.expired > normal.offered/20 {
					t.Errorf("normal: %d of %d expired in the queue", normal.expired, normal.offered)
				}
			})
		})
	}
}

// Ten times the capacity, with the deadlines of an ordinary service.
func TestGoodputStaysUnderOverload(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	const ms = time.Millisecond
	mixes := map[string]func() time.Duration{
		"4ms": func() time.Duration { return 4 * ms },
		"90% 1ms, 10% 50ms": func() time.Duration {
			if rng.IntN(10) == 0 {
				return 50 * ms
			}

			return ms
		},
	}
	capacity := map[string]float64{"4ms": 1000, "90% 1ms, 10% 50ms": 4 / 0.0059}
	for name, hold := range mixes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, times := range []float64{0.5, 2, 10} {
				for _, queue := range []int{0, 16} {
					synctest.Test(t, func(t *testing.T) {
						l := testLimiter(t, limiterConfig{limit: 4, queue: queue, queueTimeout: 30 * time.Second})
						const d = 5 * time.Second
						got := offer(t, l, Normal, times*capacity[name], d, 250*ms, hold)
						t.Logf("%4.1f×, queue %3d: %+v", times, queue, *got)
						possible := min(float64(got.offered), capacity[name]*d.Seconds())
						if float64(got.inTime) < 0.95*possible {
							t.Errorf("%.1f×, queue %d: %+v, %.0f possible", times, queue, *got, possible)
						}
						if got.late+got.expired > got.offered/20 {
							t.Errorf("%d waited in vain", got.late+got.expired)
						}
						if got.killed > got.offered/1000 {
							t.Errorf("%d connections killed", got.killed)
						}
					})
				}
			}
		})
	}
}
