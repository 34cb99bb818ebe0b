package oteltest

import (
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type item struct {
	ID   int64
	Name string
}

func TestAFlushIsOneSpanBelowTheCallThatMadeItGo(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	reader := metricsdk.NewManualReader()
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.MeterProvider = provider, metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	}))
	mustExec(t, db, "create table item (id bigint check (id <> 2), name text)")
	b, err := lifeguard.NewBatchInserter[item](db, "item", lifeguard.BatchConfig{FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.Tracer("test")
	adding, addSpan := tracer.Start(t.Context(), "adding")
	for i := range int64(5) {
		if err := b.Add(adding, item{i, "hunter2"}); err != nil {
			t.Fatal(err)
		}
	}
	addSpan.End()
	flushing, flushSpan := tracer.Start(t.Context(), "flushing")
	var refused *lifeguard.BatchError
	if err := b.Flush(flushing); !errors.As(err, &refused) || refused.Refused != 1 {
		t.Fatal(err)
	}
	flushSpan.End()
	adding, addSpan = tracer.Start(t.Context(), "adding more")
	if err := b.Add(adding, item{7, "x"}); err != nil {
		t.Fatal(err)
	}
	addSpan.End()
	_, _ = b.Close(t.Context()) // no span of its own

	spans := receiver.named(t, provider, "COPY public.item")
	if len(spans) != 2 {
		t.Fatalf("%d spans, not one for each flush", len(spans))
	}
	for i, parent := range []string{"flushing", "adding more"} {
		if got, want := spans[i].GetParentSpanId(), receiver.one(t, provider, parent).GetSpanId(); string(got) != string(want) {
			t.Errorf("flush %d is not below %q", i, parent)
		}
	}
	attrs := values(spans[0].GetAttributes())
	for key, want := range map[string]any{
		"db.operation.batch.size": int64(5),
		"lifeguard.batch.written": int64(4),
		"lifeguard.batch.refused": int64(1),
		"lifeguard.batch.retries": int64(0),
		"db.response.status_code": "23514",
		"db.query.summary":        "COPY public.item",
		"db.system.name":          "postgresql",
		"lifeguard.source":        "db",
		"db.query.text":           `copy "public"."item"("id", "name") from stdin(format binary)`,
	} {
		if attrs[key] != want {
			t.Errorf("%s is %v, not %v", key, attrs[key], want)
		}
	}
	if code := spans[0].GetStatus().GetCode(); int(code) == int(codes.Error) || attrs["error.type"] != nil {
		t.Errorf("a flush that wrote four rows of five has status %v, error %v", code, attrs["error.type"])
	}
	receiver.mu.Lock()
	all := len(receiver.spans)
	receiver.mu.Unlock()
	if all != 6 { // CREATE TABLE, three of the test, two flushes
		t.Errorf("%d spans", all)
	}
	flushes := uint64(0)
	for _, p := range histogram(t, reader) {
		if summary, _ := p.Attributes.Value("db.query.summary"); summary.AsString() == "COPY public.item" {
			flushes += p.Count
		}
	}
	if flushes != 2 {
		t.Errorf("db.client.operation.duration has %d flushes", flushes)
	}
}

func TestAFailedFlushIsAFailedSpan(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider = provider }))
	mustExec(t, db, "create table item (id bigint, name text)")
	b, err := lifeguard.NewBatchInserter[item](db, "item", lifeguard.BatchConfig{FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), item{1, "hunter2"}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "drop table item")
	if _, err := b.Close(t.Context()); err == nil {
		t.Fatal("no error")
	}
	span := receiver.one(t, provider, "COPY public.item")
	attrs := values(span.GetAttributes())
	if span.GetStatus().GetMessage() != "42P01" || attrs["error.type"] != "42P01" || attrs["db.response.status_code"] != "42P01" {
		t.Errorf("the span of a failed flush: %v, %v", span.GetStatus(), attrs)
	}
}
