package lifeguard

import (
	"testing"
	"testing/synctest"
	"time"
)

// pace runs the load in half seconds until two in a row give nine tenths of top, and
// returns how many statements and how much time that took, without those two.
func (m *serverModel) pace(top float64, longest time.Duration) (samples int, took time.Duration, reached bool) {
	const step = 500 * time.Millisecond
	before, good := m.done, 0
	first := 0 // of the half seconds that were good
	for took < longest {
		at := m.done
		rate := m.run(step)
		took += step
		if rate < 0.9*top {
			good = 0
			continue
		}
		if good++; good == 1 {
			first = at
			continue
		}
		return first - before, took - 2*step, true
	}
	return m.done - before, took, false
}

// How long the adaptive limit takes to come within a tenth of the best fixed limit's
// throughput: at first, when most of the server is gone, and when it is back.
func TestTheAdaptiveLimitNeedsSecondsNotMinutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cores, fewer float64
		clients, max int
		work         time.Duration
	}{
		{2, 0.5, 100, 16, time.Millisecond},
		{4, 1, 100, 50, 4 * time.Millisecond},
		{16, 3, 200, 100, 4 * time.Millisecond},
		{64, 16, 300, 200, 20 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			kind := func(m *serverModel) {
				m.mix = func(float64) statementKind { return statementKind{fingerprint: 1, work: c.work} }
			}
			whole, _ := best(t, c.cores, c.clients, c.max, kind)
			part, _ := best(t, c.fewer, c.clients, c.max, kind)
			m := simulate(t, c.cores, c.clients, c.max)
			kind(m)
			for _, phase := range []struct {
				name       string
				cores, top float64
			}{{"at first", c.cores, whole}, {"with fewer cores", c.fewer, part}, {"with all again", c.cores, whole}} {
				m.cores = phase.cores
				samples, took, reached := m.pace(phase.top, 30*time.Second)
				t.Logf("%v cores, %s: %d statements, %v, limit %d", c.cores, phase.name, samples, took, m.typical())
				if !reached || took > 20*time.Second {
					t.Errorf("%v cores, %s: not within a tenth of %.0f/s after %v", c.cores, phase.name, phase.top, took)
				}
				m.run(10 * time.Second)
			}
		})
	}
}
