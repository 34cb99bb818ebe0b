package lifeguard

import "time"

// reviewLocked is the check while waiting: who will not be served in time, by what is
// known now, is told now and not when the time is up. The check on arrival lets in
// too many whenever it knows too little: at the start, when nothing is known yet, and
// when the server becomes slower. So this runs after the first few samples, again
// whenever there are twice as many, and every tickPeriod; not while a probe holds the
// limit down, which is over before anybody could be sure.
//
// It does not ask for half of the time left: who gets a slot when the check on grant
// still lets it pass, is in time. And it doubles the time left until there are enough
// samples for the check on arrival: newcomers may be turned away on a suspicion, but who
// has waited already is not given up before it is clear. It counts only those certainly
// served before, of the same lane; turns, higher classes and the slots that
// transactions may not take can only add to the wait.
func (l *limiter) reviewLocked(now time.Duration) {
	if l.timed == 0 || l.probing || l.holds.n < shapeKnown || l.holds.stale(now) {
		return
	}
	for _, f := range l.fingerprints {
		if s := l.shapes.find(f); s != nil {
			s.counted++
		}
	}
	for i := range l.classes {
		c := &l.classes[i]
		if c.shedding {
			continue // newest first; the old go by their age
		}
		for j := range c.lines {
			f := c.lines[j].turn
			for range c.lines[j].flows {
				next := f.next // f parts when its last waiter goes
				l.reviewLane(&f.lane, now)
				for _, q := range f.aside {
					l.reviewLane(q, now)
				}
				f = next
			}
		}
	}
	for _, f := range l.fingerprints {
		if s := l.shapes.find(f); s != nil {
			s.counted = 0
		}
	}
}

// reviewLane reviews the waiters of one lane, the oldest first.
func (l *limiter) reviewLane(q *lane, now time.Duration) {
	l.lanes++
	p := passed{l: l}
	guess := l.holds.n < averageKnown
	for w := q.head; w != nil; {
		next := w.next
		own, dev, cost := l.reconsiderLocked(w, now)
		wait := p.wait(w)
		need := max(wait-p.running(), 0)
		if own > 0 {
			need += w.needs(own, dev) // or it is refused on grant
		}
		if guess {
			need /= 2
		}
		if w.deadline > 0 && need > w.deadline-now {
			l.refuseLocked(w, ReasonDeadline, now)
		} else {
			p.add(w, wait, cost)
		}
		w = next
	}
}

// reconsiderLocked expects of a waiter what is known now, and returns what its own hold
// will take, with the mean deviation: nothing, if its shape is new, as on arrival; and
// what those behind it can be sure that it will take.
func (l *limiter) reconsiderLocked(w *waiter, now time.Duration) (own, ownDev, cost time.Duration) {
	own, ownDev, sure := l.ownLocked(w.req, now)
	if !sure && !w.req.tx && w.req.fingerprint != 0 || w.trial {
		own, ownDev = 0, 0
	}
	cost, dev := l.workLocked(w.req, now)
	w.line.expect(w, cost, dev)

	return own, ownDev, cost
}

// passed is what of a lane has been reviewed, and how much of it is certainly served
// before the next.
//
// Certain it is not of a statement whose fingerprint will hold its half of the slots
// when its turn comes: those behind it are served first. That is what a leaky bucket
// tells (the virtual scheduling of ITU-T I.371): each fingerprint has the cap's slots,
// without those that it holds now, when the lane comes to its first, and gets them back
// at the rate at which it can work with so many.
type passed struct {
	l    *limiter
	work time.Duration // what they will take, without those passed over
	all  time.Duration // with them
	n    int           // with them
}

// lap returns w's shape with the scratch of this lane, or nil.
func (p *passed) lap(w *waiter) *shape {
	s := w.shape
	if s != nil && s.lane != p.l.lanes {
		s.lane, s.own, s.full = p.l.lanes, 0, 0
	}

	return s
}

// wait returns how long w waits at least: for what is certainly before it, or, if that
// is longer, for its own fingerprint to get through half of the slots, which then are
// all it may have; unless only such as are over their cap are left, and order is by age.
func (p *passed) wait(w *waiter) time.Duration {
	slots := time.Duration(p.l.capacity)
	at := p.work / slots
	if s := p.lap(w); s != nil {
		at = max(at, min(s.own/time.Duration(p.l.capOf(s)), p.all/slots))
	}

	return at
}

// running is what of that may still be at work when the next gets its slot.
func (p *passed) running() time.Duration {
	if p.n == 0 {
		return 0
	}

	return p.all / time.Duration(p.n) * time.Duration(p.l.capacity-1) / time.Duration(p.l.capacity)
}

// add counts a waiter that takes cost and waits at least for wait.
func (p *passed) add(w *waiter, wait, cost time.Duration) {
	p.n++
	p.all += cost
	if w.fingerprint == 0 {
		p.work += cost

		return
	}
	s := p.lap(w)
	if s == nil {
		return // its fingerprint may be any
	}
	s.own += cost
	share := cost / time.Duration(p.l.capOf(s))
	if s.full == 0 {
		s.full = time.Duration(s.counted) * share
	}
	s.full = max(s.full, wait) + share
	if s.full <= wait+cost || p.l.capacity == 1 { // one slot is free again before it is given
		p.work += cost
	}
}
