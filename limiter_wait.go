package lifeguard

import (
	"context"
	"errors"
	"time"
)

// waiter is a caller in the queue. After it has left the lists and its channel
// has been read, it goes back to limiter.waiters.
type waiter struct {
	ready chan struct{} // one place; the answer is there

	// Set on arrival, then only read.
	req         request
	since       time.Duration // arrival, since l.epoch
	deadline    time.Duration // since l.epoch; 0 is none
	number      uint64        // in order of arrival
	fingerprint uint64        // for the half-of-the-slots rule; 0 is exempt
	nested      bool
	trial       bool          // goes first in its lane; see trials
	expect, dev time.Duration // what its hold will take, and the mean deviation

	// Guarded by l.mu.
	class        *class // nil once it has left the queue
	line         *line
	flow         *flow
	lane         *lane
	shape        *shape  // where it is counted; nil if its fingerprint has no place
	rider        *rider  // once a leader has taken it along
	again        bool    // and has sent it back: it keeps its number
	prev, next   *waiter // in lane
	older, newer *waiter // in class

	// The answer, written before ready is sent to.
	slot   *slot
	err    error
	waited time.Duration
}

// acquireSlowly decides what the fast path could not. It is called with mu held
// and releases it.
func (l *limiter) acquireSlowly(ctx context.Context, r request, now time.Duration) (*slot, error) {
	w, s, err := l.admitOrEnqueueLocked(ctx, r, now)
	l.mu.Unlock()
	switch {
	case err != nil:
		l.report(r.class, 0, resultOf(err))

		return nil, err
	case s != nil:
		l.report(r.class, 0, waitAdmitted)

		return s, nil
	}

	select {
	case <-w.ready:
	case <-ctx.Done():
		l.leave(w)
	}
	s, err, waited := w.slot, w.err, w.waited
	if w.rider != nil && w.rider.state.Load() == left {
		l.report(r.class, waited, waitCanceled)

		return nil, ctx.Err() // and w stays the leader's
	}
	if w.rider != nil {
		r.ask.rode, err = w.rider, errRode
		l.countRider(r.class, waited, ctx.Err())
	}
	l.recycle(w)

	// Both may have happened: the caller's own end wins, and a slot is passed on.
	if own := ctx.Err(); own != nil {
		if s != nil {
			l.passOn(s)
		}
		s, err = nil, own
	}
	l.report(r.class, waited, resultOf(err))

	return s, err
}

// admitOrEnqueueLocked returns a slot, a waiter that is in the queue, or an error.
func (l *limiter) admitOrEnqueueLocked(ctx context.Context, r request, now time.Duration) (*waiter, *slot, error) {
	if l.closed {
		return nil, nil, ErrClosed
	}
	nested := false
	if r.scope != nil {
		held, _ := r.scope.counts(l)
		nested = held > 0
	}
	if nested && (l.cfg.nestedStrict || l.deadlockedLocked(r.scope)) {
		l.totals.nested++

		return nil, nil, ErrNestedAcquire
	}
	if l.inFlight < l.capacity && (nested || !r.tx || l.txHeld < l.txMax) {
		return nil, l.takeLocked(r, now), nil
	}

	c := &l.classes[r.class.index()+1]
	if nested {
		c = &l.classes[nestedRank]
	}
	deadline := time.Duration(0)
	if at, ok := ctx.Deadline(); ok {
		deadline = max(at.Sub(l.epoch), 1)
		if now >= deadline {
			return nil, nil, context.DeadlineExceeded // the context is about to say so
		}
	}
	trial := l.trialDue(c, r, deadline, now)
	if !trial && l.hopelessLocked(c, r, deadline, now) {
		return nil, nil, l.overloadLocked(ReasonDeadline, r.class, l.queued, 0)
	}
	if l.queued >= l.maxQueue && !l.makeRoomLocked(c, r, now) {
		return nil, nil, l.overloadLocked(ReasonQueueFull, r.class, l.queued, 0)
	}

	w, _ := l.waiters.Get().(*waiter)
	w.req, w.since, w.deadline, w.nested, w.trial = r, now, deadline, nested, trial
	if !r.tx && !nested {
		w.fingerprint = r.fingerprint
	}
	l.enqueueLocked(c, w)
	l.armLocked(now)

	return w, nil, nil
}

