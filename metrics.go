package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// queryOutcome is how an operation ended, as the metrics label it.
type queryOutcome uint8

const (
	outcomeOK queryOutcome = iota
	outcomeError
	outcomeRejected // by the limiter
	outcomeTimeout  // the caller's deadline
	outcomeCanceled // the caller's cancellation
	outcomes
)

func (o queryOutcome) String() string {
	return [...]string{"ok", "error", "rejected", "timeout", "canceled"}[o]
}

func outcomeOf(err error) queryOutcome {
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, ErrOverloaded), errors.Is(err, ErrNestedAcquire):
		return outcomeRejected
	case errors.Is(err, context.DeadlineExceeded):
		return outcomeTimeout
	case errors.Is(err, context.Canceled):
		return outcomeCanceled
	}
	return outcomeError
}

// durationBuckets run from 0.5 ms to 10 s, with an edge at the 100 ms that the alert
// on p99 asks about.
//
//nolint:gochecknoglobals // a constant
var durationBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// waitBuckets have finer steps below, where most waits are.
//
//nolint:gochecknoglobals // a constant
var waitBuckets = []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// metrics is one pool's Prometheus collector. What happens on a query's path is
// counted by shard, and in children that were looked up once; everything else is read
// from Stats when somebody collects.
type metrics struct {
	pool       string // as it is labelled
	registered bool
	stats      func() Stats
	created    time.Time

	counts    [countShards]statementCounts
	waitTimes [priorities]times
	native    *nativeTimes // nil unless asked for; then instead of the times in counts, and of waitTimes
	errors    *prometheus.CounterVec
	errorBy   map[string]prometheus.Counter // by SQLSTATE class; never changed
	batches   *batchMetrics

	exemplarAt [sqltext.Ops][exemplarBuckets]atomic.Int64 // when the latest was given, plus one; on the limiter's clock
	exemplars  [sqltext.Ops][exemplarBuckets]atomic.Pointer[prometheus.Exemplar]

	queries, durations, waits *prometheus.Desc

	queueDepth, queueMax, limit, holdMean  *prometheus.Desc
	slots, slotSeconds, refusals, admitted *prometheus.Desc
	left, groups, riders                   *prometheus.Desc
	conns, connsMax, opened, closed        *prometheus.Desc
	ceilings                               ceilingMetrics
	cache                                  *cacheMetrics
}

var _ prometheus.Collector = (*metrics)(nil)

// sqlstateClasses are PostgreSQL's error classes (its documentation, appendix A); the
// classes of success and warnings are none.
//
//nolint:gochecknoglobals // a constant
var sqlstateClasses = []string{
	"03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26", "27", "28", "2B", "2D", "2F",
	"34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
}

const (
	classConnection = "08"    // also of what the network does without a word from the server
	classOther      = "other" // no SQLSTATE, or one of an application's own
)

const (
	queriesHelp = "Statements, by operation, by what answered, and by how they ended."

	durationsName = "query_duration_seconds"
	durationsHelp = "Time from sending a statement to its first row or its result, by operation and by what answered."

	waitsName = "coroutine_wait_seconds"
	waitsHelp = "Time that a goroutine waited for admission, by priority; 0 if it did not have to."
)

//nolint:gochecknoglobals // constants
var (
	queriesLabels   = []string{"op", "source", "outcome"}
	durationsLabels = []string{"op", "source"}
	waitsLabels     = []string{"priority"}
)

// sourceDB is what answered, if it is the database.
const sourceDB = "db"

