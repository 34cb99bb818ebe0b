package oteltest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestEveryStatementThatIsSentHasOneSpan(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider = provider })
	host, port, database := cfg.ConnConfig.Host, int64(cfg.ConnConfig.Port), cfg.ConnConfig.Database
	db := open(t, cfg)

	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := db.ExecContext(ctx, "create table orders (id int primary key, note text)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "insert into orders select n, 'hunter2' from generate_series(1, 7) n"); err != nil {
		t.Fatal(err)
	}
	rows, err := db.QueryContext(ctx, "select id from orders where id < 100 and note <> $1", "hunter3")
	drain(t, rows, err)
	again, err := db.PrepareContext(ctx, "delete from orders where id = $1")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	prepared, err := db.PrepareContext(ctx, "delete from orders where id = $1") // sends nothing
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := prepared.ExecContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	defer prepared.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "insert into orders values (2)"); err == nil {
		t.Fatal("no unique violation")
	}
	_ = tx.Rollback()
	if tx, err = db.BeginTx(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(ctx); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(short, "update orders set note = 'hunter4' where pg_sleep(5) is null"); err == nil {
		t.Fatal("no time-out")
	}
	parent.End()

	query := receiver.one(t, provider, "SELECT orders")
	attrs := values(query.GetAttributes())
	for key, want := range map[string]any{
		"db.system.name": "postgresql", "db.namespace": database, "server.address": host, "db.client.connection.pool.name": "shop",
		"db.query.summary": "SELECT orders", "db.query.text": "select id from orders where id < ? and note <> ?",
		"lifeguard.source": "db", "lifeguard.queue.wait": 0.0, "db.response.returned_rows": int64(7),
	} {
		if attrs[key] != want {
			t.Errorf("%s is %v, not %v", key, attrs[key], want)
		}
	}
	if !strings.HasPrefix(host, "/") && attrs["server.port"] != port {
		t.Errorf("server.port is %v, not %d", attrs["server.port"], port)
	}
	if first, _ := attrs["lifeguard.first_row"].(float64); first <= 0 || first > 10 {
		t.Errorf("lifeguard.first_row is %v", attrs["lifeguard.first_row"])
	}
	if query.GetKind() != otlp.Span_SPAN_KIND_CLIENT || query.GetStatus().GetCode() != otlp.Status_STATUS_CODE_UNSET {
		t.Errorf("kind %v, status %v", query.GetKind(), query.GetStatus())
	}
	for name, want := range map[string]int{
		"CREATE TABLE orders": 1, "SELECT orders": 1, "PREPARE DELETE orders": 1, "DELETE orders": 2,
		"INSERT orders": 2, "BEGIN": 2, "ROLLBACK": 1, "COMMIT": 1, "UPDATE orders": 1, "ping": 0, "request": 1,
	} {
		spans := receiver.named(t, provider, name)
		if len(spans) != want {
			t.Errorf("%d spans are named %q, not %d", len(spans), name, want)
		}
		for _, s := range spans {
			if own := parent.SpanContext().SpanID(); name != "request" && !bytes.Equal(s.GetParentSpanId(), own[:]) {
				t.Errorf("%q is a child of %s, not of the request", name, hex.EncodeToString(s.GetParentSpanId()))
			}
		}
	}
	for name, want := range map[string][2]any{"INSERT orders": {"23505", "23505"}, "UPDATE orders": {nil, "timeout"}} {
		spans := receiver.named(t, provider, name)
		s := spans[len(spans)-1]
		attrs := values(s.GetAttributes())
		if attrs["db.response.status_code"] != want[0] || attrs["error.type"] != want[1] || s.GetStatus().GetCode() != otlp.Status_STATUS_CODE_ERROR || s.GetStatus().GetMessage() != want[1] {
			t.Errorf("%s: %v, status %v", name, attrs, s.GetStatus())
		}
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	if all := len(receiver.spans); all != 13 {
		t.Errorf("%d spans came in, not 13", all)
	}
	if bytes.Contains(receiver.body, []byte("hunter")) {
		t.Error("a value is in a span")
	}
}

func TestASpanEndsWhenItsRowsAreClosed(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider = provider }))
	rows, err := db.QueryContext(t.Context(), "select 1")
	if err != nil {
		t.Fatal(err)
	}
	pause := time.NewTimer(50 * time.Millisecond)
	<-pause.C
	if found := receiver.named(t, provider, "SELECT"); len(found) != 0 {
		t.Error("the span has ended while rows are open")
	}
	drain(t, rows, nil)
	s := receiver.one(t, provider, "SELECT")
	first, _ := values(s.GetAttributes())["lifeguard.first_row"].(float64)
	if took := time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()); took < 50*time.Millisecond || first > took.Seconds()-.045 {
		t.Errorf("the span took %v, its first row %v s", took, first)
	}
}

