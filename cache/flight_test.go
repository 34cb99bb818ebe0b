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
				fl, leads := f.Join(t.Context(), "q", &s, 0)
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
		if _, leads := f.Join(t.Context(), "q", &s, 0); !leads {
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
	first, _ := f.Join(t.Context(), "q", &before, 0)
	second, leads := f.Join(t.Context(), "q", &after, 0)
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
		fl, _ := f.Join(first, "q", &s, 0)
		same, leads := f.Join(second, "q", &s, 0)
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
		if next, leads := f.Join(t.Context(), "q", &s, 0); !leads || next == fl {
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
	fl, _ := f.Join(t.Context(), "q", &s, 0)
	broken := errors.New("broken")
	fl.Land(nil, broken)
	if _, err := fl.Wait(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestWhoIsMoreUrgentDoesNotStandBehindALeaderWhoWaits(t *testing.T) {
	t.Parallel()
	s, _ := NewLedger(nil).Dependencies(nil).Capture()
	for _, c := range []struct {
		name             string
		leader, follower int
		airborne, joins  bool
	}{
		{"as urgent", 3, 3, false, true},
		{"less urgent", 3, 2, false, true},
		{"more urgent", 3, 4, false, false},
		{"more urgent, and the query is under way", 3, 4, true, true},
		{"others wait for him", Urgent, Urgent, false, false},
		{"others wait for him, and the query is under way", 0, Urgent, true, true},
	} {
		var f Flights
		first, _ := f.Join(t.Context(), "q", &s, c.leader)
		if c.airborne {
			first.TakeOff()
		}
		second, leads := f.Join(t.Context(), "q", &s, c.follower)
		if leads == c.joins {
			t.Errorf("%s: joins is %t", c.name, !leads)
		}
		if leads { // later ones find the faster flight, and the first one's end is not its
			first.Land(nil, nil)
			if third, leads := f.Join(t.Context(), "q", &s, c.leader-1); leads || third != second {
				t.Errorf("%s: the next one does not join it", c.name)
			}
		}
	}
}