// newMetrics makes the collector of a pool of that name.
func newMetrics(pool string, cfg *Config, stats func() Stats) *metrics {
	factor := 0.0
	if cfg.Histograms == HistogramsBoth {
		factor = nativeFactor
	}
	labels := prometheus.Labels{"pool": pool}
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("lifeguard_"+name, help, variable, labels)
	}
	m := &metrics{
		pool: pool, stats: stats, created: time.Now(), batches: newBatchMetrics(labels, factor),
		queries:   desc("queries_total", queriesHelp, queriesLabels...),
		durations: desc(durationsName, durationsHelp, durationsLabels...),
		waits:     desc(waitsName, waitsHelp, waitsLabels...),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeguard_errors_total", ConstLabels: labels,
			Help: "Operations that failed, pings and preparations too, by class of SQLSTATE; neither refusals nor what callers gave up.",
		}, []string{"class"}),

		queueDepth:  desc("pool_queue_depth", "Goroutines that wait for admission now."),
		queueMax:    desc("pool_queue_max", "Goroutines that may wait; the next one is refused."),
		limit:       desc("limit", "Statements, transactions and pinned connections that may be in flight."),
		slots:       desc("slots", "Slots in use, by what their holders are doing.", "state"),
		slotSeconds: desc("slot_seconds_total", "Time that slots have spent in each state.", "state"),
		holdMean:    desc("slot_hold_mean_seconds", "Running mean of how long a slot is held, on which predicted waits rest."),
		refusals:    desc("refusals_total", "Callers that were refused admission, by reason.", "reason"),
		admitted:    desc("admissions_total", "Callers that were admitted, by priority.", "priority"),
		left:        desc("admissions_canceled_total", "Callers whose own context ended while they waited for admission."),
		groups:      desc("groups_total", "Groups of statements that were sent over one connection at once; see lifeguard_group."),
		riders:      desc("group_riders_total", "Statements that were taken into a group of another one: answered in it, or sent alone after all.", "outcome"),
		conns:       desc("pool_connections", "Physical connections, by state.", "state"),
		connsMax:    desc("pool_max_connections", "Physical connections at most."),
		opened:      desc("pool_connections_opened_total", "Physical connections opened."),
		closed:      desc("pool_connections_closed_total", "Physical connections closed, by reason.", "reason"),
		ceilings:    newCeilingMetrics(desc),
	}
	if factor > 0 {
		m.native = newNativeTimes(labels)
	}
	m.cache = newCacheMetrics(desc)
	m.errorBy = make(map[string]prometheus.Counter, len(sqlstateClasses)+1)
	for _, class := range append(sqlstateClasses, classOther) {
		m.errorBy[class] = m.errors.WithLabelValues(class)
	}
	return m
}

const (
	// exemplarEvery is how long a bucket keeps its exemplar at least. A scrape sees the
	// latest of each bucket only, so that more of them would be made for nobody.
	exemplarEvery   = 100 * time.Millisecond
	exemplarBuckets = 15 // as durationBuckets, and one for what is beyond
)

// wantsExemplar reports whether the bucket that an event falls into is due for another
// exemplar, and takes it for given.
func (m *metrics) wantsExemplar(op sqltext.Op, bucket int, e *event) bool {
	at := &m.exemplarAt[op][bucket]
	last, now := at.Load(), int64(e.sent+e.took)+1
	return (last == 0 || now-last >= int64(exemplarEvery)) && at.CompareAndSwap(last, now)
}

// executed counts a statement that was sent to the server. An exemplar costs twenty
// times the observation, and is made only if the trace that it leads to is kept, and
// not for each of many.
func (m *metrics) executed(e *event) {
	op, bucket := e.st.Kind.Op(), bucketOf(durationBounds, e.first)
	t := &m.counts[e.slot&(countShards-1)]
	t.queries[op][outcomeOf(e.err)].Add(1)
	exemplary := e.sampled() && m.wantsExemplar(op, bucket, e)
	if m.native != nil {
		m.native.observe(op, e, exemplary)
		return
	}
	t.times[op].add(bucket, e.first)
	if exemplary {
		m.exemplars[op][bucket].Store(&prometheus.Exemplar{Value: e.first.Seconds(), Labels: e.exemplar(), Timestamp: time.Now()})
	}
}

// notSent counts a statement that was turned away.
func (m *metrics) notSent(op sqltext.Op, outcome queryOutcome) {
	m.counts[0].queries[op][outcome].Add(1)
}

