package lifeguard

import "time"

// The queue, from the outside in:
//
//	limiter ─► class ×6   nested first, then Critical … Bulk by fair queueing
//	class   ─► line ×2    statements; transactions, if txShare sets them apart
//	line    ─► flow…      one per tenant that waits, in turns
//	flow    ─► lane…      by arrival, and aside: one per fingerprint over its cap
//	lane    ─► waiter…    intrusive list
//
// To enqueue, to cancel and to take the next are O(1), with these bounds: the
// next looks at six classes, at lookAhead flows, at the lanes aside (a fingerprint
// gets one when it holds half of the slots, so there are few), and moves each
// waiter aside at most once in its life. Counting what a fingerprint holds looks
// through one word per slot.

const (
	priorities = int(Critical-Bulk) + 1
	nestedRank = 0
	classCount = priorities + 1

	// lookAhead bounds the search for a tenant whose next is under its
	// fingerprint's cap, or for the tenant with the longest line. Turns
	// rotate, so who is missed now is seen soon.
	lookAhead = 16
)

// classWeights are the shares of a slot's time; see Priority. A share is small
// as long as those above need the slots, and it is what keeps the class from
// starving, no more: the point of a priority is that the higher one does not
// notice the lower ones' overload. Netflix's partitions (half for the best
// class, say) would refuse half of it whenever others are too many.
var classWeights = [classCount]uint64{0, 1024, 64, 8, 2, 1} //nolint:gochecknoglobals // a constant table

// index numbers the classes for arrays, Critical first.
func (p Priority) index() int { return int(Critical - p) }

// class is the queue of one priority, or of the nested acquisitions.
type class struct {
	rank           int
	n              int
	oldest, newest *waiter
	lines          [2]line
	finish         uint64 // fair queueing: the virtual time at which its next is done

	codel

	gaps       average       // between two grants while the class had waiters
	granted    time.Duration // the last grant
	backlogged bool          // and somebody still waited after it
}

// line is an ordered set of waiters with fair turns for tenants.
type line struct {
	n        int
	work     time.Duration // what its waiters will take
	variance float64       // of that, in seconds squared
	flows    int
	turn     *flow // whose turn it is, in a ring; nil if nobody waits
	nobodys  flow  // of those without a tenant
	byTenant map[string]*flow
}

// flow holds one tenant's waiters.
type flow struct {
	tenant     string
	n          int
	prev, next *flow // ring of a line
	lane       lane  // by arrival
	aside      []*lane
}

// lane is an intrusive list of waiters by arrival.
type lane struct {
	fingerprint uint64 // all of them have it, if the lane is aside
	head, tail  *waiter
}

func (q *lane) push(w *waiter) {
	if w.trial {
		q.pushFirst(w)

		return
	}
	if w.again {
		q.pushInOrder(w)

		return
	}
	w.lane, w.prev, w.next = q, q.tail, nil
	if q.tail != nil {
		q.tail.next = w
	} else {
		q.head = w
	}
	q.tail = w
}

func (q *lane) pushFirst(w *waiter) {
	w.lane, w.prev, w.next = q, nil, q.head
	if q.head != nil {
		q.head.prev = w
	} else {
		q.tail = w
	}
	q.head = w
}

// pushInOrder puts who was taken out before back to its place, looking for it from both
// ends.
func (q *lane) pushInOrder(w *waiter) {
	prev, next := q.tail, q.head
	for next != nil && next.number < w.number && prev.number > w.number {
		prev, next = prev.prev, next.next
	}
	if next != nil && next.number < w.number { // prev is the last before it
		next = prev.next
	} else if next != nil {
		prev = next.prev
	}
	w.lane, w.prev, w.next = q, prev, next
	if prev != nil {
		prev.next = w
	} else {
		q.head = w
	}
	if next != nil {
		next.prev = w
	} else {
		q.tail = w
	}
}

func (q *lane) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.lane, w.prev, w.next = nil, nil, nil
}

