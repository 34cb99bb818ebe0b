package lifeguard

import "time"

// reviewLocked is the check while waiting: who will not be served in time, by what is
// known now, is told now and not when the time is up. The check on arrival lets in
// too many whenever it knows too little: at the start, when nothing is known yet, and
// when the server becomes slower. So this runs after the first few samples, again
// whenever there are twice as many, and with every tick.
//
// It asks for all of the time left, not for half of it, and for twice the time left
// until there are enough samples for the check on arrival: newcomers may be turned away
// on a suspicion, but who has waited already is not given up before it is clear. And it
// counts only those certainly served before, the ones in the same lane; turns, higher
// classes and the slots that transactions may not take can only add to the wait.
func (l *limiter) reviewLocked(now time.Duration) {
	if l.holds.n < shapeKnown || l.holds.stale(now) {
		return
	}
	guess := l.holds.n < averageKnown
	for i := range l.classes {
		c := &l.classes[i]
		if c.shedding {
			continue // newest first; the old go by their age
		}
		for w := c.oldest; w != nil; {
			next, q := w.newer, w.lane
			own := l.reconsiderLocked(w, now)
			if w.prev == nil {
				q.passed = 0
			}
			left := w.deadline - now
			if guess {
				left *= 2
			}
			if w.deadline > 0 && q.passed/time.Duration(l.capacity)+own > left {
				l.refuseLocked(w, ReasonDeadline, now)
			} else {
				q.passed += w.expect
			}
			w = next
		}
	}
}

// reconsiderLocked expects of a waiter what is known now, and returns what its own hold
// will take: nothing, if its shape is new, as on arrival.
func (l *limiter) reconsiderLocked(w *waiter, now time.Duration) time.Duration {
	mean, dev, sure := l.expectLocked(w.req, now)
	own := mean
	if !sure && !w.req.tx && w.req.fingerprint != 0 {
		own = 0
	}
	if mean == 0 {
		mean, dev = l.holds.mean, l.holds.dev
	}
	w.line.expect(w, mean, dev)

	return own
}
