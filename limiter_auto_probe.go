package lifeguard

import (
	"math"
	"time"
)

// autoProbe is the moment in which the limit is lowered.
type autoProbe struct {
	on      bool
	since   time.Duration // or when it ended
	samples int
	every   time.Duration // until the next
	rest    time.Duration // at least, for its cost
	limit   float64       // when it ended
}

func (a *autoLimit) setBrief(on bool) {
	if a.brief != nil {
		a.brief(on)
	}
}

func (a *autoLimit) cut() bool { return a.limit < probeCut*a.probe.limit }

// startProbe lowers the limit to measure what statements take alone.
func (a *autoLimit) startProbe(now time.Duration) {
	a.stats.Probes++
	if a.cut() {
		for _, e := range a.known {
			e.quiet = min(e.quiet, quietDoubt)
		}
	}
	a.probe = autoProbe{on: true, since: now}
	a.setBrief(true)
	a.apply(quietInFlight)
	a.timer.Reset(probeLimit)
}

// probed reports whether a sample counts in a probe: its statement began after the
// limit was lowered. Enough of them end the probe.
func (a *autoLimit) probed(o sample) bool {
	now := a.now()
	if now-o.firstRow < a.probe.since {
		return false
	}
	if a.probe.samples++; a.probe.samples >= quietSamples {
		a.endProbe(now)
	}
	return true
}

// nextProbe is not before it is worth its cost. It is soon if most of the work is of
// fingerprints that are not well known, or if the limit has been cut much since the
// latest one: if statements are as slow alone, the cause is beside this load, and
// fewer at a time are no cure.
func (a *autoLimit) nextProbe(wellKnown bool) time.Duration {
	if a.stats.Probes == 0 {
		return 0
	}
	every := a.probe.every
	if !wellKnown || a.cut() {
		every = min(every, probeSoon)
	}
	return a.probe.since + max(every, a.probe.rest)
}

func (a *autoLimit) endProbe(now time.Duration) {
	a.probe = autoProbe{
		since: now,
		every: time.Duration((0.8 + 0.4*a.jitter()) * float64(probeEvery)),
		rest:  probeCost * (now - a.probe.since),
		limit: a.limit,
	}
	a.endWindow(1, now) // it is empty
	a.setBrief(false)
	a.apply(int(math.Round(a.limit)))
	a.timer.Reset(stallPeriod)
}

// elapsed is the timer's function.
func (a *autoLimit) elapsed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	now := a.now()
	switch {
	case !a.probe.on:
		a.lookForStall()
	case now-a.probe.since >= probeLimit:
		a.endProbe(now)
	}
	if !a.probe.on {
		a.timer.Reset(stallPeriod)
	}
}

// lookForStall raises a limit that lets nobody through.
func (a *autoLimit) lookForStall() {
	heard := a.heard
	a.heard = false
	if heard {
		return
	}
	inFlight, queued := a.load()
	if queued > 0 && inFlight >= int(math.Round(a.limit)) {
		a.stats.Stalls++
		a.set(a.limit + 1)
	}
}
