package lifeguard

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/trace"
)

// counted is what metrics counts of statements, without what it reads from Stats.
type counted struct{ *metrics }

func (c counted) Collect(ch chan<- prometheus.Metric) { c.collectCounts(ch) }

func TestEachBucketIsGivenAnExemplarNowAndThen(t *testing.T) {
	t.Parallel()
	if len(durationBuckets)+1 != exemplarBuckets {
		t.Fatalf("exemplarBuckets must be %d", len(durationBuckets)+1)
	}
	for _, histograms := range []HistogramMode{HistogramsClassic, HistogramsBoth} {
		t.Run(string(histograms), func(t *testing.T) {
			t.Parallel()
			exemplarsOfBuckets(t, histograms)
		})
	}
}

func exemplarsOfBuckets(t *testing.T, histograms HistogramMode) {
	t.Helper()
	m := newMetrics("shop", &Config{Histograms: histograms, Cache: CacheOff}, func() Stats { return Stats{} })
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(counted{m}); err != nil {
		t.Fatal(err)
	}
	given := func() (ids []byte) { // first bytes of the trace ids, by bucket
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, metric := range f.GetMetric() {
				for _, b := range metric.GetHistogram().GetBucket() {
					if x := b.GetExemplar(); x != nil {
						ids = append(ids, x.GetLabel()[0].GetValue()[1])
					}
				}
			}
		}
		return ids
	}
	observe := func(id byte, flags trace.TraceFlags, at, took time.Duration) {
		sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{1}, TraceFlags: flags})
		span := trace.SpanFromContext(trace.ContextWithSpanContext(context.Background(), sc))
		m.executed(&event{st: numbered(1), span: span, sent: at, first: took, took: took})
	}

	for _, step := range []struct {
		id       byte
		flags    trace.TraceFlags
		at, took time.Duration
		want     string
	}{
		{1, 0, 0, time.Millisecond, ""}, // not sampled
		{2, trace.FlagsSampled, 0, time.Millisecond, "2"},
		{3, trace.FlagsSampled, 50 * time.Millisecond, time.Millisecond, "2"},  // too soon
		{4, trace.FlagsSampled, 51 * time.Millisecond, 20 * time.Second, "24"}, // beyond the last bucket
		{5, trace.FlagsSampled, 52 * time.Millisecond, 3 * time.Second, "254"}, // another bucket
		{6, trace.FlagsSampled, 200 * time.Millisecond, time.Millisecond, "654"},
	} {
		observe(step.id, step.flags, step.at, step.took)
		if got := string(given()); got != step.want {
			t.Errorf("after %d the exemplars are of %q, not %q", step.id, got, step.want)
		}
	}
}

// What is counted here must come out as client_golang's own histogram has it.
func TestTimesAreCountedInTheBucketsOfAHistogram(t *testing.T) {
	t.Parallel()
	m := newMetrics("shop", &Config{Histograms: HistogramsClassic, Cache: CacheOff}, func() Stats { return Stats{} })
	co := &core{metrics: m}
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "d", Help: "d", Buckets: durationBuckets})
	waited := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "w", Help: "w", Buckets: waitBuckets})
	took := []time.Duration{0, 1, 500 * time.Microsecond, 500*time.Microsecond + 1, 100 * time.Millisecond, 100*time.Millisecond + 1, 10 * time.Second, time.Hour}
	for _, edge := range append(slices.Clone(durationBounds), waitBounds...) {
		took = append(took, edge-1, edge, edge+1)
	}
	st := numbered(1)
	for i, d := range took {
		m.executed(&event{st: st, slot: i, first: d})
		co.countWait(Low, d, waitAdmitted)
		theirs.Observe(d.Seconds())
		waited.Observe(d.Seconds())
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(counted{m})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, f := range families {
		for _, ours := range f.GetMetric() {
			h := ours.GetHistogram()
			if h.GetSampleCount() == 0 {
				continue
			}
			compared++
			want := &dto.Metric{}
			of := theirs
			if f.GetName() == "lifeguard_coroutine_wait_seconds" {
				of = waited
			}
			if err := of.Write(want); err != nil {
				t.Fatal(err)
			}
			if got, want := histogramText(h), histogramText(want.GetHistogram()); got != want {
				t.Errorf("%s is\n%s\nnot\n%s", f.GetName(), got, want)
			}
		}
	}
	if compared != 2 {
		t.Errorf("%d histograms have samples, not 2", compared)
	}
}

func histogramText(h *dto.Histogram) string {
	text := fmt.Sprintf("%d, %.6f:", h.GetSampleCount(), h.GetSampleSum())
	for _, b := range h.GetBucket() {
		text += fmt.Sprintf(" %v=%d", b.GetUpperBound(), b.GetCumulativeCount())
	}
	return text
}
