package lifeguard

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// rider is a waiter that a leader has taken out of the queue with a promise to answer.
// It holds no slot: the leader's is held for all of them.
type rider struct {
	ask   groupAsk
	w     *waiter
	state atomic.Uint32 // who changes it from riding, answers; or has left

	// The answer, written before w.ready is sent to.
	set  *rowset.Set // nil: ask alone
	slot int         // of the leader, and its connection, to say where from
	ph   *physical
	sent time.Duration
	took time.Duration
}

const (
	riding uint32 = iota
	answered
	left
)

// errRode says that a group has answered, instead of a slot; see request.ask.
var errRode = errors.New("lifeguard: answered by a group")

// company takes the next waiters out of the queue for the holder of s to answer, as
// long as they are statements that it can: known to be short, and not on trial. It
// leaves as many to each other slot. The order is that of grants, and so are the counts.
// knows says whether a statement can be sent at once; it is called with mu held.
func (l *limiter) company(s *slot, most int, now time.Duration, knows func(*groupText) bool) []rider {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(most, l.queued/l.capacity)
	if n < 1 || l.closed {
		return nil
	}
	riders := make([]rider, n)
	taken, work := 0, time.Duration(0)
	for taken < n && l.queued > 0 {
		w := l.nextLocked()
		if w == nil || w.req.ask == nil || w.trial || !knows(w.req.ask.text) {
			break
		}
		mean, _, sure := l.expectLocked(w.req, now)
		if work += mean; !sure || mean > groupHold || work > groupWork {
			break
		}
		if l.doomedLocked(w, now) {
			l.refuseLocked(w, ReasonDeadline, now)
			continue
		}
		r := &riders[taken]
		taken++
		r.w, r.ask, r.slot = w, *w.req.ask, s.index
		w.rider = r
		w.line.toBack(w.flow)
		l.chargeLocked(w)
		w.class.served(l.cfg.queueTarget, now-w.since, now)
		l.dequeueLocked(w, now)
		l.totals.waited(w.req.class, now-w.since)
		l.totals.admitted[w.req.class.index()]++
	}
	s.riders = taken
	return riders[:taken]
}

// answer gives a rider its result, or none, unless it has left or been answered.
func (r *rider) answer(set *rowset.Set) {
	if !r.state.CompareAndSwap(riding, answered) {
		return
	}
	r.set = set
	r.w.ready <- struct{}{}
}
