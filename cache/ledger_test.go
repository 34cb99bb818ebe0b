package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	users  Relation = 16384
	orders Relation = 16390
)

func writes(relations ...Relation) *Writes {
	w := new(Writes)
	w.Add(relations...)
	return w
}

func capture(t *testing.T, l *Ledger, of ...Relation) Snapshot {
	t.Helper()
	s, ok := l.Dependencies(of).Capture()
	if !ok {
		t.Fatal("no snapshot, and no fence is up")
	}
	return s
}

func TestACommitInvalidatesWhatItTouchedAndNothingElse(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	a, b, none := capture(t, l, users), capture(t, l, orders), capture(t, l)
	l.Raise(writes(users)).Bump()
	if a.Valid() || !b.Valid() || !none.Valid() {
		t.Errorf("users %t, orders %t, no table %t", a.Valid(), b.Valid(), none.Valid())
	}
	if again := capture(t, l, users); !again.Valid() {
		t.Error("a snapshot after the commit is not valid")
	}
}

func TestUnknownWritesInvalidateEverything(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	a, none := capture(t, l, users), capture(t, l)
	w := new(Writes)
	w.AddEverything()
	f := l.Raise(w)
	if a.Valid() || none.Valid() {
		t.Error("served behind the fence")
	}
	if _, ok := l.Dependencies(nil).Capture(); ok {
		t.Error("a fill began behind the fence")
	}
	f.Bump()
	if a.Valid() || none.Valid() {
		t.Error("served after the commit")
	}
}

func TestAFlushInvalidatesEverything(t *testing.T) {
	t.Parallel()
	bumped := 0
	l := NewLedger(func() { bumped++ })
	a := capture(t, l, users)
	l.Flush()
	if a.Valid() || bumped != 1 {
		t.Errorf("valid %t, %d bumps", a.Valid(), bumped)
	}
}

// Invariant 2: from before COMMIT to its answer nobody is served and nobody fills.
func TestAFenceStopsReadersUntilTheOutcomeIsKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		end   func(*Fence)
		valid bool
	}{{"committed", (*Fence).Bump, false}, {"rolled back", (*Fence).Lower, true}} {
		l := NewLedger(nil)
		s := capture(t, l, users, orders)
		first, second := l.Raise(writes(orders)), l.Raise(writes(orders))
		c.end(first)
		if s.Valid() {
			t.Errorf("%s: served while a second fence is up", c.name)
		}
		if _, ok := l.Dependencies([]Relation{orders}).Capture(); ok {
			t.Errorf("%s: a fill began while a second fence is up", c.name)
		}
		second.Lower()
		if s.Valid() != c.valid {
			t.Errorf("%s: valid is %t", c.name, s.Valid())
		}
	}
}

// Invariant 1: at no moment the fence is down and the version is the old one.
func TestAFenceIsNeverLoweredBeforeItsBump(t *testing.T) {
	t.Parallel()
	var s Snapshot
	var l *Ledger
	bumped := false
	l = NewLedger(func() {
		bumped = true
		if _, ok := l.Dependencies([]Relation{users}).Capture(); ok || s.Alive() {
			t.Errorf("at the bump: fence down %t, version old %t", ok, s.Alive())
		}
	})
	s = capture(t, l, users)
	l.Raise(writes(users)).Bump()
	if _, ok := l.Dependencies([]Relation{users}).Capture(); !ok || !bumped {
		t.Errorf("after it: fence down %t, bumped %t", ok, bumped)
	}
}

// Invariant 3: what a query reads while a commit is on its way is not kept.
func TestAFillThatACommitOvertakesIsDead(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	s := capture(t, l, users) // before the query
	f := l.Raise(writes(users))
	f.Bump()
	if s.Valid() || s.Alive() {
		t.Error("the fill is valid")
	}
}

func TestATransactionThatWroteNothingNeedsNoFence(t *testing.T) {
	t.Parallel()
	l := NewLedger(func() { t.Error("a bump") })
	f := l.Raise(new(Writes))
	f.Bump()
	f.Lower()
	if f != nil {
		t.Error("a fence for nothing")
	}
}

func TestWritesAreCollectedAndForgotten(t *testing.T) {
	t.Parallel()
	w := new(Writes)
	w.Add(users, orders, users)
	if len(w.relations) != 2 || w.None() || w.Everything() {
		t.Errorf("%+v", w)
	}
	w.AddEverything()
	w.Reset()
	if !w.None() {
		t.Errorf("after a reset: %+v", w)
	}
}

