package lifeguard

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

func TestEachBucketIsGivenAnExemplarNowAndThen(t *testing.T) {
	t.Parallel()
	if len(durationBuckets)+1 != exemplarBuckets {
		t.Fatalf("exemplarBuckets must be %d", len(durationBuckets)+1)
	}
	m := newMetrics("shop", &Config{Histograms: HistogramsClassic, Cache: CacheOff}, func() Stats { return Stats{} })
	registry := prometheus.NewRegistry()
	if err := registry.Register(m.durations); err != nil {
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
