package lifeguard

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// autoLimit adapts the limit to what the server can do, for lifeguard_limit=auto.
//
// The rule is Netflix's Gradient2 (com.netflix.concurrency.limits.limit.Gradient2Limit,
// github.com/Netflix/concurrency-limits), once per window:
//
//	slowdown = time now ÷ time expected
//	gradient = tolerance ÷ slowdown, within [1/4, 1]
//	limit   += 1/5 × (limit × gradient + headroom(limit) − limit)
//
// For a server that works on K statements at once and makes all beyond them share,
// that settles at tolerance × K + headroom. Three things differ from the original:
//
//   - What is expected is kept per fingerprint, so that a change of mix changes
//     nothing. A window's slowdown is the median over its fingerprints, weighted by
//     the work that each brought (its expected time × its statements): a statement
//     that waits for a lock does so alone and is outvoted, a slow server slows
//     them all. One fingerprint with most of the work, or all of it, is believed:
//     then fewer at a time is right for a lock pile-up, too.
//   - The expected time is not a long mean of what was seen. That one follows a
//     standing overload, takes it for normal, and the limit creeps up to its maximum.
//     It is learned from statements that ran while no other did: at quiet
//     moments, and if the load leaves none, in a probe: for a moment the limit is
//     lowered to quietInFlight. Envoy's adaptive concurrency filter measures its
//     minRTT in the same way, every minute (envoyproxy.io, "Adaptive Concurrency").
//   - With no answers at all there is no window, and a limit that is low would be
//     held by a few statements that take minutes, while everybody else waits. So when
//     no sample comes for stallPeriod and somebody waits, the limit grows by one:
//     what is not known drifts back to the default, pool_max_conns.
//
// A limit that the load does not use (less than half of it in flight) stays as it
// is: the times say nothing about it. Statements of a transaction are no samples,
// since what they wait for is often the application's own other transaction. The
// time of a failed, cancelled or timed-out statement is a lower bound of what it
// would have taken: it counts if that is already longer than expected, and
// otherwise says nothing. (If these were left out, only the lucky ones of an
// overloaded server would be heard.)
//
// Rejected, in the simulation of limiter_auto_test.go and in docs/adaptive-limit.md:
// Gradient2 with its own long mean (creeps), Vegas (a queue of fixed length: too much
// for two cores, too little for many).
type autoLimit struct {
	max    int
	apply  func(int)                     // does not block
	brief  func(bool)                    // whether what is applied is for a probe; may be nil
	load   func() (inFlight, queued int) // now
	now    func() time.Duration
	jitter func() float64 // in [0, 1)

	mu     sync.Mutex // guards the rest; held while apply runs
	closed bool
	limit  float64
	window autoWindow
	known  map[uint64]*expectation
	number uint64 // of the window
	probe  autoProbe
	timer  *time.Timer // ends a probe that gets no answers; else looks for a stall
	heard  bool        // a sample came since the timer looked
	stats  AutoStats
}

const (
	autoStart     = 8   // the limit at first, if pool_max_conns allows
	autoTolerance = 1.5 // Gradient2's: a slowdown that is no congestion
	autoGradient  = 0.25
	autoSmoothing = 0.2

	autoPeriod  = 100 * time.Millisecond // of a window, at least
	autoSamples = 10                     // of a window, at least

	autoKnown = 512 // fingerprints
	autoClip  = 8   // times the expected: more does not count from one statement

	quietInFlight = 1 // a statement that ran beside no other had the server to itself
	quietSamples  = 16
	quietDoubt    = 2  // what was learned before a cut counts as so many samples
	quietOver     = 32 // the expected time's running mean forgets over as many

	probeEvery  = 10 * time.Second       // at most, ±20 %
	probeSoon   = 2 * time.Second        // while there is doubt: see nextProbe
	probeCut    = 0.6                    // of the limit, since the latest probe
	probeLimit  = 300 * time.Millisecond // the longest
	probeCost   = 50                     // a probe of d is followed by 50 × d without
	stallPeriod = time.Second
)

// headroom is what is offered beyond what seems right, to find out whether more is.
func headroom(limit float64) float64 { return math.Sqrt(limit) / 2 }

// AutoStats is a snapshot of the adaptive limit; zero unless lifeguard_limit is auto.
type AutoStats struct {
	Limit        int     // what it asks for; the limit in force can be lower, see LimiterStats
	Slowdown     float64 // statements took so many times what they take alone; 0 before the first window
	Fingerprints int     // whose time alone is known
	Windows      uint64  // that were judged
	Unused       uint64  // that were not, because the load did not use the limit
	Probes       uint64  // times the limit was lowered to measure
	Stalls       uint64  // times it was raised because no answer came
}

// autoWindow collects samples.
type autoWindow struct {
	since   time.Duration
	n       int
	busiest int // most in flight
	seen    []*expectation
}