func TestTheWaitIsAnAttributeAndARefusalAnEventOfTheCaller(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider, c.MaxConns, c.Queue = provider, 1, 1 }))
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { mustExec(t, db, "select 'waits'") })
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	for connector.Stats().Limiter.Queued == 0 {
		runtime.Gosched()
	}
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := db.ExecContext(ctx, "update t set a = 'hunter2'"); !errors.Is(err, lifeguard.ErrOverloaded) {
		t.Fatal(err)
	}
	parent.End()
	pause := time.NewTimer(50 * time.Millisecond)
	<-pause.C
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()

	if wait, _ := values(receiver.one(t, provider, "SELECT").GetAttributes())["lifeguard.queue.wait"].(float64); wait < .045 || wait > 10 {
		t.Errorf("lifeguard.queue.wait is %v", wait)
	}
	if spans := receiver.named(t, provider, "UPDATE t"); len(spans) != 0 {
		t.Error("a refused statement has a span")
	}
	events := receiver.one(t, provider, "request").GetEvents()
	if len(events) != 1 || events[0].GetName() != "lifeguard.turned_away" {
		t.Fatalf("the caller's span has the events %v", events)
	}
	if attrs := values(events[0].GetAttributes()); attrs["lifeguard.reason"] != "queue_full" || attrs["db.query.summary"] != "UPDATE t" {
		t.Errorf("the event says %v", attrs)
	}
}

// exposition is what a scrape with OpenMetrics gets.
func exposition(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

func TestAnExemplarIsGivenOnlyIfItsSpanIsSampled(t *testing.T) {
	t.Parallel()
	for _, histograms := range []lifeguard.HistogramMode{lifeguard.HistogramsClassic, lifeguard.HistogramsBoth} {
		receiver := newReceiver(t)
		for _, sampled := range []bool{true, false} {
			sampler := sdk.NeverSample()
			if sampled {
				sampler = sdk.AlwaysSample()
			}
			provider := receiver.provider(t, sdk.WithSampler(sampler))
			registry := prometheus.NewRegistry()
			db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
				c.TracerProvider, c.Registerer, c.Histograms = provider, registry, histograms
			}))
			mustExec(t, db, "select 1")
			text := exposition(t, registry)
			if !sampled {
				if strings.Contains(text, "trace_id") {
					t.Error("there is an exemplar without a trace")
				}
				continue
			}
			id := hex.EncodeToString(receiver.one(t, provider, "SELECT").GetTraceId())
			if !strings.Contains(text, `# {trace_id="`+id+`"}`) {
				t.Errorf("no exemplar leads to trace %s", id)
			}
		}
	}
}

func TestTheGlobalProvidersAreUsedAndNotSet(t *testing.T) {
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	before, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
	dsn := pgtest.DSN(t)
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	t.Setenv("LIFEGUARD_TRACE", "on")
	db, err := sql.Open("lifeguard", dsn+separator+"lifeguard_trace=off") // the environment overrides
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustExec(t, db, "select 1") // nobody has set a provider: nothing happens
	if otel.GetTracerProvider() != before || otel.GetMeterProvider() != meters {
		t.Error("a global provider has been set")
	}
	reader := metricsdk.NewManualReader()
	otel.SetTracerProvider(provider)
	defer otel.SetTracerProvider(before)
	otel.SetMeterProvider(metricsdk.NewMeterProvider(metricsdk.WithReader(reader)))
	defer otel.SetMeterProvider(meters)
	mustExec(t, db, "select 2")
	receiver.one(t, provider, "SELECT")
	if points := histogram(t, reader); len(points) != 1 || points[0].Count != 1 {
		t.Errorf("db.client.operation.duration has %v", points)
	}
}

func TestOffMeansOff(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider, c.Trace = provider, lifeguard.TraceOff }))
	mustExec(t, db, "select 1")
	if spans := receiver.named(t, provider, "SELECT"); len(spans) != 0 {
		t.Error("there is a span")
	}
}
