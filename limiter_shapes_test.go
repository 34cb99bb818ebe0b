package lifeguard

import (
	"testing"
	"testing/synctest"
	"time"
)

// A short statement beside a flood of long ones is neither refused for what the long
// ones take, nor for those it will overtake, nor for want of a place in the queue.
func TestALightStatementGetsThroughAFloodOfHeavyOnes(t *testing.T) {
	t.Parallel()
	for _, queue := range []int{0, 16} {
		synctest.Test(t, func(t *testing.T) {
			l := testLimiter(t, limiterConfig{limit: 4, queue: queue})
			light, heavy := request{fingerprint: 1}, request{fingerprint: 2}
			teach(t, l, light, 20, time.Millisecond)
			teach(t, l, heavy, 40, 50*time.Millisecond)

			held := make([]*slot, 4)
			for i := range held {
				held[i] = take(t, l, heavy)
			}
			for range 28 {
				ask(t.Context(), l, heavy)
			}
			w := ask(within(t, 250*time.Millisecond), l, light)
			if w.done {
				t.Fatalf("queue %d: refused: %v", queue, w.err)
			}
			pass(20 * time.Millisecond)
			for i := range 3 { // down to one heavy slot, under the cap of two
				l.release(held[i])
				synctest.Wait()
			}
			if w.s == nil {
				t.Fatalf("queue %d: not served before the heavy ones: %v", queue, w.err)
			}
			l.release(w.s)
			drain(l)
		})
	}
}

func TestALongStatementIsNotAdmittedTooLateToFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		short, long := request{fingerprint: 1}, request{fingerprint: 2}
		for range 6 { // a mixture, whose mean says nothing about either
			teach(t, l, short, 18, time.Millisecond)
			teach(t, l, long, 2, 150*time.Millisecond)
		}
		s := take(t, l, short)
		refusal(t, ask(within(t, 200*time.Millisecond), l, long).err, ReasonDeadline) // 150 of 200 ms
		w := ask(within(t, 260*time.Millisecond), l, long)
		fits := ask(within(t, 260*time.Millisecond), l, short)
		pass(120 * time.Millisecond) // 140 ms left: enough for a short one only
		l.release(s)
		synctest.Wait()
		refusal(t, w.err, ReasonDeadline)
		if fits.s == nil {
			t.Fatalf("the short statement was given up: %v", fits.err)
		}
		l.release(fits.s)
	})
}

func TestAShapeKeepsItsPlaceWhileItIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(t, limiterConfig{limit: 1})
		first, second := request{fingerprint: 7}, request{fingerprint: 7 + shapeCount}
		teach(t, l, first, 10, time.Millisecond)
		teach(t, l, second, 10, 90*time.Millisecond)
		if mean, _, sure := l.expectLocked(first, l.now()); !sure || mean != time.Millisecond {
			t.Errorf("the first is expected to take %v, sure: %v", mean, sure)
		}
		if _, _, sure := l.expectLocked(second, l.now()); sure {
			t.Error("the second took the place of one that is in use")
		}
		pass(time.Minute)
		teach(t, l, second, 10, 90*time.Millisecond)
		if mean, _, sure := l.expectLocked(second, l.now()); !sure || mean != 90*time.Millisecond {
			t.Errorf("the second is expected to take %v, sure: %v", mean, sure)
		}
	})
}
