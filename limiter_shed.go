package lifeguard

import (
	"math"
	"math/rand/v2"
	"time"
)

// average is a running mean of durations that forgets, with the mean deviation.
//
// The first samples count equally, later ones by 1/128 each: fewer, and in a mix
// of short and long ones the mean sways so much that a queue is admitted at each
// low. One sample can add at most a quarter of the mean, so a forgotten
// transaction of an hour does not pass for what the next statement takes. After a gap in which several samples were due,
// what was learned is forgotten: it was idle, or stuck, and may be another
// server now. Until enough is known again nobody is refused because of it.
type average struct {
	mean time.Duration
	dev  time.Duration // mean distance from the mean
	last time.Duration // when the last sample came, since l.epoch
	n    int           // samples, up to averageOver
}

const (
	averageShift = 7
	averageOver  = 1 << averageShift
	averageClip  = 32
	averageKnown = 16 // samples before a mean is believed
)

func (a *average) add(x, now time.Duration) {
	if a.mean > 0 {
		x = min(x, averageClip*max(a.mean, time.Microsecond))
	}
	if a.n == 0 || a.stale(now) {
		*a = average{mean: x, last: now, n: 1}

		return
	}
	a.last = now
	off := x - a.mean
	if a.n < averageOver {
		a.n++
		a.mean += off / time.Duration(a.n)
		a.dev += (max(off, -off) - a.dev) / time.Duration(a.n)

		return
	}
	a.mean += off >> averageShift // half the cost of a division, several times per query
	a.dev += (max(off, -off) - a.dev) >> averageShift
}

// stale reports whether samples have stopped coming.
func (a *average) stale(now time.Duration) bool {
	return now-a.last > time.Second+4*a.mean
}

// known returns the mean, or 0 as long as it would be a guess.
func (a *average) known(now time.Duration) time.Duration {
	if a.n < averageKnown || a.stale(now) {
		return 0
	}

	return a.mean
}

// firmer reports whether the mean rests on as many samples as can say something, or on
// twice as many as when this was last so.
func (a *average) firmer(before int) bool {
	return a.n != before && a.n >= shapeKnown && a.n&(a.n-1) == 0
}

// sampleLocked learns from a hold that ends. It is the whole hold, with the
// cleaning up after a cancel: so long the slot is really taken. Only while the first
// are learned from, the first hold of each slot does not count: it has opened a
// connection, and been the first statement there, which can take many times as long.
func (l *limiter) sampleLocked(s *slot, now time.Duration) {
	if s.unused {
		return // and the next one opens the connection
	}
	first := !s.used
	s.used = true
	if first && l.holds.n < averageOver {
		return
	}
	hold := max(now-s.acquired-s.shared, 0)
	before := l.holds.n
	if l.holds.stale(now) {
		l.learned = now
	}
	l.holds.add(hold, now)
	l.kindOf(s.req).add(hold, now)
	l.learnShapeLocked(s, hold, now)
	if l.queued > 0 && l.holds.firmer(before) {
		l.reviewLocked(now)
	}
}

// kindOf returns the average of what is like r: its class, and whether it is a
// transaction.
func (l *limiter) kindOf(r request) *average {
	tx := 0
	if r.tx {
		tx = 1
	}

	return &l.kinds[r.class.index()][tx]
}

// hopelessLocked is the check on arrival: whether to be served will probably
// take more than half of the time left, or, for Critical, more than all of it. Without
// a deadline, or without knowledge, nothing is hopeless.
//
// Why half: under standing overload the queue is as long as this check allows, so the
// typical answer takes that part of the deadline, and one in a hundred takes 1.15 to 1.6
// times as much, for what the estimate cannot know, such as what the server's
// neighbours will do. With three quarters the slowest took 0.9 of the deadline, with
// three fifths 0.65, and 0.85 beside neighbours; goodput is the same.
//
// Why all of it for Critical: who is so marked should be answered at all, and then soon.
// As long as they alone ask for less than the server can do, the queue is short either way.
// When they ask for just as much, their number varies by chance, and a queue of half of
// the deadline is too short to ride that out: of Critical statements at exactly the
// capacity 94 in 100 were answered in time, with all of it 99.8. What must be left
// in the end is what the check on grant will ask for.
//
// What it will take is the larger of two estimates of the wait, plus its own hold.
// The first is what those ahead will take, each by its shape, ÷ limit; if all holds
// are alike the sum is Little's (ahead + limit) ÷ limit × hold. If they vary, the wait
// is uncertain as the root of the sum of their variances: two standard deviations are
// added (a normal one is 1.25 mean deviations), because who waits longer than
// expected gets no answer and blocks the queue.
//
// The second estimate, ahead × the time between two grants to its class, knows
// what higher classes leave over, which the first does not. If it is out of
// date, then on the safe side: with nobody ahead it is zero, so a class always
// lets somebody queue, and learns. A statement whose shape is new costs nothing, for
// the same reason.
func (l *limiter) hopelessLocked(c *class, r request, deadline, now time.Duration) bool {
	if deadline == 0 || l.holds.known(now) == 0 {
		return false
	}
	hold, dev, sure := l.ownLocked(r, now)
	if !sure && !r.tx && r.fingerprint != 0 {
		hold, dev = 0, 0
	}
	servers := l.usual
	if r.tx && c.rank != nestedRank {
		servers = min(servers, l.txMaxOf(servers))
	}
	a := l.aheadLocked(c, r)
	spread := time.Duration(2.5 * math.Sqrt(a.variance) * float64(time.Second))
	wait := (a.work + spread) / time.Duration(servers)
	if !l.probing { // whose gaps are no measure
		wait = max(wait, time.Duration(a.own)*c.gaps.known(now))
	}

	left := deadline - now
	if r.class == Critical {
		return wait+needs(hold, dev, left) > left
	}

	return 2*(wait+hold) > left
}