// Each temporary table is another relation, and writes of it must not fill the memory.
func TestRelationsOnWhichNobodyDependsAreForgotten(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	s := capture(t, l, users)
	for oid := orders; oid < orders+1000; oid++ {
		f := l.Raise(writes(users, oid))
		if oid%2 == 0 {
			f.Bump()
			continue
		}
		f.Lower()
	}
	if len(l.relations) != 1 || s.Valid() {
		t.Errorf("%d relations are left of one that is read; valid is %t", len(l.relations), s.Valid())
	}
	// Who begins to depend on it while it is fenced finds the fence and the version.
	f := l.Raise(writes(orders))
	d := l.Dependencies([]Relation{orders})
	if _, ok := d.Capture(); ok {
		t.Error("a snapshot behind the fence")
	}
	f.Bump()
	after, ok := d.Capture()
	l.Raise(writes(orders)).Bump()
	if !ok || after.Valid() {
		t.Errorf("a snapshot is %t, and is valid after a commit: %t", ok, after.Valid())
	}
}

func TestAFenceThatEndsTwicePanics(t *testing.T) {
	t.Parallel()
	f := NewLedger(nil).Raise(writes(users))
	f.Lower()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f.Bump()
}

// The protocol against a database that is two numbers: whoever reads, through the
// cache or past it, never sees a commit and then, later, the time before it.
func TestReadersNeverGoBackInTime(t *testing.T) {
	t.Parallel()
	const rounds, fillers = 1_500, 400
	l := NewLedger(nil)
	var database [2]atomic.Int64
	// Many relations, so that Valid and the end of a fence last long enough for the
	// other side to get in between.
	var among [2][]Relation
	var all []Relation
	for i := range among {
		for j := range fillers {
			among[i] = append(among[i], Relation(i*fillers+j)) //nolint:gosec // small
		}
		all = append(all, among[i]...)
	}
	type filled struct {
		values   [2]int64
		snapshot Snapshot
	}
	var store atomic.Pointer[filled]
	dependencies := l.Dependencies(all)

	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1)) //nolint:gosec // repeatable
			for i := range rounds {
				if i%8 == 0 { // without a rest one fence or the other is always up
					<-time.After(50 * time.Microsecond)
				}
				set := &Writes{relations: among[w]}
				if i%97 == 0 {
					set.AddEverything()
				}
				f := l.Raise(set)
				if rng.IntN(4) == 0 {
					f.Lower()
					continue
				}
				database[w].Add(1) // the commit
				f.Bump()
			}
		})
	}
	var hits atomic.Int64
	for range 4 {
		readers.Go(func() {
			var last [2]int64
			for !done.Load() {
				var got [2]int64
				hit := false
				if e := store.Load(); e != nil && e.snapshot.Valid() {
					got, hit = e.values, true
					hits.Add(1)
				} else {
					s, ok := dependencies.Capture()
					got = [2]int64{database[0].Load(), database[1].Load()}
					if ok {
						store.Store(&filled{got, s})
					}
				}
				for i := range got {
					if got[i] < last[i] {
						t.Errorf("relation %d went from %d back to %d (hit: %t)", i, last[i], got[i], hit)
						return
					}
				}
				last = got
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if hits.Load() == 0 {
		t.Error("no hit: this tested nothing")
	}
	t.Logf("%d hits", hits.Load())
}

// A writer's own next read, on any goroutine, sees its commit.
func TestACommitIsSeenByWhoeverReadsAfterIt(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	var database, acknowledged atomic.Int64
	type filled struct {
		value    int64
		snapshot Snapshot
	}
	var store atomic.Pointer[filled]
	d := l.Dependencies([]Relation{users})
	var wg sync.WaitGroup
	var done atomic.Bool
	for range 3 {
		wg.Go(func() {
			for !done.Load() {
				least := acknowledged.Load()
				e := store.Load()
				if e == nil || !e.snapshot.Valid() {
					s, ok := d.Capture()
					e = &filled{database.Load(), s}
					if ok {
						store.Store(e)
					}
				}
				if e.value < least {
					t.Errorf("read %d after %d was committed", e.value, least)
					return
				}
			}
		})
	}
	for range 50_000 {
		f := l.Raise(writes(users))
		n := database.Add(1)
		f.Bump()
		acknowledged.Store(n)
	}
	done.Store(true)
	wg.Wait()
}

func BenchmarkValid(b *testing.B) {
	l := NewLedger(nil)
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("relations=%d", n), func(b *testing.B) {
			of := make([]Relation, n)
			for i := range of {
				of[i] = Relation(16384 + i) //nolint:gosec // small
			}
			s, _ := l.Dependencies(of).Capture()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !s.Valid() {
						b.Error("not valid")
					}
				}
			})
		})
	}
}
