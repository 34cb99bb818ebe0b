package oteltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestOpenTelemetrysHistogramIsAsTheConventionsSay(t *testing.T) {
	t.Parallel()
	reader := metricsdk.NewManualReader()
	provider := metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MeterProvider = provider })
	host, port, database := cfg.ConnConfig.Host, int64(cfg.ConnConfig.Port), cfg.ConnConfig.Database
	db := open(t, cfg)
	for range 3 {
		mustExec(t, db, "select 1")
	}
	if _, err := db.ExecContext(t.Context(), "select 1/0"); err == nil {
		t.Fatal("no error")
	}
	if err := db.PingContext(t.Context()); err != nil { // is no operation
		t.Fatal(err)
	}
	st, err := db.PrepareContext(t.Context(), "select 2") // nor is this
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}

	if m := histogramOf(t, reader); m.Unit != "s" || m.Description == "" {
		t.Errorf("the unit is %q, the description %q", m.Unit, m.Description)
	}
	counts := make(map[string]uint64)
	for _, p := range histogram(t, reader) {
		code, failed := p.Attributes.Value("db.response.status_code")
		kind, _ := p.Attributes.Value("error.type")
		if failed != (kind.AsString() != "") || code.AsString() != kind.AsString() {
			t.Errorf("db.response.status_code is %v, error.type %v", code, kind)
		}
		summary, _ := p.Attributes.Value("db.query.summary")
		counts[strings.TrimSpace(summary.AsString()+" "+code.AsString())] += p.Count
		want := []attribute.KeyValue{
			attribute.String("db.system.name", "postgresql"), attribute.String("db.namespace", database),
			attribute.String("server.address", host), attribute.String("db.client.connection.pool.name", "shop"),
		}
		if !strings.HasPrefix(host, "/") { // a socket has no port
			want = append(want, attribute.Int64("server.port", port))
		}
		for _, a := range want {
			if have, _ := p.Attributes.Value(a.Key); have != a.Value {
				t.Errorf("%s is %v, not %v", a.Key, have, a.Value)
			}
		}
		if !slices.Equal(p.Bounds, []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10}) {
			t.Errorf("the buckets are %v", p.Bounds)
		}
	}
	want := map[string]uint64{"SELECT": 3, "SELECT 22012": 1, "BEGIN": 1, "COMMIT": 1}
	if fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("recorded are %v, not %v", counts, want)
	}
}

func TestOpenTelemetrysHistogramHasTheSpansDuration(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	spans := receiver.provider(t)
	reader := metricsdk.NewManualReader()
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.MeterProvider = spans, metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	}))
	rows, err := db.QueryContext(t.Context(), "select pg_sleep(0.05)")
	if err != nil {
		t.Fatal(err)
	}
	pause := time.NewTimer(50 * time.Millisecond)
	<-pause.C
	drain(t, rows, nil)
	points := histogram(t, reader)
	if len(points) != 1 || points[0].Count != 1 {
		t.Fatalf("recorded are %v", points)
	}
	s := receiver.one(t, spans, "SELECT")
	span := time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()).Seconds()
	// The span is begun a little earlier and ended a little later.
	if sum := points[0].Sum; sum < 0.1 || sum > span {
		t.Errorf("recorded are %v s, the span took %v", sum, span)
	}
}

func TestSummariesAreABoundedNumberOfSeries(t *testing.T) {
	t.Parallel()
	reader := metricsdk.NewManualReader()
	provider := metricsdk.NewMeterProvider(metricsdk.WithReader(reader), metricsdk.WithCardinalityLimit(0))
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MeterProvider = provider }))
	for i := range 700 {
		_, _ = db.ExecContext(t.Context(), fmt.Sprintf("select * from nowhere_%d", i))
	}
	points := histogram(t, reader)
	if len(points) != 501 { // and one without
		t.Errorf("%d series", len(points))
	}
}

// histogramOf returns db.client.operation.duration.
func histogramOf(t *testing.T, reader *metricsdk.ManualReader) metricdata.Metrics {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == "db.client.operation.duration" {
				return m
			}
		}
	}
	t.Fatal("there is no db.client.operation.duration")
	return metricdata.Metrics{}
}

func histogram(t *testing.T, reader *metricsdk.ManualReader) []metricdata.HistogramDataPoint[float64] {
	t.Helper()
	found, ok := histogramOf(t, reader).Data.(metricdata.Histogram[float64])
	if !ok {
		t.Fatal("it is no histogram")
	}
	return found.DataPoints
}