// leave takes a waiter whose context has ended out of the queue, or off its group, or takes
// the answer that was faster.
func (l *limiter) leave(w *waiter) {
	now := l.now()

	l.mu.Lock()
	gone := w.class != nil
	switch {
	case gone:
		l.dequeueLocked(w, now)
	default:
		gone = l.leftGroupLocked(w)
	}
	if gone {
		l.totals.canceled++
		w.waited = now - w.since
	}
	l.mu.Unlock()
	if !gone {
		<-w.ready
	}
}

// passOn releases a slot that its owner never used. It is no sample of a hold.
func (l *limiter) passOn(s *slot) {
	now := l.now()

	l.mu.Lock()
	l.totals.canceled++
	l.giveBackLocked(s, now)
	l.unlockWithout(s)
}

// recycle keeps the channel, and lets go of what the caller owns.
func (l *limiter) recycle(w *waiter) {
	*w = waiter{ready: w.ready}
	l.waiters.Put(w)
}

// refuseLocked answers a waiter with an OverloadError.
func (l *limiter) refuseLocked(w *waiter, why OverloadReason, now time.Duration) {
	if w.deadline > 0 && now >= w.deadline {
		l.totals.canceled++
		l.answerLocked(w, context.DeadlineExceeded, now) // its own; the context is about to say so

		return
	}
	l.answerLocked(w, l.overloadLocked(why, w.req.class, l.queued-1, now-w.since), now)
}

// answerLocked takes the waiter out of the queue and wakes it with an error.
func (l *limiter) answerLocked(w *waiter, err error, now time.Duration) {
	l.dequeueLocked(w, now)
	w.err = err
	w.ready <- struct{}{}
}

func resultOf(err error) waitResult {
	switch {
	case err == nil, errors.Is(err, errRode):
		return waitAdmitted
	case errors.Is(err, ErrClosed):
		return waitClosed
	case errors.Is(err, ErrOverloaded), errors.Is(err, ErrNestedAcquire):
		return waitRefused
	}

	return waitCanceled
}

// tickPeriod is how often the queue is looked at while somebody waits.
const tickPeriod = 100 * time.Millisecond

// armLocked keeps invariant 5.
func (l *limiter) armLocked(now time.Duration) {
	if l.armed || l.queued == 0 || l.closed {
		return
	}
	next := tickPeriod
	if l.cfg.queueTimeout > 0 {
		next = min(next, l.cfg.queueTimeout)
	}
	if l.cfg.queueTarget > 0 {
		next = min(next, l.cfg.queueTarget)
	}
	for i := range l.classes {
		c := &l.classes[i]
		if limit, _ := l.longestWait(c); limit > 0 && c.oldest != nil {
			next = min(next, c.oldest.since+limit-now)
		}
	}
	next = max(next, time.Microsecond)
	if l.timer == nil {
		l.timer = time.AfterFunc(next, l.tick)
	} else {
		l.timer.Reset(next)
	}
	l.armed = true
}

// tick is the timer's function: it runs while somebody waits, and at most once
// more.
func (l *limiter) tick() {
	now := l.now()

	l.mu.Lock()
	l.armed = false
	for i := range l.classes {
		l.shedLocked(&l.classes[i], now)
	}
	if now-l.reviewed >= tickPeriod { // the timer may run for each who has waited too long
		l.reviewed = now
		l.reviewLocked(now)
	}
	report, stalled := l.stallLocked(now)
	l.armLocked(now)
	l.mu.Unlock()

	if stalled && l.cfg.onStall != nil {
		l.cfg.onStall(report)
	}
}

// longestWait returns how long a waiter of c may wait, 0 for ever, and what it
// is told then.
func (l *limiter) longestWait(c *class) (time.Duration, OverloadReason) {
	if c.shedding && (l.cfg.queueTimeout == 0 || l.cfg.queueTarget < l.cfg.queueTimeout) {
		return l.cfg.queueTarget, ReasonCoDel
	}

	return l.cfg.queueTimeout, ReasonTimeout
}
