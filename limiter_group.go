package lifeguard

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// rider is a waiter that a leader has taken out of the queue with a promise to answer.
// It holds no slot: the leader's is held for all of them.
//
//	            leader                        caller's context
//	queued ──────────────► riding ───────────────────────────► left
//	   ▲     company         │ │ answer
//	   └─────────────────────┘ └──────────────────────────────► answered
//	     sendBack, never again
type rider struct {
	ask   groupAsk
	req   request
	w     *waiter
	state atomic.Uint32 // who changes it from riding, decides

	// The answer, written before w.ready is sent to.
	set  *rowset.Set
	slot int // of the leader, and its connection, to say where from
	ph   *physical
	sent time.Duration
	took time.Duration // since then
	own  time.Duration // of that, after the one before it
}

const (
	riding uint32 = iota
	answered
	left
	sentBack
)

// errRode says that a group has answered, instead of a slot; see request.ask.
var errRode = errors.New("lifeguard: answered by a group")

// hasCompany reports whether the holder of s could take somebody along.
func (l *limiter) hasCompany(s *slot) bool {
	now := l.now()

	l.mu.Lock()
	defer l.mu.Unlock()
	if work := l.workOfLeaderLocked(s, now); work > 0 && l.queued >= l.capacity && !l.closed {
		_, _, ok := l.nextRiderLocked(work, now)

		return ok
	}

	return false
}

// company takes the next waiters out of the queue for the holder of s to answer, as
// long as they are statements that it can: known to be short, like its own, and with
// time enough. It leaves as many to each other slot. The order is that of grants.
// known says whether a statement can be sent at once; it is called with mu held.
func (l *limiter) company(s *slot, most int, known func(query string) bool) []rider {
	now := l.now()

	l.mu.Lock()
	defer l.mu.Unlock()
	work := l.workOfLeaderLocked(s, now)
	n := min(most, l.queued/l.capacity)
	if n < 1 || l.closed || work == 0 {
		return nil
	}
	var riders []rider
	taken := 0
	for taken < n {
		w, mean, ok := l.nextRiderLocked(work, now)
		if !ok || !known(w.req.ask.query) {
			break
		}
		if riders == nil {
			riders = make([]rider, n)
		}
		l.takeAlongLocked(&riders[taken], w, s, now)
		work += mean
		taken++
	}

	return riders[:taken]
}

// workOfLeaderLocked returns what the holder of s will take itself, or 0 if that is not
// known or long: then it leads nobody.
func (l *limiter) workOfLeaderLocked(s *slot, now time.Duration) time.Duration {
	mean, _, sure := l.expectLocked(s.req, now)
	if !sure || mean > groupHold {
		return 0
	}

	return max(mean, 1)
}

// nextRiderLocked returns the next waiter, and what it will take, unless it must wait for a
// slot of its own.
func (l *limiter) nextRiderLocked(work, now time.Duration) (w *waiter, mean time.Duration, ok bool) {
	if l.queued == 0 {
		return nil, 0, false
	}
	w = l.nextLocked()
	if w == nil || w.req.ask == nil || !w.req.ask.mayRide() || w.trial {
		return nil, 0, false
	}
	if w.deadline > 0 && w.deadline-now < 4*groupPatience { // who is sent back still has time
		return nil, 0, false
	}
	mean, _, sure := l.expectLocked(w.req, now)
	if !sure || mean > groupHold || work+mean > groupWork {
		return nil, 0, false
	}

	return w, mean, true
}

// takeAlongLocked makes a waiter a rider. It is counted when it has been answered.
func (l *limiter) takeAlongLocked(r *rider, w *waiter, s *slot, now time.Duration) {
	r.w, r.req, r.slot = w, w.req, s.index
	// Its caller may leave, and use its arguments' place again, while they are sent.
	r.ask = groupAsk{query: w.req.ask.query, args: slices.Clone(w.req.ask.args)}
	r.req.ask = nil
	w.rider = r
	w.line.toBack(w.flow)
	l.chargeLocked(w)
	w.class.served(l.cfg.queueTarget, now-w.since, now)
	l.dequeueLocked(w, now)
}

// answer gives a rider its result, unless it has left.
func (r *rider) answer(set *rowset.Set) {
	r.set = set
	if r.state.CompareAndSwap(riding, answered) {
		r.w.ready <- struct{}{}
	}
}

// sendBack puts riders that have no answer to where they were in the queue.
func (l *limiter) sendBack(riders []rider) int {
	now := l.now()
	n := 0

	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range riders {
		r := &riders[i]
		if !r.state.CompareAndSwap(riding, sentBack) {
			continue
		}
		n++
		w := r.w
		w.rider, w.req.ask, w.again = nil, nil, true
		if l.closed {
			w.err = ErrClosed
			w.ready <- struct{}{}

			continue
		}
		c := &l.classes[w.req.class.index()+1]
		if w.nested {
			c = &l.classes[nestedRank]
		}
		l.enqueueLocked(c, w)
	}
	if n > 0 && !l.closed {
		l.dispatchLocked(now)
		l.armed = false // for one that is older than those it was armed for
		l.armLocked(now)
	}

	return n
}

// leftGroupLocked reports whether a waiter was riding, and does no more: its leader will
// find that nobody wants the answer.
func (l *limiter) leftGroupLocked(w *waiter) bool {
	return w.rider != nil && w.rider.state.CompareAndSwap(riding, left)
}

// learnGroup counts riders that were answered, each as if it had held a slot by itself,
// and learns what they took. shared is what s was held for them.
func (l *limiter) learnGroup(s *slot, riders []rider, shared time.Duration) {
	now := l.now()
	s.shared += shared

	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range riders {
		r := &riders[i]
		if r.state.Load() != answered {
			continue
		}
		l.holds.add(r.own, now)
		l.kindOf(r.req).add(r.own, now)
		if sh := l.shapes.claim(r.req.fingerprint, now); sh != nil {
			sh.failures = 0
			sh.add(r.own, now)
		}
	}
}

// countRider counts a rider that has its answer, unless its own context has ended too.
func (l *limiter) countRider(p Priority, waited time.Duration, own error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own != nil {
		l.totals.canceled++

		return
	}
	l.totals.waited(p, waited)
	l.totals.admitted[p.index()]++
}
