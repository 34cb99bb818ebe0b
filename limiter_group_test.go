package lifeguard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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

func anyText(*groupText) bool { return true }

func TestALeaderTakesWhoeverIsNextAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		knownShape(t, l, 1, time.Millisecond)
		knownShape(t, l, 2, 50*time.Millisecond)
		s := must(t, l, request{fingerprint: 3}) // its like may not have more while others wait
		asks := make([]groupAsk, 5)
		waiting := []*outcome{
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[0], class: Low}),
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[1]}),
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[2]}),
			ask(t.Context(), l, request{fingerprint: 2, ask: &asks[3]}), // long
			ask(t.Context(), l, request{fingerprint: 1, ask: &asks[4]}),
		}
		riders := l.company(s, 10, l.now(), anyText)
		if len(riders) != 2 || riders[0].w.req.ask != &asks[1] || riders[1].w.req.ask != &asks[2] {
			t.Fatalf("%d ride", len(riders))
		}
		l.check(t)
		for i := range riders {
			riders[i].answer(nil)
		}
		synctest.Wait()
		for i, o := range waiting {
			if rode := i == 1 || i == 2; o.done != rode || rode && (!errors.Is(o.err, errRode) || asks[i].rode != &riders[i-1]) {
				t.Errorf("%d: done %v with %v", i, o.done, o.err)
			}
		}
		if st := l.stats(); st.Queued != 3 || st.InFlight != 1 || st.Priorities[Critical.index()+2].Waits != 2 {
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
		riders := l.company(held[0], 10, l.now(), anyText)
		if len(riders) != 2 {
			t.Errorf("%d of 8 waiters for 3 slots ride", len(riders))
		}
		if none := l.company(held[1], 10, l.now(), func(*groupText) bool { return false }); len(none) != 0 {
			t.Errorf("%d ride whose text is not prepared", len(none))
		}
		for i := range riders {
			riders[i].answer(nil)
		}
		for _, s := range held {
			l.release(s)
		}
		drain(l)
	})
}

func TestARiderThatLeavesGetsNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		knownShape(t, l, 1, time.Millisecond)
		s := must(t, l, request{fingerprint: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var a groupAsk
		o := ask(ctx, l, request{fingerprint: 1, ask: &a})
		riders := l.company(s, 10, l.now(), anyText)
		if len(riders) != 1 {
			t.Fatal("nobody rides")
		}
		cancel()
		synctest.Wait()
		if !o.done || !errors.Is(o.err, context.Canceled) || a.rode != nil {
			t.Errorf("%v, %v", o.done, o.err)
		}
		riders[0].answer(nil) // comes too late, and blocks nobody
		l.release(s)
	})
}

func TestWhoRodeInVainGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1, queue: 1})
		s := must(t, l, request{fingerprint: 1})
		other := ask(t.Context(), l, request{fingerprint: 1, class: Critical})
		again := ask(t.Context(), l, request{fingerprint: 1, class: Bulk, again: true})
		if again.done {
			t.Fatalf("refused by a full queue: %v", again.err)
		}
		l.release(s)
		synctest.Wait()
		if !again.done || other.done {
			t.Errorf("who comes again %v, who is critical %v", again.done, other.done)
		}
		drain(l)
	})
}