// ahead is what waits before a newcomer.
type ahead struct {
	work     time.Duration // what they will take
	variance float64       // of that, in seconds squared
	own      int           // those of its own class
}

func (a *ahead) add(q *line) {
	a.work += q.work
	a.variance += q.variance
}

// aheadLocked tells what would be served before a newcomer.
func (l *limiter) aheadLocked(c *class, r request) ahead {
	var a ahead
	txOnly := l.txHeld >= l.txMax // transactions wait for each other
	for i := range c.rank + 1 {
		if i == c.rank && c.shedding {
			return a // newest first
		}
		a.add(&l.classes[i].lines[0])
		if !txOnly || r.tx {
			a.add(&l.classes[i].lines[1])
		}
	}
	a.own = c.lines[0].n
	if !txOnly || r.tx {
		a.own += c.lines[1].n
	}
	if !r.tx && !l.atCap(r.fingerprint) {
		l.overCapLocked(&a, c.rank)
	}
	if n := c.turnsBefore(r); n >= 0 && n < a.own {
		q := &c.lines[0]
		a.work -= min(a.work, q.work*time.Duration(a.own-n)/time.Duration(max(a.own, 1)))
		a.variance *= float64(n) / float64(a.own)
		a.own = n
	}

	return a
}

// doomedLocked is the check on grant: whether a waiter's time left is too short,
// so that its slot, and, as pgx closes the connection of an expired statement,
// its connection would be spent for nothing.
//
// Shorter than the mean hold of its shape is always too short. While others wait
// who can use the slot as well, more is asked: the mean and six deviations, which
// one in 250 exceeds if holds are exponential (TCP sets its retransmission timer
// like this: V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988), but
// no more than the half that the check on arrival leaves.
func (l *limiter) doomedLocked(w *waiter, now time.Duration) bool {
	if w.deadline == 0 {
		return false
	}
	left := w.deadline - now
	if w.trial {
		return left <= 0
	}
	mean, dev, _ := l.ownLocked(w.req, now)
	if left <= mean {
		return true
	}

	return mean > 0 && l.queued > 1 && left < w.needs(mean, dev)
}

// needs returns how much time must be left to w when others can use the slot as well.
func (w *waiter) needs(mean, dev time.Duration) time.Duration {
	return needs(mean, dev, w.deadline-w.since)
}

// needs is the same for whoever had the time whole at its arrival.
func needs(mean, dev, whole time.Duration) time.Duration {
	return max(mean+3*dev, min(mean+6*dev, whole/2))
}

// codelInterval is how long a queue must stand before it is shed.
const codelInterval = 100 * time.Millisecond

// codel is a class's controlled delay: if the shortest wait of codelInterval was
// above the target, the queue is not a burst, it stands, and serving it in order
// only makes everybody late. Then the newest are served first, and who has
// waited for the target is refused, until the class's queue has been empty.
//
// K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012;
// with adaptive LIFO and a drop by age in place of CoDel's drop rate: B. Maurer,
// "Fail at Scale", ACM Queue 13(8), 2015. Each class has its own: a Low class
// that waits because it is low says nothing about the others.
type codel struct {
	shedding bool
	above    bool          // the wait has been above the target
	until    time.Duration // and if it still is then, the queue stands
}

// observe notes the wait of a waiter that was served.
func (d *codel) observe(wait, target, now time.Duration) {
	switch {
	case target == 0 || d.shedding:
	case wait <= target:
		d.above = false
	case !d.above:
		d.above, d.until = true, now+codelInterval
	case now >= d.until:
		d.shedding = true
	}
}

// served learns, from a waiter that is about to leave the queue with a slot, how
// fast its class is served.
func (c *class) served(target, wait, now time.Duration) {
	if c.rank != nestedRank {
		c.observe(wait, target, now)
	}
	if c.backlogged {
		c.gaps.add(max(now-c.granted, 0), now)
	}
	c.granted, c.backlogged = now, c.n > 1
}

// shedLocked refuses who has waited too long.
func (l *limiter) shedLocked(c *class, now time.Duration) {
	// Without grants there is no wait to observe; who stands longest tells.
	if target := l.cfg.queueTarget; target > 0 && c.rank != nestedRank &&
		c.oldest != nil && now-c.oldest.since > target+codelInterval {
		c.shedding = true
	}
	limit, why := l.longestWait(c)
	if limit == 0 {
		return
	}
	for w := c.oldest; w != nil && now-w.since >= limit; w = c.oldest {
		l.refuseLocked(w, why, now)
	}
}

// overloadLocked makes a refusal, and counts it.
func (l *limiter) overloadLocked(why OverloadReason, p Priority, queued int, waited time.Duration) *OverloadError {
	l.totals.refused[why.index()]++
	l.totals.refusedOf[p.index()]++

	return &OverloadError{
		Reason:     why,
		Limit:      l.capacity,
		Queued:     queued,
		Waited:     max(waited, 0),
		RetryAfter: l.drainLocked(queued),
	}
}

// drainLocked predicts when those in flight and in the queue are done, with
// jitter. It is a hint, so an old mean is better than none.
func (l *limiter) drainLocked(queued int) time.Duration {
	mean := l.holds.mean
	if mean == 0 {
		mean = 10 * time.Millisecond
	}
	drain := mean * time.Duration(queued+l.usual) / time.Duration(l.usual)
	drain = min(max(drain, time.Millisecond), time.Minute)

	return drain*4/5 + rand.N(drain*2/5+1)
}
