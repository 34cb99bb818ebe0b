package lifeguard

import "time"

// nextLocked chooses who gets a free slot, without taking it out of the queue;
// nil if only transactions beyond their share wait.
//
// Between the classes decides self-clocked fair queueing: each class carries the
// virtual time at which its next is done, the smallest is served and becomes the
// time of day, and a grant moves the class on by cost ÷ weight. (S. J. Golestani,
// "A Self-Clocked Fair Queueing Scheme for Broadband Applications", INFOCOM
// 1994; stride scheduling, Waldspurger and Weihl 1995, is the same idea.) A class
// without waiters has no say, so nothing is kept free for it. Two newcomers
// start their costs from now: the heavier weight goes first.
func (l *limiter) nextLocked() *waiter {
	var best *class
	for i := range l.classes {
		c := &l.classes[i]
		if c.lines[0].n == 0 && (c.lines[1].n == 0 || l.txHeld >= l.txMax) {
			continue
		}
		if i == nestedRank {
			best = c

			break
		}
		if best == nil || c.finish < best.finish {
			best = c
		}
	}
	if best == nil {
		return nil
	}

	return l.nextOf(best)
}

// chargeLocked moves w's class on for a grant to w. What the class's next will
// cost is not known; it is charged what this one does, which comes to the same.
func (l *limiter) chargeLocked(w *waiter) {
	c := w.class
	if c.rank == nestedRank {
		return
	}
	l.virtual = max(l.virtual, c.finish)
	c.finish = l.virtual + l.costLocked(c, w.req)
}

// costLocked is what a grant to r adds to its class's virtual time: a hold of its
// shape or kind, in microseconds, by the class's weight. By time and not by grants, so
// that a load in chunks of 50 ms does not take fifty times its share.
func (l *limiter) costLocked(c *class, r request) uint64 {
	if c.rank == nestedRank {
		return 0
	}
	hold := l.kindOf(r).mean
	if s := l.shapeOf(r); s != nil && s.n >= shapeKnown {
		hold = s.mean
	}
	if hold == 0 {
		hold = l.holds.mean
	}
	hold = min(max(hold, time.Microsecond), time.Minute)

	return uint64(hold/time.Microsecond) * (classWeights[1] / classWeights[c.rank])
}

// nextOf chooses inside a class: between statements and transactions by age.
func (l *limiter) nextOf(c *class) *waiter {
	var a, b *waiter
	if c.lines[0].n > 0 {
		a = l.nextInTurn(&c.lines[0], c.shedding)
	}
	if c.lines[1].n > 0 && l.txHeld < l.txMax {
		b = l.nextInTurn(&c.lines[1], c.shedding)
	}
	if a == nil {
		return b
	}
	if b != nil && b.before(a, c.shedding) {
		return b
	}

	return a
}

// before reports whether w goes before v.
func (w *waiter) before(v *waiter, newestFirst bool) bool {
	return (w.number < v.number) != newestFirst
}

// nextInTurn chooses between the tenants: the first in turn that has a waiter
// under its fingerprint's cap. If none has, nobody else waits, and the cap is
// void: no slot idles for it. It is void for those last of whose like one is
// being tried.
func (l *limiter) nextInTurn(q *line, newestFirst bool) *waiter {
	f := q.turn
	for range min(q.flows, lookAhead) {
		if w := l.eligible(f, newestFirst); w != nil {
			return w
		}
		f = f.next
	}

	if w := l.firstKnown(q.turn, newestFirst); w != nil {
		return w
	}

	return q.turn.first(newestFirst)
}

// firstKnown returns f's first waiter that is not of a shape of which nothing is known.
// All of f are aside, unless its class sheds.
func (l *limiter) firstKnown(f *flow, newestFirst bool) *waiter {
	var best *waiter
	for _, q := range f.aside {
		if l.untried(l.shapes.find(q.fingerprint)) {
			continue
		}
		if w := q.end(newestFirst); w != nil && (best == nil || w.before(best, newestFirst)) {
			best = w
		}
	}

	return best
}

// eligible returns f's first waiter whose fingerprint is under its cap. Those it
// passes over it moves aside, so that the next search does not meet them again;
// their lane comes back into the choice, by age, when the cap allows.
func (l *limiter) eligible(f *flow, newestFirst bool) *waiter {
	var best *waiter
	kept := f.aside[:0]
	for _, q := range f.aside {
		w := q.end(newestFirst)
		if w == nil {
			continue
		}
		kept = append(kept, q)
		if (best == nil || w.before(best, newestFirst)) && !l.atCap(q.fingerprint) {
			best = w
		}
	}
	clear(f.aside[len(kept):])
	f.aside = kept

	if newestFirst {
		// The queue of a class that sheds is short: no need to move anybody.
		for w := f.lane.tail; w != nil && (best == nil || w.number > best.number); w = w.prev {
			if !l.atCap(w.fingerprint) {
				return w
			}
		}

		return best
	}
	for w := f.lane.head; w != nil && (best == nil || w.number < best.number); w = f.lane.head {
		if !l.atCap(w.fingerprint) {
			return w
		}
		f.setAside(w)
	}

	return best
}

