package lifeguard

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheAdaptiveLimitConvergesNearTheBest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cores          float64
		clients, limit int
		work           time.Duration
	}{
		{1, 50, 20, 4 * time.Millisecond},
		{2, 100, 16, time.Millisecond},
		{4, 100, 50, 4 * time.Millisecond},
		{16, 300, 100, 10 * time.Millisecond},
		{64, 300, 200, 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v cores", c.cores), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kind := func(m *serverModel) {
					m.mix = func(float64) statementKind { return statementKind{fingerprint: 1, work: c.work} }
				}
				top, at := best(t, c.cores, c.clients, c.limit, kind)
				m := simulate(t, c.cores, c.clients, c.limit)
				kind(m)
				m.run(30 * time.Second)
				got := m.run(30 * time.Second)
				t.Logf("auto: %.0f/s around limit %d (%+v); best fixed: %.0f/s at %d", got, m.typical(), m.auto.snapshot(), top, at)
				if got < 0.92*top {
					t.Errorf("%.0f/s is less than 92 %% of %.0f/s", got, top)
				}
			})
		})
	}
}

func TestTheAdaptiveLimitFollowsAServerThatSlowsDownAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := simulate(t, 16, 200, 100)
		m.run(40 * time.Second)
		before := m.typical()

		m.cores = 3 // the others are busy with something else
		m.run(3 * time.Second)
		m.run(2 * time.Second)
		slow := m.typical()

		m.cores = 16
		m.run(15 * time.Second)
		got := m.run(5 * time.Second)
		after := m.typical()
		t.Logf("limit %d, slow %d, recovered %d at %.0f/s", before, slow, after, got)
		if slow > before/2 {
			t.Errorf("3 s after most of the server is gone the limit is %d, and it was %d", slow, before)
		}
		if after < before*3/4 || after > before*2 {
			t.Errorf("15 s after the server is back the limit is %d, and it was %d", after, before)
		}
	})
}

func TestAChangeOfMixIsNotTakenForCongestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		heavy := 0.1
		light, dear := statementKind{fingerprint: 1, work: time.Millisecond}, statementKind{fingerprint: 2, work: 50 * time.Millisecond}
		m := simulate(t, 8, 100, 50)
		m.uneven = false // or chance in what is expected of the few heavy ones hides it
		m.mix = func(r float64) statementKind {
			if r < heavy {
				return dear
			}
			return light
		}
		m.run(40 * time.Second)
		before := m.typical()

		heavy = 0.9
		for i := range 10 {
			m.run(2 * time.Second)
			if n := m.typical(); n < before*3/4 || n > before*5/4 {
				t.Errorf("%d s after the mix went from 10 %% to 90 %% heavy statements the limit is %d, and it was %d", 2*i+2, n, before)
			}
		}
	})
}

func TestLockWaitsOfOneStatementAreNotTakenForCongestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locked := time.Duration(0)
		m := simulate(t, 8, 100, 50)
		m.mix = func(r float64) statementKind {
			switch {
			case r < 0.2:
				return statementKind{fingerprint: 1, work: 2 * time.Millisecond, lock: locked}
			case r < 0.6:
				return statementKind{fingerprint: 2, work: 5 * time.Millisecond}
			}
			return statementKind{fingerprint: 3, work: time.Millisecond}
		}
		m.run(40 * time.Second)
		before := m.typical()

		locked = 100 * time.Millisecond
		for i := range 5 {
			m.run(2 * time.Second)
			if n := m.typical(); n < before*3/4 {
				t.Errorf("%d s after one of three statements began to wait for locks the limit is %d, and it was %d", 2*i+2, n, before)
			}
		}
	})
}

func TestALimitThatTheLoadDoesNotUseStaysAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := simulate(t, 8, 100, 50)
		m.run(30 * time.Second)
		m.run(time.Second)
		m.clients = 2
		m.run(time.Second) // those in flight finish
		before := m.auto.snapshot()
		for _, speed := range []float64{1, 0.2, 5} {
			m.speed = speed
			m.run(30 * time.Second)
			if st := m.auto.snapshot(); st.Limit != before.Limit || st.Probes != before.Probes {
				t.Errorf("two clients, speed %v: the limit went from %d to %d, with %d probes", speed, before.Limit, st.Limit, st.Probes-before.Probes)
			}
		}
	})
}

func TestTheAdaptiveLimitStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, maxLimit := range []int{1, 2, 3, 7, 50} {
			m := simulate(t, 4, 100, maxLimit) // setLimit checks
			for range 40 {
				m.cores = 0.2 + 16*m.random.Float64()
				m.clients = 1 + m.random.IntN(200)
				m.thrash = m.random.Float64()
				m.mix = func(r float64) statementKind {
					return statementKind{fingerprint: uint64(1 + 5*r), work: 5 * time.Millisecond, lock: time.Duration(r * 1e7)}
				}
				m.run(time.Second)
				if n := m.auto.snapshot().Limit; n < 1 || n > maxLimit {
					t.Fatalf("limit %d of %d", n, maxLimit)
				}
			}
		}
	})
}

// idleAuto returns an adaptive limit without a server, whose limits are recorded.
func idleAuto(t *testing.T, maxLimit int) (a *autoLimit, applied *[]int, queued *atomic.Int64) {
	t.Helper()
	applied, queued = new([]int), new(atomic.Int64)
	epoch := time.Now()
	a = &autoLimit{
		max:    maxLimit,
		apply:  func(n int) { *applied = append(*applied, n) },
		load:   func() (int, int) { return maxLimit, int(queued.Load()) },
		now:    func() time.Duration { return time.Since(epoch) },
		jitter: func() float64 { return 0.5 },
	}
	a.start()
	t.Cleanup(a.close)
	return a, applied, queued
}

// feed observes one sample per millisecond.
func feed(a *autoLimit, n int, o sample) {
	for range n {
		sleep(time.Millisecond)
		a.observe(o)
	}
}

func TestAServerThatAnswersNothingDoesNotKeepTheLimitLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, queued := idleAuto(t, 20)
		a.mu.Lock()
		a.limit = 1
		a.mu.Unlock()
		pass(10*time.Second + time.Millisecond)
		if st := a.snapshot(); st.Limit != 1 {
			t.Errorf("nobody waits, and the limit rose to %d", st.Limit)
		}
		queued.Store(3)
		pass(5 * time.Second)
		if st := a.snapshot(); st.Limit != 6 || st.Stalls != 5 {
			t.Errorf("after 5 s in which the only statement did not end: %+v", st)
		}
		pass(time.Minute)
		if st := a.snapshot(); st.Limit != 20 {
			t.Errorf("after a minute the limit is %d and not pool_max_conns", st.Limit)
		}
	})
}

func TestAServerThatIsManyTimesSlowerGetsOneStatementAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, applied, _ := idleAuto(t, 20)
		feed(a, 50, sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: 1})
		feed(a, 20_000, sample{firstRow: time.Second, fingerprint: 1, ok: true, inFlight: 20})
		if st := a.snapshot(); st.Limit != 1 || slices.Min(*applied) != 1 {
			t.Errorf("the limit is %d; it was %v", st.Limit, *applied)
		}
	})
}

func TestAProbeWithoutAnswersEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, applied, _ := idleAuto(t, 20)
		feed(a, 104, sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: 8})
		if st := a.snapshot(); st.Probes != 1 || (*applied)[len(*applied)-1] != quietInFlight {
			t.Fatalf("no probe: %+v, limits %v", st, *applied)
		}
		// These were under way when the limit was lowered.
		feed(a, 20, sample{firstRow: time.Second, fingerprint: 1, ok: true, inFlight: quietInFlight})
		pass(probeLimit)
		if n := (*applied)[len(*applied)-1]; n < autoStart {
			t.Errorf("%v after its start the probe has left the limit at %d", probeLimit, n)
		}
	})
}

