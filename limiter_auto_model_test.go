package lifeguard

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// statementKind is one kind of statement of a simulated load.
type statementKind struct {
	fingerprint uint64
	work        time.Duration // mean time on an idle core
	lock        time.Duration // waits so long for a lock, without using the server
}

// job is one statement in the simulated server.
type job struct {
	kind    statementKind
	started time.Duration
	left    float64       // work, in nanoseconds of an idle core
	asleep  time.Duration // waits for a lock until then
}

// serverModel is a PostgreSQL of so many cores, which its statements share evenly, in
// front of it a queue, and closed-loop clients: each sends its next statement when it
// has its answer. Time is synctest's.
type serverModel struct {
	t       *testing.T
	auto    *autoLimit // nil: the limit stays as it is
	epoch   time.Time
	random  *rand.Rand
	clients int
	cores   float64
	speed   float64 // of a core
	hogs    float64 // busy processes beside the server, which get their share of the cores
	thrash  float64 // part of the server that is lost when twice as many statements run as it has cores
	uneven  bool    // work is exponential, not constant
	mix     func(r float64) statementKind

	limit   atomic.Int64 // the adaptive limit's timer changes it
	busy    atomic.Int64 // len(running), for the timer
	running []*job
	done    int
	limits  []int           // by answer
	times   []time.Duration // by answer
}

func simulate(t *testing.T, cores float64, clients, maxLimit int) *serverModel {
	t.Helper()
	m := fixedModel(t, cores, clients, maxLimit)
	m.auto = &autoLimit{
		max:    maxLimit,
		apply:  func(n int) { m.setLimit(n, maxLimit) },
		load:   func() (int, int) { return int(m.busy.Load()), 1 }, // the timer asks, and somebody waits
		now:    m.now,
		jitter: func() float64 { return 0.5 },
	}
	m.auto.start()
	t.Cleanup(m.auto.close)
	return m
}

func fixedModel(t *testing.T, cores float64, clients, limit int) *serverModel {
	t.Helper()
	short := statementKind{fingerprint: 1, work: 4 * time.Millisecond}
	m := &serverModel{
		t: t, epoch: time.Now(), random: rand.New(rand.NewPCG(1, 2)),
		clients: clients, cores: cores, speed: 1, thrash: 0.05, uneven: true,
		mix: func(float64) statementKind { return short },
	}
	m.limit.Store(int64(limit))
	return m
}

func (m *serverModel) now() time.Duration { return time.Since(m.epoch) }

func (m *serverModel) setLimit(n, maxLimit int) {
	if n < 1 || n > maxLimit {
		m.t.Errorf("limit %d is outside 1 to %d", n, maxLimit)
	}
	m.limit.Store(int64(n))
}

// rate is the work that each running statement gets done per nanosecond.
func (m *serverModel) rate() float64 {
	awake := 0.0
	for _, j := range m.running {
		if j.asleep == 0 {
			awake++
		}
	}
	over := max(awake-m.cores, 0)
	return m.speed * min(1, m.cores/max(awake+m.hogs, 1)) / (1 + m.thrash*over/m.cores)
}

// run lets the load run for d, and returns the answers per second.
func (m *serverModel) run(d time.Duration) float64 {
	end, before := m.now()+d, m.done
	m.limits, m.times = nil, nil
	for m.now() < end {
		for len(m.running) < min(int(m.limit.Load()), m.clients) {
			m.admit()
		}
		rate, step := m.rate(), float64(end-m.now())
		for _, j := range m.running {
			if j.asleep > 0 {
				step = min(step, float64(j.asleep-m.now()))
			} else if rate > 0 {
				step = min(step, j.left/rate)
			}
		}
		sleep(time.Duration(max(math.Ceil(step), 1)))
		synctest.Wait() // the adaptive limit's timer
		m.advance(rate * step)
	}
	return float64(m.done-before) / d.Seconds()
}

func (m *serverModel) admit() {
	k := m.mix(m.random.Float64())
	j := &job{kind: k, started: m.now(), left: float64(k.work)}
	if m.uneven {
		j.left *= m.random.ExpFloat64()
	}
	if k.lock > 0 {
		j.asleep = m.now() + k.lock
	}
	m.running = append(m.running, j)
	m.busy.Add(1)
}

func (m *serverModel) advance(work float64) {
	var ended []*job
	for _, j := range m.running {
		switch {
		case j.asleep == 0:
			j.left -= work
		case m.now() >= j.asleep:
			j.asleep = 0
		}
		if j.asleep == 0 && j.left <= 1 {
			ended = append(ended, j)
		}
	}
	for _, j := range ended {
		o := sample{
			firstRow: m.now() - j.started, fingerprint: j.kind.fingerprint, ok: true,
			inFlight: len(m.running), limit: int(m.limit.Load()), queued: m.clients - len(m.running),
		}
		m.running = slices.DeleteFunc(m.running, func(other *job) bool { return other == j })
		m.busy.Add(-1)
		m.done++
		m.limits = append(m.limits, o.limit)
		m.times = append(m.times, o.firstRow)
		if m.auto != nil {
			m.auto.observe(o)
		}
	}
}

// typical is the median limit under which the latest run's statements were answered.
func (m *serverModel) typical() int {
	sorted := slices.Sorted(slices.Values(m.limits))
	if len(sorted) == 0 {
		return int(m.limit.Load())
	}
	return sorted[len(sorted)/2]
}

// best returns the throughput of the best fixed limit, and that limit.
func best(t *testing.T, cores float64, clients, maxLimit int, change func(*serverModel)) (float64, int) {
	t.Helper()
	rate, limit := 0.0, 0
	long := 10 * time.Second
	if cores >= 16 { // where that is tens of thousands of statements
		long = 3 * time.Second
	}
	for n := 1; n <= maxLimit; n = max(n+1, n*4/3) {
		m := fixedModel(t, cores, clients, n)
		change(m)
		if r := m.run(long); r > rate {
			rate, limit = r, n
		}
	}
	return rate, limit
}
