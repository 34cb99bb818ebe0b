package lifeguard

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Those with a sub-benchmark "lifeguard" have the names and shapes of
// benchmarks/limiter/limiter_test.go, which has the rivals; `make bench-limiter` runs both
// in turns, and benchstat puts them side by side.

func benchLimiter(b *testing.B, cfg limiterConfig) *limiter {
	b.Helper()
	l := newLimiter(cfg)
	b.Cleanup(l.close)

	return l
}

// benchContext is what a handler has: values and a deadline.
func benchContext(b *testing.B) context.Context {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	b.Cleanup(cancel)

	return ctx
}

func BenchmarkLimiterUncontended(b *testing.B) {
	b.Run("lifeguard", func(b *testing.B) {
		ctx := benchContext(b)
		l := benchLimiter(b, limiterConfig{limit: 8, queueTimeout: time.Minute})
		r := request{fingerprint: 1}

		b.ReportAllocs()
		for b.Loop() {
			s, err := l.acquire(ctx, r)
			if err != nil {
				b.Fatal(err)
			}
			l.release(s)
		}
	})
}

func BenchmarkLimiterUncontendedParallel(b *testing.B) {
	b.Run("lifeguard", func(b *testing.B) {
		ctx := benchContext(b)
		l := benchLimiter(b, limiterConfig{limit: 8, queueTimeout: time.Minute})

		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			r := request{fingerprint: 1}
			for pb.Next() {
				s, err := l.acquire(ctx, r)
				if err != nil {
					b.Error(err)

					return
				}
				l.release(s)
			}
		})
	})
}

// BenchmarkLimiterContended has many goroutines fight for 8 slots, with one
// fingerprint each, or all with the same. All but 8 of them are in the queue.
func BenchmarkLimiterContended(b *testing.B) {
	for _, goroutines := range []int{64, 10_000} {
		for _, prints := range []int{64, 1} {
			name := fmt.Sprintf("goroutines=%d/lifeguard", goroutines)
			if prints == 1 {
				name += "-one-fingerprint"
			}
			b.Run(name, func(b *testing.B) {
				ctx := benchContext(b)
				l := benchLimiter(b, limiterConfig{limit: 8, queue: 1 << 20, queueTimeout: time.Minute})
				b.ReportAllocs()
				contend(b, goroutines, func(i int) {
					s, err := l.acquire(ctx, request{fingerprint: uint64(1 + i%prints)})
					if err != nil {
						b.Error(err)

						return
					}
					l.release(s)
				})
			})
		}
	}
}

// contend runs b.N operations on n goroutines.
func contend(b *testing.B, n int, op func(goroutine int)) {
	b.Helper()
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		wg.Go(func() {
			for range b.N/n + 1 {
				op(i)
			}
		})
	}
	wg.Wait()
}

// standing fills the queue of a limiter whose slots are all taken.
func standing(b *testing.B, l *limiter, waiters int, r func(i int) request) {
	b.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range waiters {
		w, _, err := l.admitOrEnqueueLocked(context.Background(), r(i), l.now())
		if w == nil || err != nil {
			b.Fatal(w, err)
		}
	}
}

// BenchmarkLimiterCancelMiddle enqueues a waiter and takes it out again while
// others wait, before and behind it.
func BenchmarkLimiterCancelMiddle(b *testing.B) {
	for _, waiters := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			ctx := b.Context()
			l := benchLimiter(b, limiterConfig{limit: 1, queue: 1 << 20, queueTimeout: time.Hour})
			if _, err := l.acquire(ctx, request{}); err != nil {
				b.Fatal(err)
			}
			plain := func(int) request { return request{} }
			standing(b, l, waiters/2, plain)
			var middle [64]*waiter
			put := func(i int) {
				l.mu.Lock()
				middle[i], _, _ = l.admitOrEnqueueLocked(ctx, request{}, l.now())
				l.mu.Unlock()
			}
			for i := range middle {
				put(i)
			}
			standing(b, l, waiters/2, plain)

			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w := middle[i%64]
				l.leave(w)
				l.recycle(w)
				put(i % 64)
			}
		})
	}
}

// BenchmarkLimiterHandOver releases a slot to the first of many waiters, and lets
// another come to the end of the queue.
func BenchmarkLimiterHandOver(b *testing.B) {
	shapes := []struct {
		name string
		r    func(i int) request
	}{
		{"plain", func(int) request { return request{} }},
		{"one_fingerprint", func(int) request { return request{fingerprint: 1} }},
		{"fingerprints", func(i int) request { return request{fingerprint: uint64(i%10 + 1)} }},
		{"tenants", func(i int) request { return request{fingerprint: 1, tenant: tenants[i%10]} }},
	}
	for _, shape := range shapes {
		for _, waiters := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%s/waiters=%d", shape.name, waiters), func(b *testing.B) {
				ctx := b.Context()
				l := benchLimiter(b, limiterConfig{limit: 8, queue: 1 << 20, queueTimeout: time.Hour})
				var held [8]*slot
				for i := range held {
					held[i], _ = l.acquire(ctx, shape.r(i))
				}
				// Those who wait, in the order in which they are served.
				line := make([]*waiter, waiters)
				join := func(i int) {
					l.mu.Lock()
					line[i%waiters], _, _ = l.admitOrEnqueueLocked(ctx, shape.r(i), l.now())
					l.mu.Unlock()
				}
				for i := range line {
					join(i)
				}

				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					mine := &held[i%len(held)]
					l.release(*mine)
					w := line[i%waiters]
					if w.class != nil {
						b.Fatal("another one was served")
					}
					<-w.ready
					*mine = w.slot
					l.recycle(w)
					join(i)
				}
			})
		}
	}
}

var tenants = func() (names [100]string) {
	for i := range names {
		names[i] = fmt.Sprintf("tenant-%02d", i)
	}

	return names
}()

func BenchmarkLimiterRefuse(b *testing.B) {
	ctx := benchContext(b)
	l := benchLimiter(b, limiterConfig{limit: 1, queue: -1})
	if _, err := l.acquire(ctx, request{}); err != nil {
		b.Fatal(err)
	}

	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.acquire(ctx, request{}); err == nil {
			b.Fatal("admitted")
		}
	}
}

func BenchmarkSlotBegin(b *testing.B) {
	l := benchLimiter(b, limiterConfig{limit: 1})
	s, err := l.acquire(b.Context(), request{})
	if err != nil {
		b.Fatal(err)
	}

	b.ReportAllocs()
	for b.Loop() {
		s.begin(SlotExecuting, "SELECT 1", 1)
	}
}

func BenchmarkRequestFrom(b *testing.B) {
	b.Run("unmarked", func(b *testing.B) {
		ctx := benchContext(b)
		for b.Loop() {
			_ = requestFrom(ctx)
		}
	})
	b.Run("marked", func(b *testing.B) {
		ctx := WithTenant(WithPriority(benchContext(b), High), "a")
		b.ReportAllocs()
		for b.Loop() {
			_ = requestFrom(ctx)
		}
	})
}