func TestAProbeLearnsFromStatementsThatBeganInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, applied, _ := idleAuto(t, 20)
		feed(a, 104, sample{firstRow: 20 * time.Millisecond, fingerprint: 1, ok: true, inFlight: 8})
		feed(a, 5, sample{firstRow: 20 * time.Millisecond, fingerprint: 1, ok: true, inFlight: quietInFlight})
		feed(a, quietSamples, sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: quietInFlight})
		if n := (*applied)[len(*applied)-1]; n < autoStart {
			t.Errorf("the probe goes on after enough samples: limits %v", *applied)
		}
		if got := time.Duration(a.known[1].alone); got != time.Millisecond {
			t.Errorf("alone it takes %v, and not 1ms", got)
		}
	})
}

func TestWhatDidNotFinishIsALowerBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := idleAuto(t, 20)
		feed(a, 50, sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: 1})
		for _, o := range []sample{
			{firstRow: time.Millisecond, fingerprint: 1, inFlight: 8},                // no longer than expected
			{firstRow: time.Second, fingerprint: 2, inFlight: 8},                     // unknown
			{firstRow: time.Second, fingerprint: 1, inFlight: 8, ok: true, tx: true}, // a transaction's
			{firstRow: time.Second, inFlight: 8, ok: true},                           // not a statement
		} {
			before := a.window.n
			feed(a, 1, o)
			if a.window.n != before {
				t.Errorf("%+v counts", o)
			}
		}
		feed(a, 200, sample{firstRow: 250 * time.Millisecond, fingerprint: 1, inFlight: 8})
		if st := a.snapshot(); st.Limit >= autoStart || st.Slowdown < 2 {
			t.Errorf("time-outs are no sign of overload: %+v", st)
		}
		if got := time.Duration(a.known[1].alone); got != time.Millisecond {
			t.Errorf("a time-out changed what it takes alone to %v", got)
		}
	})
}

func TestTheTableOfFingerprintsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := idleAuto(t, 20)
		for f := range uint64(5000) {
			feed(a, 1, sample{firstRow: time.Millisecond, fingerprint: f + 1, ok: true, inFlight: 1})
			feed(a, 1, sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: 1})
		}
		if n := len(a.known); n > autoKnown {
			t.Errorf("%d fingerprints", n)
		}
		if e := a.known[1]; e == nil || e.quiet < quietOver {
			t.Errorf("the one that is always in use was forgotten: %+v", e)
		}
		for f := range uint64(2 * autoKnown) { // all in one window
			a.observe(sample{firstRow: time.Millisecond, fingerprint: f + 1e6, ok: true, inFlight: 1})
		}
		if n := len(a.known); n > autoKnown {
			t.Errorf("%d fingerprints", n)
		}
	})
}

func TestASampleAllocatesNothing(t *testing.T) {
	a, _, _ := idleAuto(t, 20)
	o := sample{firstRow: time.Millisecond, fingerprint: 1, ok: true, inFlight: 8}
	a.observe(o)
	if n := testing.AllocsPerRun(1000, func() { a.observe(o) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdaptiveSample(b *testing.B) {
	for _, name := range []string{"off", "on"} {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(limiterConfig{limit: 8})
			defer l.close()
			if name == "on" {
				a := newAutoLimit(20, l, l.setLimit)
				defer a.close()
				l.cfg.onSample = a.observe
			}
			s, err := l.acquire(b.Context(), request{fingerprint: 1})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s.observe(time.Millisecond, 1, false, true)
			}
		})
	}
}

func TestASlownessThatFewerStatementsDoNotCureIsNotTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simulate(t, 4, 200, 50)
		m.run(30 * time.Second)
		m.run(5 * time.Second)
		before := m.typical()
		m.hogs = 12 // each statement gets the less of the server, the fewer they are
		m.run(3 * time.Second)
		m.run(3 * time.Second)
		t.Logf("limit %d, then %d", before, m.typical())
		if n := m.typical(); n < before*2/3 {
			t.Errorf("beside other processes the limit is %d, and it was %d", n, before)
		}
	})
}
