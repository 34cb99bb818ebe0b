package lifeguard

import "time"

// shapes remembers what a hold takes by the statement's fingerprint. One mean for all
// is not enough: beside statements of 50 ms it refuses those of 1 ms, which would have
// been served in time, and lets in long ones whose deadline is too near.
//
// The table is mapped directly: one probe, no allocation, a fixed size. If two
// fingerprints want the same place, the one that is there keeps it until it has not
// been seen for a while; the other is estimated by its class.
type shapes [shapeCount]shape

const (
	shapeCount = 512
	shapeKnown = 4 // samples before a mean is believed
)

// shape is one fingerprint's part.
type shape struct {
	fingerprint uint64
	average
	failures uint8 // deadlines passed on the server since one ended in time, up to trialBackoff

	// Its waiters, by the rank of their class: how many, and what they will take.
	waiters [classCount]int
	work    [classCount]time.Duration
	queued  int

	// Scratch: what is here has been counted anew.
	counted   int           // by overCapLocked and reviewLocked: slots
	lane      uint64        // by reviewLane: the lane that the rest is about
	full, own time.Duration // until when its half of the slots is taken; what its waiters take
}

// find returns the shape of a fingerprint, or nil.
func (t *shapes) find(fingerprint uint64) *shape {
	if s := &t[fingerprint%shapeCount]; s.fingerprint == fingerprint && fingerprint != 0 {
		return s
	}

	return nil
}

// claim returns the shape of a fingerprint, or nil if its place is taken.
func (t *shapes) claim(fingerprint uint64, now time.Duration) *shape {
	s := &t[fingerprint%shapeCount]
	if fingerprint == 0 || s.fingerprint == fingerprint {
		return t.find(fingerprint)
	}
	if s.queued > 0 || s.fingerprint != 0 && !s.stale(now) {
		return nil
	}
	*s = shape{fingerprint: fingerprint}

	return s
}

// shapeOf returns r's shape, or nil. A transaction has none: it was admitted for its
// BEGIN, which says nothing.
func (l *limiter) shapeOf(r request) *shape {
	if r.tx {
		return nil
	}

	return l.shapes.find(r.fingerprint)
}

// expectLocked returns what a hold of r will take and the mean deviation of that: by
// its shape if that is known, else by its class. sure is false for the latter.
func (l *limiter) expectLocked(r request, now time.Duration) (mean, dev time.Duration, sure bool) {
	if s := l.shapeOf(r); s != nil && s.n >= shapeKnown && !s.stale(now) {
		return s.mean, s.dev, true
	}
	kind := l.kindOf(r)

	return kind.known(now), kind.dev, false
}

// workLocked returns what a waiter counts for in the wait of those behind it: nothing, if
// nothing is known of its like, since nobody is refused on a guess.
func (l *limiter) workLocked(r request, now time.Duration) (mean, dev time.Duration) {
	if mean, dev, _ = l.expectLocked(r, now); mean > 0 {
		return mean, dev
	}
	if kind := l.kindOf(r); kind.n >= shapeKnown && !kind.stale(now) {
		return kind.mean, kind.dev
	}

	return 0, 0
}

// joinShapeLocked counts a waiter that enters the queue.
func (l *limiter) joinShapeLocked(w *waiter, now time.Duration) {
	w.expect, w.dev = l.workLocked(w.req, now)
	if w.shape = l.shapes.claim(w.fingerprint, now); w.shape == nil {
		return
	}
	w.shape.queued++
	w.shape.waiters[w.class.rank]++
	w.shape.work[w.class.rank] += w.expect
}

// leaveShape is its opposite.
func (w *waiter) leaveShape() {
	if w.shape == nil {
		return
	}
	w.shape.queued--
	w.shape.waiters[w.class.rank]--
	w.shape.work[w.class.rank] -= w.expect
	w.shape = nil
}

// overCapLocked takes out of a the waiters of classes up to rank that a newcomer
// overtakes, because their fingerprint holds all the slots it may while others wait.
// It looks through one word per slot, twice.
func (l *limiter) overCapLocked(a *ahead, rank int) {
	for _, f := range l.fingerprints {
		s := l.shapes.find(f)
		if s == nil || s.queued == 0 {
			continue
		}
		if s.counted++; s.counted != l.capOf(s) {
			continue
		}
		for i := range rank + 1 {
			a.work -= s.work[i]
		}
		a.own -= s.waiters[rank]
	}
	for _, f := range l.fingerprints {
		if s := l.shapes.find(f); s != nil {
			s.counted = 0
		}
	}
	a.work, a.own = max(a.work, 0), max(a.own, 0)
}