// failed counts an error, if it is the server's or the network's.
func (m *metrics) failed(err error, lost bool) {
	if outcomeOf(err) != outcomeError {
		return
	}
	sqlstate, kind := fault(err, lost)
	class := classOther
	switch {
	case len(sqlstate) == 5:
		class = sqlstate[:2]
	case kind == faultConnection:
		class = classConnection
	}
	counter, known := m.errorBy[class]
	if !known {
		counter = m.errorBy[classOther]
	}
	counter.Inc()
}

// countWait is the limiter's onWait. The metrics exist before anybody can wait.
func (co *core) countWait(p Priority, wait time.Duration, _ waitResult) {
	m := co.metrics
	if m.native != nil {
		m.native.waitBy[p.index()].Observe(wait.Seconds())
		return
	}
	m.waitTimes[p.index()].add(bucketOf(waitBounds, wait), wait)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.errors.Describe(ch)
	m.batches.describe(ch)
	for _, d := range []*prometheus.Desc{
		m.queries, m.durations, m.waits, // native ones are described alike
		m.queueDepth, m.queueMax, m.limit, m.slots, m.slotSeconds, m.holdMean,
		m.refusals, m.admitted, m.left, m.groups, m.riders, m.conns, m.connsMax, m.opened, m.closed,
	} {
		ch <- d
	}
	m.ceilings.describe(ch)
	m.cache.describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.collectCounts(ch)
	m.errors.Collect(ch)
	m.batches.collect(ch)

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	st := m.stats()
	gauge(m.queueDepth, float64(st.Limiter.Queued))
	gauge(m.queueMax, float64(st.Limiter.MaxQueue))
	gauge(m.limit, float64(st.Limiter.Limit))
	gauge(m.holdMean, st.Limiter.HoldMean.Seconds())
	for _, s := range st.Limiter.States {
		gauge(m.slots, float64(s.Slots), s.State.String())
		counter(m.slotSeconds, s.Time.Seconds(), s.State.String())
	}
	for _, r := range st.Limiter.Refusals {
		counter(m.refusals, float64(r.Count), string(r.Reason))
	}
	counter(m.refusals, float64(st.Limiter.Nested), "nested")
	for _, p := range st.Limiter.Priorities {
		counter(m.admitted, float64(p.Admitted), p.Priority.String())
	}
	counter(m.left, float64(st.Limiter.Canceled))
	counter(m.groups, float64(st.Group.Groups))
	counter(m.riders, float64(st.Group.Riders), "answered")
	counter(m.riders, float64(st.Group.Alone), "alone")
	gauge(m.conns, float64(st.Pool.Idle), "idle")
	gauge(m.conns, float64(st.Pool.InUse), "in_use")
	gauge(m.conns, float64(st.Pool.Opening), "opening")
	gauge(m.connsMax, float64(st.Pool.Max))
	counter(m.opened, float64(st.Pool.Opened))
	for reason, n := range st.Pool.Closed {
		counter(m.closed, float64(n), reason)
	}
	m.ceilings.collect(&st, gauge, counter)
	m.cache.collect(st.Cache, ch, gauge, counter)
}

// namesakes bounds the search for a free suffix.
const namesakes = 1000

// registerMetrics makes and registers the collector of a pool. If a pool of that name
// is registered already, it gets a suffix: shop, shop-2, shop-3. A pool works without
// being registered, so an error is for the log.
func registerMetrics(cfg *Config, stats func() Stats) (*metrics, error) {
	pool := cfg.Name
	name := pool
	for i := 2; i < namesakes; i++ {
		m := newMetrics(name, cfg, stats)
		err := cfg.Registerer.Register(m)
		if err == nil {
			m.registered = true
			return m, nil
		}
		var taken prometheus.AlreadyRegisteredError
		if !errors.As(err, &taken) {
			return m, err
		}
		name = fmt.Sprintf("%s-%d", pool, i)
	}
	return newMetrics(pool, cfg, stats), fmt.Errorf("%d pools are named %q", namesakes, pool)
}
