package lifeguard

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestANestedAcquisitionGoesToTheFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2, txShare: 0.5})
		scoped := requestFrom(Scope(t.Context()))
		scoped.tx = true
		outer := take(t, l, scoped)
		other := take(t, l, request{})
		critical := ask(t.Context(), l, request{class: Critical})
		nested := ask(t.Context(), l, scoped)
		l.release(other)
		synctest.Wait()
		if nested.s == nil || critical.done {
			t.Fatal("the nested one is next, past its class and the transactions' share")
		}
		l.release(nested.s)
		l.release(outer)
		synctest.Wait()
		l.release(critical.s)
		again := take(t, l, scoped) // holds none any more
		l.release(again)
	})
}

func TestStrictScopesRefuseTheSecondSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 5, nestedStrict: true})
		scoped, stranger := requestFrom(Scope(t.Context())), requestFrom(Scope(t.Context()))
		s := take(t, l, scoped)
		if _, err := l.acquire(t.Context(), scoped); !errors.Is(err, ErrNestedAcquire) || errors.Is(err, ErrOverloaded) {
			t.Errorf("nested: %v", err)
		}
		l.release(take(t, l, stranger))
		other := newLimiter(limiterConfig{limit: 1, nestedStrict: true})
		other.release(take(t, other, scoped)) // another database
		other.close()
		l.release(s)
		l.release(take(t, l, scoped))
		if st := l.stats(); st.Nested != 1 {
			t.Errorf("counted %d", st.Nested)
		}
	})
}

// Two requests hold a transaction each and ask for a second slot: the one that
// closes the circle is told, the other goes on.
func TestADeadlockOfScopesIsBrokenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 2, queueTimeout: 30 * time.Second})
		began := time.Now()
		ra, rb := requestFrom(Scope(t.Context())), requestFrom(Scope(t.Context()))
		a, b := take(t, l, ra), take(t, l, rb)
		a.setState(SlotIdleInTx)
		b.setState(SlotRowsOpen)
		na := ask(t.Context(), l, ra)
		if na.done {
			t.Fatalf("b may release at any time: no deadlock, and a got %v", na.err)
		}
		nb := ask(t.Context(), l, rb)
		if !errors.Is(nb.err, ErrNestedAcquire) {
			t.Fatalf("b's second: %+v", nb)
		}
		l.release(b)
		synctest.Wait()
		l.release(na.s)
		l.release(a)
		if d := time.Since(began); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

// A request that runs statements in parallel waits for a second slot while its
// first is at work: that one will be released.
func TestParallelStatementsOfAScopeAreNoDeadlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		r := requestFrom(Scope(t.Context()))
		first := take(t, l, r)
		first.setState(SlotExecuting)
		second, third := ask(t.Context(), l, r), ask(t.Context(), l, r)
		if second.done || third.done {
			t.Fatalf("refused: %v, %v", second.err, third.err)
		}
		l.release(first)
		drain(l)
		if second.s == nil || third.s == nil {
			t.Error("not admitted in the end")
		}
	})
}