// enqueueLocked puts w at the end of its line.
func (l *limiter) enqueueLocked(c *class, w *waiter) {
	w.class = c
	if !w.again {
		l.arrival++
		w.number = l.arrival
	}
	if w.trial {
		w.number, l.trial.on = 0, true
	}
	l.joinShapeLocked(w, w.since)
	if c.n == 0 {
		// Self-clocked fair queueing: who comes back starts from now, and has
		// saved nothing up.
		c.finish = max(c.finish, l.virtual) + l.costLocked(c, w.req)
	}
	c.joinByAge(w)
	c.n++

	w.line = &c.lines[0]
	if w.req.tx && l.cfg.txShare > 0 && c.rank != nestedRank {
		w.line = &c.lines[1]
	}
	w.line.push(w)
	l.queued++
	l.crowd.Store(int32(l.queued)) //nolint:gosec // bounded by the memory for waiters
	if w.deadline > 0 {
		l.timed++
	}
	l.totals.queued[w.req.class.index()]++
	if w.nested {
		w.req.scope.add(l, 0, 1)
	}
}

// joinByAge puts w into the list by age: at its end, unless it was in the queue before.
func (c *class) joinByAge(w *waiter) {
	w.older = c.newest
	for w.again && w.older != nil && w.older.since > w.since {
		w.older = w.older.older
	}
	if w.older != nil {
		w.newer, w.older.newer = w.older.newer, w
	} else {
		w.newer, c.oldest = c.oldest, w
	}
	if w.newer != nil {
		w.newer.older = w
	} else {
		c.newest = w
	}
}

// dequeueLocked takes w out of all lists.
func (l *limiter) dequeueLocked(w *waiter, now time.Duration) {
	c := w.class
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		c.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		c.newest = w.older
	}
	w.older, w.newer = nil, nil
	c.n--
	if c.n == 0 {
		c.codel, c.backlogged = codel{}, false
	}

	w.line.remove(w)
	w.leaveShape()
	w.class = nil
	if w.trial {
		l.trial.on = false
	}
	w.waited = max(now-w.since, 0)
	l.queued--
	l.crowd.Store(int32(l.queued)) //nolint:gosec // as above
	if w.deadline > 0 {
		l.timed--
	}
	l.totals.queued[w.req.class.index()]--
	if w.nested {
		w.req.scope.add(l, 0, -1)
	}
	if l.queued == 0 {
		l.virtual = 0
		for i := range l.classes {
			l.classes[i].finish = 0
		}
	}
}

func (q *line) push(w *waiter) {
	f := &q.nobodys
	if w.req.tenant != "" {
		f = q.byTenant[w.req.tenant]
	}
	if f == nil {
		f = &flow{tenant: w.req.tenant}
		if q.byTenant == nil {
			q.byTenant = make(map[string]*flow)
		}
		q.byTenant[f.tenant] = f
	}
	if f.n == 0 {
		q.join(f)
	}
	f.n++
	q.n++
	q.work += w.expect
	q.variance += w.dev.Seconds() * w.dev.Seconds()
	f.lane.push(w)
	w.flow = f
}

func (q *line) remove(w *waiter) {
	f := w.flow
	w.lane.remove(w)
	f.n--
	q.n--
	q.work -= w.expect
	q.variance -= w.dev.Seconds() * w.dev.Seconds()
	if q.n == 0 {
		q.variance = 0 // no rounding stays
	}
	if f.n > 0 {
		return
	}
	q.part(f)
	f.aside = nil
	if f != &q.nobodys {
		delete(q.byTenant, f.tenant)
	}
}

// expect changes what a waiter in the line is expected to take.
func (q *line) expect(w *waiter, mean, dev time.Duration) {
	q.work += mean - w.expect
	q.variance += dev.Seconds()*dev.Seconds() - w.dev.Seconds()*w.dev.Seconds()
	if w.shape != nil {
		w.shape.work[w.class.rank] += mean - w.expect
	}
	w.expect, w.dev = mean, dev
}

// join puts f at the end of the turns.
func (q *line) join(f *flow) {
	q.flows++
	if q.turn == nil {
		f.prev, f.next = f, f
		q.turn = f

		return
	}
	f.prev, f.next = q.turn.prev, q.turn
	f.prev.next, f.next.prev = f, f
}

func (q *line) part(f *flow) {
	q.flows--
	if f.next == f {
		q.turn = nil
	} else {
		f.prev.next, f.next.prev = f.next, f.prev
		if q.turn == f {
			q.turn = f.next
		}
	}
	f.prev, f.next = nil, nil
}

// toBack ends f's turn.
func (q *line) toBack(f *flow) {
	if q.turn == f {
		q.turn = f.next

		return
	}
	q.part(f)
	q.join(f)
}
