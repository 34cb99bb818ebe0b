package lifeguard

import "math"

// expectation is what is known of one fingerprint.
type expectation struct {
	alone  float64 // nanoseconds that it takes when nothing else runs; 0: unknown
	quiet  int     // samples of that, up to quietOver; 0: alone is a guess
	used   uint64  // window
	sum    float64 // in this window
	n      int
	faster int // windows in which it took much less, in a row
}

// ranAlone learns the expected time.
func (e *expectation) ranAlone(took float64) {
	if e.quiet > 0 {
		took = min(took, autoClip*e.alone)
	}
	e.quiet = min(e.quiet+1, quietOver)
	e.alone += (took - e.alone) / float64(e.quiet)
}

func (e *expectation) work() float64 { return e.alone * float64(e.n) }

func (e *expectation) slowdown() float64 {
	if e.alone == 0 {
		return 0 // without work, so without a vote
	}
	return e.sum / float64(e.n) / e.alone
}

// learn makes room for a fingerprint: of a few, the one that was not seen for longest
// makes it.
func (a *autoLimit) learn(fingerprint uint64) *expectation {
	if len(a.known) >= autoKnown {
		var victim uint64
		oldest, looked := uint64(math.MaxUint64), 0
		for f, e := range a.known { // Go starts anywhere
			if e.n == 0 && e.used < oldest {
				victim, oldest = f, e.used
			}
			if looked++; looked == 16 && oldest < math.MaxUint64 {
				break
			}
		}
		delete(a.known, victim) // none, if all 512 are in this window
	}
	e := new(expectation)
	if len(a.known) < autoKnown {
		a.known[fingerprint] = e
	}
	return e
}
