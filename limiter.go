package lifeguard

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// limiterConfig is what a limiter needs to know. Zero is what the comment says;
// config.go resolves the user's conventions.
type limiterConfig struct {
	limit        int           // slots; at least 1
	maxLimit     int           // setLimit's upper bound; 0 = none
	queue        int           // waiters before refusal; 0 = 100 × limit, following it; < 0 = nobody waits
	queueTimeout time.Duration // longest wait; 0 = none
	queueTarget  time.Duration // CoDel's target; 0 = off
	txShare      float64       // what transactions may take of the limit, at least one slot; 0 = all
	nestedStrict bool          // refuse every nested acquisition of a Scope

	// Callbacks may be nil. They run without the limiter's lock.
	onStall  func(stall)                               // once per episode
	onSample func(sample)                              // from slot.observe
	onWait   func(Priority, time.Duration, waitResult) // once per acquire
	onSpare  func(*physical)                           // a connection that was to go with a slot, which nobody has taken
}

// waitResult says how an acquire ended.
type waitResult uint8

const (
	waitAdmitted waitResult = iota
	waitRefused             // an OverloadError or ErrNestedAcquire
	waitCanceled            // the caller's context ended
	waitClosed
)

// limiter admits at most capacity callers at a time, makes a bounded number of
// others wait in order, and refuses the rest.
//
// A caller's states; everything but the two marked arrows happens under mu:
//
//	            free slot
//	acquire ──────────────────────────────► admitted ──► release
//	   │ no slot                                ▲ grant     │
//	   ├──► refused: full, deadline, nested     │           │ dispatch: the
//	   ▼                                        │           │ slot goes to the
//	queued ─────────────────────────────────────┘ ◄─────────┘ next waiter
//	   ├──► refused: timeout, codel, doomed, evicted, closed
//	   ├──► gone: ctx ended (*); if a grant was faster, the slot is released
//	   │                     (*) and so handed on
//	   └──► riding: a holder answers it with its own statement; see rider. Gone (*) if its
//	        ctx ends first; without an answer it is queued again, where it was
//
// Invariants, whenever mu is free:
//
//  1. inFlight is the number of slots with held set, and
//     sum(granted) − sum(released). It exceeds capacity only after a
//     shrink, and then never grows.
//  2. inFlight < capacity ⇒ nobody waits, except transactions that txShare
//     holds back. So a newcomer that finds a free slot (and is not held back
//     itself) overtakes nobody, and the fast path need not look at the queue.
//  3. A waiter is in exactly one lane and in its class's list by age, or its
//     answer is in its channel. Who takes it out of the lists, under mu, sends
//     the answer, so there is exactly one: the channel's one place suffices and
//     the send never blocks. A rider is in neither until it is answered, leaves, or
//     is sent back: whoever changes rider.state.
//  4. A granted slot belongs to the waiter before it wakes. If the waiter finds
//     its context ended, it releases the slot; dispatch passes it on.
//  5. queued > 0 ⇒ the timer is armed, and it fires no later than the first
//     waiter's time is up: all waiters share one limit, so the oldest of each
//     class is the first, and the period is never longer than that limit.
//  6. Within a line, order is by arrival. Exceptions: over-the-cap
//     fingerprints are passed over, CoDel's newest-first, and one trial at a time.
//  7. trial.on ⇔ exactly one waiter, or the holder of exactly one slot, is a trial.
//
// Locks: mu → slot.mu, mu → scope.mu; the latter two are leaves. Callbacks run
// with none of them held. A waiter blocks with none held.
//
// Who is next: nested acquisitions of a Scope (scope.go); then the classes by
// weighted fair queueing (limiter_queue.go); inside a class the tenants in
// turn; inside a tenant's line the oldest whose fingerprint holds less than
// half of the slots, or the oldest if there is none. Whether it is worth it:
// limiter_shed.go, which has two deadline checks and CoDel, and limiter_review.go, which
// has the third. What is done about statements of which nothing is known: limiter_trial.go. When all slots are idle in the application's hands: limiter_stall.go.
//
// A free slot is handed to a waiter and never put back for the taking:
// otherwise a newcomer could overtake everybody, and a waiter could wake to
// find nothing.
//
// Rejected:
//   - database/sql's own queue: unbounded, and served in random order, so under
//     overload the wait has no bound either (golang/go#31708).
//   - x/sync/semaphore, puddle: FIFO without bound, deadline or classes. FIFO
//     alone is the worst policy under overload: everybody is served just too
//     late. Measured on pgxpool: 20–27 answers in time per second of 590 at ten
//     times the capacity.
//   - a buffered channel: cannot be resized, refuses nothing, shows no order.
//   - a heap by deadline (EDF): O(log n), and under overload it serves those who
//     are about to expire first, which is again the worst choice.
//   - a timer per waiter: 10,000 timers for what one does, see invariant 5.
//   - counting fingerprints in a map: it costs every statement; looking through
//     capacity words costs only those who wait.
type limiter struct {
	cfg   limiterConfig
	epoch time.Time // time.Since(epoch) reads only the monotonic clock: half the cost of time.Now

	waiters sync.Pool    // of *waiter; per limiter, as a channel belongs to its synctest bubble
	crowd   atomic.Int32 // queued, for a look without mu

	mu       sync.Mutex // guards everything below; never held while blocking
	closed   bool
	capacity int
	usual    int // capacity, or what it will be again after a probe
	inFlight int
	queued   int
	timed    int // waiters with a deadline
	maxQueue int
	capShare int // slots that one fingerprint may hold while others wait
	txMax    int // slots that transactions may hold
	txHeld   int

	all          []*slot  // by index, ever made
	free         []*slot  // used as a stack: the same few stay warm
	fingerprints []uint64 // by slot index: what it was admitted for; 0 if free

	classes   [classCount]class // by rank: nested, Critical … Bulk
	virtual   uint64            // the fair queueing's clock
	arrival   uint64            // the last waiter's number
	timer     *time.Timer       // nil until somebody waits
	armed     bool
	lanes     uint64        // ever reviewed
	reviewed  time.Duration // by the timer
	probing   bool          // the limit is lower than it should be, for a moment
	stalled   bool          // an episode that has been reported
	stallSaid time.Duration // when the latest was; 0: never

	holds   average       // of all holds: how fast the queue drains
	learned time.Duration // since when there was no gap in them
	trial   trials
	kinds   [priorities][2]average // by class and whether a transaction: what a hold takes
	shapes  shapes                 // by fingerprint: the same, more closely
	totals  totals
}

