package lifeguard

import "time"

// A trial is how the limiter learns what a hold of a shape takes, when others wait and
// it does not know, or has known it for long enough: one statement of that shape goes
// to the front of its line, so that it has its whole deadline.
//
// Without it such statements wait like all others, and get their slots when half of
// their time is gone, two at once: if they are long ones, their deadlines pass on the
// server, one after the other, until there are samples enough. And once they are known
// to be long, they are refused as long as the overload lasts, whatever has become of
// them.
//
// Trials are rare, so that they cost the others little: one at a time, and after each the
// slots belong to the others for trialRest times as long. A shape that is known gets its
// next when it has not been seen for as long as makes an average stale, and twice as
// long after each trial whose deadline passed on the server, up to trialBackoff times.
//
// A deadline that passes on the server is a sample too: the hold would have taken longer
// than it did. It counts as the time plus the mean, which is what a hold of exponential
// length would have gone on for; and at least twice the time, since a mean of so few that
// ended says little.
type trials struct {
	on   bool          // one waits, or holds a slot
	next time.Duration // not before, since l.epoch
}

const (
	trialRest    = 8
	trialBackoff = 3 // as a shift
)

// knownShape returns r's shape, or nil if nothing was learned of it since the limiter
// learns without a gap. Unlike an average it does not become stale: what takes long
// would be refused until it does, and then let in too late once more; trials renew it.
func (l *limiter) knownShape(r request) *shape {
	if s := l.shapeOf(r); s != nil && s.n > 0 && s.last >= l.learned {
		return s
	}

	return nil
}

// untried reports whether nothing is known of a shape while it is known of others. If a
// fingerprint has no place among the shapes, nothing tells.
func (l *limiter) untried(s *shape) bool {
	return s != nil && (s.n == 0 || s.last < l.learned) && l.holds.n >= averageKnown
}

// ownLocked returns what a hold of r will take for r's own decision, which needs less
// than an estimate of what many do: from the first sample on; and before that, as long as
// the one that is being tried has already taken. sure is false if it is by class.
func (l *limiter) ownLocked(r request, now time.Duration) (mean, dev time.Duration, sure bool) {
	s := l.knownShape(r)
	if s == nil {
		if hold := l.triedLocked(r, now); hold > 0 {
			return hold, 0, true
		}

		return l.expectLocked(r, now)
	}
	if s.n < shapeKnown {
		return s.mean, max(s.dev, s.mean/4), true
	}

	return s.mean, s.dev, true
}

// triedLocked returns for how long one of r's shape has been at work, if nothing is known
// of that but this. It looks through one word per slot.
func (l *limiter) triedLocked(r request, now time.Duration) time.Duration {
	if !l.untried(l.shapeOf(r)) {
		return 0
	}
	longest := time.Duration(0)
	for i, f := range l.fingerprints {
		if f == r.fingerprint {
			longest = max(longest, now-l.all[i].acquired)
		}
	}

	return longest
}

// trialDue reports whether a statement should be tried for its shape's sake.
func (l *limiter) trialDue(c *class, r request, deadline, now time.Duration) bool {
	if deadline == 0 || l.holds.n < averageKnown || l.trial.on || now < l.trial.next || c.rank == nestedRank || c.shedding {
		return false // newest first is first enough
	}
	s := l.shapes.claim(r.fingerprint, now)
	if s == nil || r.tx {
		return false
	}
	for _, f := range l.fingerprints {
		if f == r.fingerprint {
			return false // one is on its way
		}
	}
	return l.untried(s) || now-s.last > (time.Second+4*s.mean)<<min(s.failures, trialBackoff)
}

// endTrialLocked lets the others have the slots.
func (l *limiter) endTrialLocked(s *slot, now time.Duration) {
	s.trial, l.trial.on = false, false
	l.trial.next = now + trialRest*max(now-s.acquired, 0)
}

// learnShapeLocked learns from a hold of a shape.
func (l *limiter) learnShapeLocked(s *slot, hold, now time.Duration) {
	if s.req.tx {
		return
	}
	sh := l.shapes.claim(s.req.fingerprint, now)
	switch {
	case sh == nil:
	case s.expired:
		sh.failures = min(sh.failures+1, trialBackoff)
		sh.add(hold+max(hold, sh.mean), now)
	default:
		sh.failures = 0
		sh.add(hold, now)
	}
}