func newAutoLimit(maxLimit int, l *limiter, apply func(int)) *autoLimit {
	a := &autoLimit{
		max:    maxLimit,
		apply:  apply,
		brief:  l.setProbing,
		load:   l.load,
		now:    l.now,
		jitter: rand.Float64,
	}
	a.start()
	return a
}

func (l *limiter) load() (inFlight, queued int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, l.queued
}

func (a *autoLimit) start() {
	a.known = make(map[uint64]*expectation)
	a.limit = float64(min(autoStart, a.max))
	a.window.since = a.now()
	a.apply(int(a.limit))
	a.timer = time.AfterFunc(stallPeriod, a.elapsed)
}

// close stops the timer.
func (a *autoLimit) close() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.timer.Stop()
}

// observe takes one statement's time. It is the limiter's onSample.
func (a *autoLimit) observe(o sample) {
	if o.tx || o.fingerprint == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}

	e, took := a.known[o.fingerprint], float64(o.firstRow)
	if !o.ok && (e == nil || e.alone == 0 || took <= autoTolerance*e.alone) {
		return
	}
	if e == nil {
		e = a.learn(o.fingerprint)
	}
	a.heard = true
	quiet := o.ok && o.inFlight <= quietInFlight
	if a.probe.on {
		quiet = quiet && a.probed(o)
	} else {
		a.collect(e, took, o.inFlight)
	}
	if quiet {
		e.ranAlone(took)
	}
}

// collect adds to the window, and judges it when it is full. The clock is read only
// when it may be: that is most of the cost of a sample.
func (a *autoLimit) collect(e *expectation, took float64, inFlight int) {
	w := &a.window
	if e.n == 0 {
		e.used = a.number
		w.seen = append(w.seen, e)
	}
	if e.alone > 0 {
		took = min(took, autoClip*e.alone)
	}
	e.sum += took
	e.n++
	w.n++
	w.busiest = max(w.busiest, inFlight)
	if w.n < autoSamples || w.n%8 != 0 {
		return
	}
	if now := a.now(); now-w.since >= autoPeriod {
		a.judge(now)
	}
}

// judge ends a window.
func (a *autoLimit) judge(now time.Duration) {
	slowdown, wellKnown := a.slowdown()
	used := 2*a.window.busiest >= int(a.limit)
	a.endWindow(slowdown, now)
	if !used {
		a.stats.Unused++
		return
	}
	a.stats.Windows++
	a.stats.Slowdown = slowdown
	a.set(a.limit + autoSmoothing*(nextLimit(a.limit, slowdown)-a.limit))
	if a.limit > quietInFlight && now >= a.nextProbe(wellKnown) {
		a.startProbe(now)
	}
}

// nextLimit is the algorithm's one line.
func nextLimit(limit, slowdown float64) float64 {
	gradient := min(max(autoTolerance/slowdown, autoGradient), 1)
	return limit*gradient + headroom(limit)
}

// set makes limit the limit, within its bounds.
func (a *autoLimit) set(limit float64) {
	before := math.Round(a.limit)
	a.limit = min(max(limit, 1), float64(a.max))
	if after := math.Round(a.limit); after != before {
		a.apply(int(after))
	}
}

// slowdown is the weighted median over the window's fingerprints; without one that is
// known, that of the window before. It is well known if most of the work is.
func (a *autoLimit) slowdown() (slowdown float64, wellKnown bool) {
	seen := a.window.seen
	slices.SortFunc(seen, func(d, e *expectation) int { return cmp.Compare(d.slowdown(), e.slowdown()) })
	var work, known float64
	for _, e := range seen {
		work += e.work()
		if e.quiet >= quietSamples {
			known += e.work()
		}
	}
	if work == 0 {
		return max(a.stats.Slowdown, 1), false
	}
	half := work / 2
	for _, e := range seen {
		if half -= e.work(); half <= 0 {
			slowdown = e.slowdown()
			break
		}
	}
	return slowdown, known >= work/2
}

// endWindow learns what a window says about expected times, and starts the next one.
// A fingerprint that was never alone is taken to be as slowed down as the others.
// One that takes much less than expected, again and again, was expected to take
// too much: when it was learned, the server was slow.
func (a *autoLimit) endWindow(slowdown float64, now time.Duration) {
	for i, e := range a.window.seen {
		mean := e.sum / float64(e.n)
		switch {
		case e.quiet == 0:
			e.alone = mean / max(slowdown, 1)
		case mean < 0.7*e.alone:
			if e.faster++; e.faster >= 3 {
				e.alone += (mean - e.alone) / 4
			}
		default:
			e.faster = 0
		}
		e.sum, e.n = 0, 0
		a.window.seen[i] = nil
	}
	a.number++
	a.window = autoWindow{since: now, seen: a.window.seen[:0]}
}

// snapshot returns the state for [Stats].
func (a *autoLimit) snapshot() AutoStats {
	if a == nil {
		return AutoStats{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.stats
	st.Limit = int(math.Round(a.limit))
	st.Fingerprints = len(a.known)
	return st
}