// first returns the first waiter, capped or not.
func (f *flow) first(newestFirst bool) *waiter {
	best := f.lane.end(newestFirst)
	for _, q := range f.aside {
		if w := q.end(newestFirst); w != nil && (best == nil || w.before(best, newestFirst)) {
			best = w
		}
	}

	return best
}

func (q *lane) end(newest bool) *waiter {
	if newest {
		return q.tail
	}

	return q.head
}

func (f *flow) setAside(w *waiter) {
	f.lane.remove(w)
	for _, q := range f.aside {
		if q.fingerprint == w.fingerprint {
			q.push(w)

			return
		}
	}
	q := &lane{fingerprint: w.fingerprint}
	f.aside = append(f.aside, q)
	q.push(w)
}

// atCap reports whether a fingerprint holds all the slots that it may while
// others wait.
func (l *limiter) atCap(fingerprint uint64) bool {
	if fingerprint == 0 {
		return false
	}
	held := 0
	for _, f := range l.fingerprints {
		if f == fingerprint {
			held++
		}
	}

	if held == 0 {
		return false // a cap is at least 1
	}

	return held >= l.capOf(l.shapes.find(fingerprint))
}

// capOf returns how many slots a fingerprint may hold while others wait.
func (l *limiter) capOf(s *shape) int {
	if l.untried(s) {
		return 1
	}

	return l.capShare
}

// turnsBefore returns how many waiters of the class a newcomer of this tenant
// has before it because of the turns, or -1 if there are none to take.
func (c *class) turnsBefore(r request) int {
	q := &c.lines[0]
	if q.flows == 0 || q.flows == 1 && q.turn.tenant == r.tenant {
		return -1
	}
	own := q.nobodys.n
	if r.tenant != "" {
		own = 0
		if f := q.byTenant[r.tenant]; f != nil {
			own = f.n
		}
	}

	return (own + 1) * q.flows
}

// makeRoomLocked evicts the newest waiter of the lowest class below c; or, in c itself,
// the newest of a tenant whose line is longer than the newcomer's would be; or, of the
// newest there, one whose fingerprint holds its half of the slots while the newcomer's
// does not, or that waits for a trial while the newcomer is known. So a flood of one class, tenant or statement fills the queue only until
// others come. It reports whether there is room now.
func (l *limiter) makeRoomLocked(c *class, r request, now time.Duration) bool {
	if l.maxQueue == 0 {
		return false
	}
	for i := classCount - 1; i > c.rank; i-- {
		if w := l.classes[i].newest; w != nil {
			l.refuseLocked(w, ReasonQueueFull, now)

			return true
		}
	}
	w := c.longestTenant(r.tenant)
	if w == nil {
		w = l.newestOverCap(c, r)
	}
	if w == nil {
		return false
	}
	l.refuseLocked(w, ReasonQueueFull, now)

	return true
}

// longestTenant returns the newest waiter of the longest line, or nil if that is no
// longer than the line of tenant would be.
func (c *class) longestTenant(tenant string) *waiter {
	q := &c.lines[0]
	if q.flows == 0 {
		return nil
	}
	own := q.nobodys.n
	if tenant != "" {
		own = 0
		if f := q.byTenant[tenant]; f != nil {
			own = f.n
		}
	}
	longest := q.turn
	for f, i := q.turn, 0; i < min(q.flows, lookAhead); f, i = f.next, i+1 {
		if f.n > longest.n {
			longest = f
		}
	}
	if longest.n <= own+1 {
		return nil
	}
	if q.flows == 1 && longest.tenant == tenant {
		return nil
	}

	return longest.first(true)
}

// newestOverCap looks for a waiter whose fingerprint is at its cap, and goes after r: if
// r's is, too, for one of which nothing is known.
func (l *limiter) newestOverCap(c *class, r request) *waiter {
	over := l.atCap(r.fingerprint)
	if over && l.untried(l.shapeOf(r)) {
		return nil
	}
	w := c.newest
	for range lookAhead {
		if w == nil || l.atCap(w.fingerprint) && (!over || l.untried(l.shapes.find(w.fingerprint))) {
			return w
		}
		w = w.older
	}

	return nil
}
