// Package limiter has what Lifeguard's limiter is compared with, in benchmarks of the
// same names and shapes as limiter_bench_test.go of the root package. The last part of
// a name says whose it is:
//
//	BenchmarkLimiterUncontended/lifeguard
//	BenchmarkLimiterUncontended/semaphore
//
// So that both meet the same machine, run the two packages in turns, several times, and
// let benchstat -ignore pkg put them into one table; docs/performance.md has the
// commands. A fixed -benchtime such as 300000x is needed: with 10,000 goroutines a
// smaller count measures their start.
package limiter

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/jackc/puddle/v2"
	"golang.org/x/sync/semaphore"
)

// slots is what everybody may have in flight.
const slots = 8

// rival is a limiter that can only be waited for. acquire returns what ends the hold.
type rival struct {
	name string
	open func(b *testing.B) func(ctx context.Context) (held, error)
}

// held is a slot. It is a struct and not a func, so that the comparison does not
// charge a closure to a rival that needs none.
type held struct {
	semaphore *semaphore.Weighted
	channel   chan struct{}
	bulkhead  bulkhead.Bulkhead[any]
	permit    adaptivelimiter.Permit
	resource  *puddle.Resource[int]
}

func (h held) release() {
	switch {
	case h.semaphore != nil:
		h.semaphore.Release(1)
	case h.channel != nil:
		<-h.channel
	case h.bulkhead != nil:
		h.bulkhead.ReleasePermit()
	case h.permit != nil:
		h.permit.Record()
	default:
		h.resource.Release()
	}
}

var rivals = []rival{
	{"semaphore", func(*testing.B) func(context.Context) (held, error) {
		s := semaphore.NewWeighted(slots)
		return func(ctx context.Context) (held, error) { return held{semaphore: s}, s.Acquire(ctx, 1) }
	}},
	{"channel", func(*testing.B) func(context.Context) (held, error) {
		c := make(chan struct{}, slots)
		return func(ctx context.Context) (held, error) {
			select {
			case c <- struct{}{}:
				return held{channel: c}, nil
			case <-ctx.Done():
				return held{}, ctx.Err()
			}
		}
	}},
	{"puddle", func(b *testing.B) func(context.Context) (held, error) {
		b.Helper()
		p, err := puddle.NewPool(&puddle.Config[int]{
			Constructor: func(context.Context) (int, error) { return 0, nil },
			Destructor:  func(int) {},
			MaxSize:     slots,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(p.Close)
		return func(ctx context.Context) (held, error) {
			r, err := p.Acquire(ctx)
			return held{resource: r}, err
		}
	}},
	{"bulkhead", func(*testing.B) func(context.Context) (held, error) {
		h := bulkhead.New[any](slots)
		return func(ctx context.Context) (held, error) { return held{bulkhead: h}, h.AcquirePermit(ctx) }
	}},
	{"adaptive", func(*testing.B) func(context.Context) (held, error) {
		// Limits that cannot move, or it would not be the same comparison; the queue
		// holds as many as there are goroutines.
		a := adaptivelimiter.NewBuilder[any]().WithLimits(slots, slots, slots).WithQueueing(1<<16, 1<<16).Build()
		return func(ctx context.Context) (held, error) {
			p, err := a.AcquirePermit(ctx)
			return held{permit: p}, err
		}
	}},
}

// benchContext is what a handler has: values and a deadline.
func benchContext(b *testing.B) context.Context {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	b.Cleanup(cancel)
	return ctx
}

func BenchmarkLimiterUncontended(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			ctx, acquire := benchContext(b), r.open(b)
			b.ReportAllocs()
			for b.Loop() {
				h, err := acquire(ctx)
				if err != nil {
					b.Fatal(err)
				}
				h.release()
			}
		})
	}
}

func BenchmarkLimiterUncontendedParallel(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			ctx, acquire := benchContext(b), r.open(b)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h, err := acquire(ctx)
					if err != nil {
						b.Error(err)
						return
					}
					h.release()
				}
			})
		})
	}
}

// BenchmarkLimiterContended has many goroutines fight for 8 slots. All but 8 of them
// wait, so with 10,000 it is the cost of a long queue.
func BenchmarkLimiterContended(b *testing.B) {
	for _, goroutines := range []int{64, 10_000} {
		for _, r := range rivals {
			b.Run(fmt.Sprintf("goroutines=%d/%s", goroutines, r.name), func(b *testing.B) {
				ctx, acquire := benchContext(b), r.open(b)
				b.ReportAllocs()
				var wg sync.WaitGroup
				b.ResetTimer()
				for range goroutines {
					wg.Go(func() {
						for range b.N/goroutines + 1 {
							h, err := acquire(ctx)
							if err != nil {
								b.Error(err)
								return
							}
							h.release()
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