// newLimiter returns a limiter that holds no goroutine; close stops its timer.
func newLimiter(cfg limiterConfig) *limiter {
	l := &limiter{cfg: cfg, epoch: time.Now()}
	l.waiters.New = func() any { return &waiter{ready: make(chan struct{}, 1)} }
	for i := range l.classes {
		l.classes[i].rank = i
	}
	l.resizeLocked(cfg.limit)

	return l
}

func (l *limiter) now() time.Duration { return time.Since(l.epoch) }

// acquire returns a slot, at once or after waiting for it. The error is the
// context's own if that ends first, otherwise an *OverloadError,
// ErrNestedAcquire or ErrClosed. Each slot must be released exactly once.
func (l *limiter) acquire(ctx context.Context, r request) (*slot, error) {
	if err := ctx.Err(); err != nil {
		l.report(r.class, 0, waitCanceled)

		return nil, err
	}
	now := l.now()

	l.mu.Lock()
	if l.inFlight >= l.capacity || r.tx && l.txHeld >= l.txMax || r.scope != nil || l.closed {
		return l.acquireSlowly(ctx, r, now)
	}
	s := l.takeLocked(r, now)
	l.mu.Unlock()
	l.report(r.class, 0, waitAdmitted)

	return s, nil
}

// takeLocked makes a slot the caller's. Call it only if one is free.
func (l *limiter) takeLocked(r request, now time.Duration) *slot {
	var s *slot
	if n := len(l.free); n > 0 {
		s, l.free = l.free[n-1], l.free[:n-1]
	} else {
		s = &slot{l: l, index: len(l.all)}
		l.all = append(l.all, s)
		l.fingerprints = append(l.fingerprints, 0)
	}
	s.held, s.req, s.acquired = true, r, now
	s.state, s.since = SlotConnecting, now
	s.crowded = l.queued >= l.capacity
	l.inFlight++
	l.totals.admitted[r.class.index()]++
	if r.tx {
		l.txHeld++
	} else {
		l.fingerprints[s.index] = r.fingerprint
	}
	if r.scope != nil {
		r.scope.add(l, 1, 0)
	}

	return s
}

// release gives the slot to the next waiter, or frees it. The owner calls it
// once, after the server is done with the statement; a second call panics, or
// takes the slot from its next owner.
func (l *limiter) release(s *slot) { l.releaseAt(s, l.now()) }

