package lifeguard

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// batchMetrics counts what a pool's BatchInserters do. What they do is counted as it
// happens; what waits is read from those that are open when somebody collects. A nil
// *batchMetrics counts nothing: that of inserters on another driver's *sql.DB.
type batchMetrics struct {
	rows      *prometheus.CounterVec
	chunks    *prometheus.CounterVec
	bytes     prometheus.Counter
	retries   prometheus.Counter
	recovered prometheus.Counter
	duration  prometheus.Histogram

	written, refused prometheus.Counter // of rows
	ok, failed       prometheus.Counter // of chunks

	pendingRows, pendingBytes *prometheus.Desc

	mu   sync.Mutex // guards open; no other lock is taken under it
	open map[*batch]struct{}
}

func newBatchMetrics(labels prometheus.Labels, factor float64) *batchMetrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "lifeguard_batch_" + name, Help: help, ConstLabels: labels}
	}
	m := &batchMetrics{
		rows:      prometheus.NewCounterVec(opts("rows_total", "Rows of batch inserters, by what became of them."), []string{"result"}),
		chunks:    prometheus.NewCounterVec(opts("chunks_total", "Chunks that batch inserters are done with; failed if rows of it were neither written nor refused."), []string{"outcome"}),
		bytes:     prometheus.NewCounter(opts("bytes_total", "Bytes of rows that batch inserters have written.")),
		retries:   prometheus.NewCounter(opts("retries_total", "Chunks, or parts of them, sent again after a failure that passes or a refusal of admission.")),
		recovered: prometheus.NewCounter(opts("recovered_total", "Chunks whose COMMIT lost its answer and was found to have taken place.")),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lifeguard_batch_flush_duration_seconds", ConstLabels: labels, Buckets: waitBuckets,
			NativeHistogramBucketFactor: factor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: time.Hour,
			Help: "Time to write a chunk, with its waits for admission, retries and refused rows.",
		}),
		pendingRows:  prometheus.NewDesc("lifeguard_batch_pending_rows", "Rows accepted by open batch inserters, and neither written nor refused yet.", nil, labels),
		pendingBytes: prometheus.NewDesc("lifeguard_batch_pending_bytes", "Memory that these rows take.", nil, labels),
		open:         make(map[*batch]struct{}),
	}
	m.written, m.refused = m.rows.WithLabelValues("written"), m.rows.WithLabelValues("refused")
	m.ok, m.failed = m.chunks.WithLabelValues("ok"), m.chunks.WithLabelValues("failed")
	return m
}

func (m *batchMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.rows, m.chunks, m.bytes, m.retries, m.recovered, m.duration}
}

func (m *batchMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	ch <- m.pendingRows
	ch <- m.pendingBytes
}

func (m *batchMetrics) collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	var rows, bytes int64
	for _, b := range m.opens() {
		stats := b.snapshot()
		rows += stats.Pending
		bytes += stats.PendingBytes
	}
	ch <- prometheus.MustNewConstMetric(m.pendingRows, prometheus.GaugeValue, float64(rows))
	ch <- prometheus.MustNewConstMetric(m.pendingBytes, prometheus.GaugeValue, float64(bytes))
}

func (m *batchMetrics) opens() []*batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.open))
}

// opened and closed say which batches have something pending.

func (m *batchMetrics) opened(b *batch) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[b] = struct{}{}
}

func (m *batchMetrics) closed(b *batch) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, b)
}

func (m *batchMetrics) wrote(rows, bytes int) {
	if m != nil {
		m.written.Add(float64(rows))
		m.bytes.Add(float64(bytes))
	}
}

func (m *batchMetrics) refuse() {
	if m != nil {
		m.refused.Inc()
	}
}

func (m *batchMetrics) retry() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *batchMetrics) recover() {
	if m != nil {
		m.recovered.Inc()
	}
}

func (m *batchMetrics) flushed(info *FlushInfo) {
	if m == nil {
		return
	}
	m.duration.Observe(info.Took.Seconds())
	if info.Err != nil {
		m.failed.Inc()
		return
	}
	m.ok.Inc()
}
