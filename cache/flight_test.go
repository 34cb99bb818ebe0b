package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

type number int

func (number) Size() int { return 8 }

func TestConcurrentMissesShareOneQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f Flights
		s, _ := NewLedger(nil).Dependencies(nil).Capture()
		var queries atomic.Int32
		var wg sync.WaitGroup
		hold := make(chan struct{})
		for range 16 {
			wg.Go(func() {
				fl, leads := f.Join(t.Context(), "q", &s)
				if leads {
					go func() {
						queries.Add(1)
						<-hold
						fl.Land(number(7), nil)
					}()
				}
				if rows, err := fl.Wait(t.Context()); rows != number(7) || err != nil {
					t.Errorf("%v %v", rows, err)
				}
			})
		}
		synctest.Wait()
		close(hold)
		wg.Wait()
		if n := queries.Load(); n != 1 || len(f.flights) != 0 {
			t.Errorf("%d queries, %d flights left", n, len(f.flights))
		}
		if _, leads := f.Join(t.Context(), "q", &s); !leads {
			t.Error("joined a flight that has landed")
		}
	})
}

func TestAReaderAfterACommitDoesNotJoinOneFromBefore(t *testing.T) {
	t.Parallel()
	var f Flights
	l := NewLedger(nil)
	before := capture(t, l, users)
	l.Raise(writes(users)).Bump()
	after := capture(t, l, users)
	first, _ := f.Join(t.Context(), "q", &before)
	second, leads := f.Join(t.Context(), "q", &after)
	if !leads || first == second {
		t.Error("joined")
	}
}

func TestTheQueryOutlivesItsFirstCallerAndEndsWithTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var f Flights
		s, _ := NewLedger(nil).Dependencies(nil).Capture()
		first, cancelFirst := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		second, cancelSecond := context.WithCancel(t.Context())
		fl, _ := f.Join(first, "q", &s)
		same, leads := f.Join(second, "q", &s)
		if leads || same != fl {
			t.Fatal("a second flight")
		}
		cancelFirst()
		if _, err := fl.Wait(first); !errors.Is(err, context.Canceled) {
			t.Errorf("the first caller got %v", err)
		}
		if fl.Context().Err() != nil || fl.Context().Value(key{}) != "v" {
			t.Error("the query ended with its first caller, or lost its values")
		}
		cancelSecond()
		if _, err := fl.Wait(second); !errors.Is(err, context.Canceled) {
			t.Errorf("the second caller got %v", err)
		}
		if fl.Context().Err() == nil {
			t.Error("the query goes on for nobody")
		}
		if next, leads := f.Join(t.Context(), "q", &s); !leads || next == fl {
			t.Error("joined a query that was cancelled")
		}
		fl.Land(nil, context.Canceled) // late, and harmless to the new one
		if len(f.flights) != 1 {
			t.Errorf("%d flights", len(f.flights))
		}
	})
}

func TestAnErrorIsSharedToo(t *testing.T) {
	t.Parallel()
	var f Flights
	s, _ := NewLedger(nil).Dependencies(nil).Capture()
	fl, _ := f.Join(t.Context(), "q", &s)
	broken := errors.New("broken")
	fl.Land(nil, broken)
	if _, err := fl.Wait(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}
