package lifeguard

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// statementCounts counts the statements that ran in some of the slots. Statements that run at once
// hold different slots, so cores seldom write to one another's; whoever collects
// adds them up.
//
// client_golang's counter and histogram would do, and are used for native buckets. They
// take five atomic operations of a statement, on memory that all cores share, where this
// takes three on memory that few do. What they give for it is a sum that always belongs to
// the same observations as the buckets; here it may be ahead or behind by the statements
// that end while somebody collects.
type statementCounts struct {
	queries [sqltext.Ops][outcomes]atomic.Uint64
	times   [sqltext.Ops]times
	_       [64]byte // keeps them on different cache lines
}

const countShards = 4 // a power of two

// times counts durations in the buckets of a classic histogram.
type times struct {
	counts [timesBuckets]atomic.Uint64 // not cumulative
	sum    atomic.Int64                // in nanoseconds
}

// timesBuckets are enough for either list of bounds, and one for what is beyond.
const timesBuckets = 17

// add counts a duration in its bucket, see bucketOf.
func (t *times) add(bucket int, d time.Duration) {
	t.counts[bucket].Add(1)
	if d != 0 { // as most waits are
		t.sum.Add(int64(d))
	}
}

// bucketOf is the first whose bound is no less, or the one behind them all. Most
// durations are in the first few.
func bucketOf(bounds []time.Duration, d time.Duration) int {
	for i, bound := range bounds {
		if d <= bound {
			return i
		}
	}
	return len(bounds)
}

// boundsOf turns buckets' edges in seconds into durations.
func boundsOf(seconds []float64) []time.Duration {
	bounds := make([]time.Duration, len(seconds))
	for i, s := range seconds {
		bounds[i] = time.Duration(s*float64(time.Second) + .5)
	}
	return bounds
}

//nolint:gochecknoglobals // constants
var (
	durationBounds = boundsOf(durationBuckets)
	waitBounds     = boundsOf(waitBuckets)
)

// histogram makes the sample of what has been counted in all of them.
func histogram(desc *prometheus.Desc, edges []float64, created time.Time, all []*times, labels ...string) prometheus.Metric {
	var sum time.Duration
	for _, t := range all {
		sum += time.Duration(t.sum.Load())
	}
	count := uint64(0)
	upTo := make(map[float64]uint64, len(edges))
	for i := range len(edges) + 1 {
		for _, t := range all {
			count += t.counts[i].Load()
		}
		if i < len(edges) {
			upTo[edges[i]] = count
		}
	}
	return prometheus.MustNewConstHistogramWithCreatedTimestamp(desc, count, sum.Seconds(), upTo, created, labels...)
}

// collectCounts makes the samples of statements and of waits.
func (m *metrics) collectCounts(ch chan<- prometheus.Metric) {
	for op := range sqltext.Ops {
		for o := range outcomes {
			n := uint64(0)
			for i := range m.counts {
				n += m.counts[i].queries[op][o].Load()
			}
			ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(
				m.queries, prometheus.CounterValue, float64(n), m.created, op.String(), sourceDB, o.String())
		}
	}
	if m.native != nil {
		m.native.durations.Collect(ch)
		m.native.waits.Collect(ch)
		return
	}
	for op := range sqltext.Ops {
		var all [countShards]*times
		for i := range all {
			all[i] = &m.counts[i].times[op]
		}
		sample := histogram(m.durations, durationBuckets, m.created, all[:], op.String(), sourceDB)
		ch <- m.withExemplars(sample, op)
	}
	for i := range m.waitTimes {
		ch <- histogram(m.waits, waitBuckets, m.created, []*times{&m.waitTimes[i]}, (Critical - Priority(i)).String())
	}
}

// withExemplars adds what the buckets of an operation have been given.
func (m *metrics) withExemplars(sample prometheus.Metric, op sqltext.Op) prometheus.Metric {
	var given []prometheus.Exemplar
	for i := range m.exemplars[op] {
		if x := m.exemplars[op][i].Load(); x != nil {
			given = append(given, *x)
		}
	}
	if len(given) == 0 {
		return sample
	}
	with, err := prometheus.NewMetricWithExemplars(sample, given...)
	if err != nil {
		return sample // a trace id is always valid
	}
	return with
}

// nativeTimes are the histograms of lifeguard_histograms=both.
type nativeTimes struct {
	durations *prometheus.HistogramVec
	waits     *prometheus.HistogramVec

	durationBy [sqltext.Ops]prometheus.Observer
	waitBy     [priorities]prometheus.Observer
}

// nativeFactor is the growth from one bucket of a native histogram to the next, and
// nativeBuckets how many there may be.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

func (n *nativeTimes) observe(op sqltext.Op, e *event, exemplary bool) {
	duration := n.durationBy[op]
	if exemplary {
		duration.(prometheus.ExemplarObserver).ObserveWithExemplar(e.first.Seconds(), e.exemplar()) //nolint:errcheck // a histogram is one
		return
	}
	duration.Observe(e.first.Seconds())
}

func newNativeTimes(labels prometheus.Labels) *nativeTimes {
	vec := func(name, help string, edges []float64, variable []string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lifeguard_" + name, Help: help, ConstLabels: labels, Buckets: edges,
			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: time.Hour,
		}, variable)
	}
	n := &nativeTimes{
		durations: vec(durationsName, durationsHelp, durationBuckets, durationsLabels),
		waits:     vec(waitsName, waitsHelp, waitBuckets, waitsLabels),
	}
	for op := range n.durationBy {
		n.durationBy[op] = n.durations.WithLabelValues(sqltext.Op(op).String(), sourceDB)
	}
	for i := range n.waitBy {
		n.waitBy[i] = n.waits.WithLabelValues((Critical - Priority(i)).String())
	}
	return n
}
