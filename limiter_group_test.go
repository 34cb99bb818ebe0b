package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// knownShape teaches the limiter that statements of a fingerprint take d.
func knownShape(t *testing.T, l *limiter, fingerprint uint64, d time.Duration) {
	t.Helper()
	for range shapeKnown + 1 {
		s := must(t, l, request{fingerprint: fingerprint})
		sleep(d)
		l.release(s)
	}
}

func must(t *testing.T, l *limiter, r request) *slot {
	t.Helper()
	s, err := l.acquire(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func anyText(string) bool { return true }

// queries are statements that may ride, by name.
func queries(names ...string) []groupAsk {
	asks := make([]groupAsk, len(names))
	for i, name := range names {
		asks[i].query = name
	}
	return asks
}

// withLeader returns a limiter of one slot, which is held for a statement of fingerprint 1 until
// the test ends. That is known to be short, so its holder may take others along.
func withLeader(t *testing.T, cfg limiterConfig) (l *limiter, leader *slot) {
	t.Helper()
	cfg.limit = 1
	l = testLimiter(t, cfg)
	knownShape(t, l, 1, time.Millisecond)
	leader = must(t, l, request{fingerprint: 1})
	t.Cleanup(func() {
		l.release(leader)
		drain(l)
	})
	return l, leader
}

// leadsNobody checks that there is nobody whom a holder may take along.
func leadsNobody(t *testing.T, l *limiter, s *slot, why string) {
	t.Helper()
	if l.hasCompany(s) || len(l.company(s, 10, anyText)) != 0 {
		t.Error("somebody rides:", why)
	}
}

// answerAll brings riders results without rows.
func answerAll(riders []rider) {
	for i := range riders {
		riders[i].answer(new(rowset.Set))
	}
}

func TestALeaderTakesWhoeverIsNextAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		knownShape(t, l, 1, time.Millisecond)
		knownShape(t, l, 2, 50*time.Millisecond)
		knownShape(t, l, 3, time.Millisecond)
		s := must(t, l, request{fingerprint: 3}) // its like may not have more while others wait
		asks := queries("low", "a", "b", "long", "c")
		waiting := []*outcome{
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[0], class: Low}),
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[1]}),
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[2]}),
			ask(t.Context(), l, request{fingerprint: 2, ask: &asks[3]}), // long
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[4]}),
		}
		riders := l.company(s, 10, anyText)
		if len(riders) != 2 || riders[0].ask.query != "a" || riders[1].ask.query != "b" {
			t.Fatalf("%d ride", len(riders))
		}
		l.check(t)
		answerAll(riders)
		synctest.Wait()
		for i, o := range waiting {
			if rode := i == 1 || i == 2; o.done != rode || rode && (!errors.Is(o.err, errRode) || asks[i].rode != &riders[i-1]) {
				t.Errorf("%d: done %v with %v", i, o.done, o.err)
			}
		}
		if st := l.stats(); st.Queued != 3 || st.InFlight != 1 || st.Priorities[Normal.index()].Waits != 2 {
			t.Errorf("%+v", st)
		}
		l.release(s)
		drain(l)
	})
}

func TestALeaderLeavesOthersTheirPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 3})
		knownShape(t, l, 1, time.Millisecond)
		var held []*slot
		for range 3 {
			held = append(held, must(t, l, request{fingerprint: 1}))
		}
		asks := make([]groupAsk, 8)
		for i := range asks {
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[i]})
		}
		riders := l.company(held[0], 10, anyText)
		if len(riders) != 2 {
			t.Errorf("%d of 8 waiters for 3 slots ride", len(riders))
		}
		if none := l.company(held[1], 10, func(string) bool { return false }); len(none) != 0 {
			t.Errorf("%d ride whose text is not prepared", len(none))
		}
		answerAll(riders)
		for _, s := range held {
			l.release(s)
		}
		drain(l)
	})
}

func TestWhoIsLongOrUnknownLeadsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		knownShape(t, l, 1, time.Millisecond)
		knownShape(t, l, 2, 50*time.Millisecond)
		for _, fingerprint := range []uint64{2, 3} {
			s := must(t, l, request{fingerprint: fingerprint})
			a := queries("a")
			ask(t.Context(), l, request{fingerprint: 1, ask: &a[0]})
			leadsNobody(t, l, s, fmt.Sprint("the leader's fingerprint is ", fingerprint))
			l.release(s)
			drain(l)
		}
	})
}

func TestWhoHasLittleTimeLeftRidesWithNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, leader := withLeader(t, limiterConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*groupPatience)
		t.Cleanup(cancel)
		a := queries("a")
		ask(ctx, l, request{fingerprint: 1, ask: &a[0]})
		leadsNobody(t, l, leader, "it has little time left")
	})
}

func TestWhoOnlyLeadsRidesWithNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, leader := withLeader(t, limiterConfig{})
		a := queries("a")
		a[0].last = new(physical)
		a[0].last.plans.altered.Store(true)
		ask(t.Context(), l, request{fingerprint: 1, ask: &a[0]})
		leadsNobody(t, l, leader, "it only leads")
	})
}

func TestARiderThatLeavesGetsNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, leader := withLeader(t, limiterConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var a groupAsk
		o := ask(ctx, l, request{fingerprint: 1, ask: &a})
		riders := l.company(leader, 10, anyText)
		if len(riders) != 1 {
			t.Fatal("nobody rides")
		}
		cancel()
		synctest.Wait()
		if !o.done || !errors.Is(o.err, context.Canceled) || a.rode != nil {
			t.Errorf("%v, %v", o.done, o.err)
		}
		riders[0].answer(new(rowset.Set)) // comes too late, and blocks nobody
		if l.sendBack(riders) != 0 {
			t.Error("it is in the queue again")
		}
		if st := l.stats(); st.Canceled != 1 || st.Priorities[Normal.index()].Waits != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Who is sent back has its place, its priority, and its fingerprint's share again.
func TestWhoRodeInVainIsWhereItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queue: 6})
		for f := range uint64(4) {
			knownShape(t, l, f+1, time.Millisecond)
		}
		s := must(t, l, request{fingerprint: 4})
		asks := queries("first", "second", "third")
		var order []string
		wait := func(name string, r request) {
			go func() {
				s, err := l.acquire(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, name)
				l.release(s)
			}()
			synctest.Wait()
			sleep(time.Millisecond)
		}
		wait("first", request{fingerprint: 1, ask: &asks[0]})
		wait("second", request{fingerprint: 2, ask: &asks[1]})
		wait("third", request{fingerprint: 3, ask: &asks[2]})
		wait("fourth", request{fingerprint: 1})
		before := l.stats().Priorities[Normal.index()]
		riders := l.company(s, 3, anyText)
		if len(riders) != 3 {
			t.Fatalf("%d ride", len(riders))
		}
		wait("critical", request{fingerprint: 1, class: Critical})
		if n := l.sendBack(riders[1:]); n != 2 {
			t.Errorf("%d go back", n)
		}
		l.check(t)
		if n := l.sendBack(riders); n != 1 {
			t.Errorf("%d go back", n)
		}
		l.check(t)
		if l.hasCompany(s) {
			t.Error("who was sent back is taken along again")
		}
		l.release(s)
		synctest.Wait()
		if want := []string{"critical", "first", "second", "third", "fourth"}; !slices.Equal(order, want) {
			t.Errorf("%v, not %v", order, want)
		}
		after := l.stats().Priorities[Normal.index()]
		if after.Admitted-before.Admitted != 4 || after.Waits-before.Waits != 4 {
			t.Errorf("four statements are %d admissions and %d waits", after.Admitted-before.Admitted, after.Waits-before.Waits)
		}
	})
}

func TestWhoIsSentBackTimesOutWithItsOldAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, leader := withLeader(t, limiterConfig{queueTimeout: time.Second})
		a := queries("a")
		start := time.Now()
		o := ask(t.Context(), l, request{fingerprint: 1, ask: &a[0]})
		riders := l.company(leader, 3, anyText)
		pass(900 * time.Millisecond)
		l.sendBack(riders)
		pass(time.Second)
		if !o.done || !errors.Is(o.err, ErrOverloaded) || o.at.Sub(start) != time.Second {
			t.Errorf("%v %v after %v", o.done, o.err, o.at.Sub(start))
		}
	})
}

func TestWhatAGroupTakesIsLearnedOfEachOfThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		for f := range uint64(3) {
			knownShape(t, l, f+1, time.Millisecond)
		}
		mean := func(f uint64) time.Duration {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.shapes.find(f).mean
		}
		group := func(broken bool) {
			s := must(t, l, request{fingerprint: 1})
			asks := queries("a", "b")
			ask(t.Context(), l, request{fingerprint: 2, ask: &asks[0]})
			ask(t.Context(), l, request{fingerprint: 3, ask: &asks[1]})
			riders := l.company(s, 3, anyText)
			sleep(5 * time.Millisecond)
			if broken {
				l.sendBack(riders)
			} else {
				for i := range riders {
					riders[i].own = time.Duration(1+2*i) * time.Millisecond / 2
					riders[i].answer(new(rowset.Set))
				}
				l.learnGroup(s, riders, 4*time.Millisecond)
			}
			l.release(s)
			drain(l)
		}
		for range 400 {
			group(false)
		}
		for f, want := range map[uint64]time.Duration{1: time.Millisecond, 2: time.Millisecond / 2, 3: 3 * time.Millisecond / 2} {
			if got := mean(f); got < want*9/10 || got > want*11/10 {
				t.Errorf("%d: %v, not %v", f, got, want)
			}
		}
		group(true)
		if got := mean(1); got <= 101*time.Millisecond/100 {
			t.Errorf("a group that broke taught %v", got)
		}
	})
}