// releaseAt is release for a caller who has just read the clock.
func (l *limiter) releaseAt(s *slot, now time.Duration) {
	l.mu.Lock()
	if !s.held {
		l.mu.Unlock()
		panic("lifeguard: slot released twice")
	}
	l.sampleLocked(s, now)
	l.giveBackLocked(s, now)
	l.unlockWithout(s)
}

// unlockWithout unlocks mu after s was given back. If nobody has taken it at once, its
// connection does not go with it.
func (l *limiter) unlockWithout(s *slot) {
	var spare *physical
	if !s.held {
		spare, s.warm = s.warm, nil
	}
	l.mu.Unlock()
	if spare != nil {
		l.cfg.onSpare(spare)
	}
}

// crowded reports whether somebody waits, as far as that can be seen without mu.
func (l *limiter) crowded() bool { return l.crowd.Load() > 0 }

// giveBackLocked ends a hold and dispatches.
func (l *limiter) giveBackLocked(s *slot, now time.Duration) {
	if s.req.tx {
		l.txHeld--
	}
	if s.req.scope != nil {
		s.req.scope.add(l, -1, 0)
	}
	l.totals.endHold(s, now)
	if s.trial {
		l.endTrialLocked(s, now)
	}
	l.fingerprints[s.index] = 0
	s.held, s.expired, s.unused, s.shared, s.req = false, false, false, 0, request{}
	l.free = append(l.free, s)
	l.inFlight--
	if l.queued > 0 {
		l.dispatchLocked(now)
	}
}

// dispatchLocked hands free slots to waiters until either runs out.
func (l *limiter) dispatchLocked(now time.Duration) {
	for l.inFlight < l.capacity && l.queued > 0 {
		w := l.nextLocked()
		if w == nil {
			return // only transactions beyond their share
		}
		if l.doomedLocked(w, now) {
			l.refuseLocked(w, ReasonDeadline, now)

			continue
		}
		l.grantLocked(w, now)
	}
}

// grantLocked makes a slot the waiter's and wakes it.
func (l *limiter) grantLocked(w *waiter, now time.Duration) {
	w.line.toBack(w.flow)
	l.chargeLocked(w)
	w.class.served(l.cfg.queueTarget, now-w.since, now)
	trial := w.trial
	l.dequeueLocked(w, now)
	l.totals.waited(w.req.class, now-w.since)
	w.slot = l.takeLocked(w.req, now)
	w.slot.trial, l.trial.on = trial, l.trial.on || trial
	w.ready <- struct{}{}
}

// limit returns how many may be in flight.
func (l *limiter) limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.capacity
}

// setLimit changes how many may be in flight, to at least 1 and at most
// maxLimit. Growing admits waiters at once. After shrinking, those in flight
// finish, and nobody is admitted until they are few enough; who waits, waits on,
// even if the queue's bound has become smaller.
func (l *limiter) setLimit(n int) {
	now := l.now()

	l.mu.Lock()
	defer l.mu.Unlock()

	l.resizeLocked(n)
	if !l.closed {
		l.dispatchLocked(now)
	}
}

func (l *limiter) resizeLocked(n int) {
	n = max(n, 1)
	if l.cfg.maxLimit > 0 {
		n = min(n, l.cfg.maxLimit)
	}
	l.capacity = n
	if !l.probing {
		l.usual = n
	}
	l.capShare = max(n/2, 1)
	l.txMax = l.txMaxOf(n)
	l.maxQueue = max(l.cfg.queue, 0)
	if l.cfg.queue == 0 {
		l.maxQueue = 100 * n
	}
}

// txMaxOf returns how many of n slots transactions may hold.
func (l *limiter) txMaxOf(n int) int {
	if l.cfg.txShare <= 0 {
		return math.MaxInt
	}

	return max(int(l.cfg.txShare*float64(n)+1e-9), 1)
}

// setProbing says that the limit is lowered, or no longer, for so short a time that
// predictions rest on what it was before.
func (l *limiter) setProbing(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()

	l.probing = on
}

// close wakes all who wait with ErrClosed and refuses everybody else. Slots in
// use stay valid until their release.
func (l *limiter) close() {
	now := l.now()

	l.mu.Lock()
	defer l.mu.Unlock()

	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	for i := range l.classes {
		for w := l.classes[i].oldest; w != nil; w = l.classes[i].oldest {
			l.answerLocked(w, ErrClosed, now)
		}
	}
}

// report feeds the metrics.
func (l *limiter) report(p Priority, wait time.Duration, result waitResult) {
	if l.cfg.onWait != nil {
		l.cfg.onWait(p, wait, result)
	}
}
