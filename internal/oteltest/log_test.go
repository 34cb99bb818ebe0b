package oteltest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// logger sends what it logs to the receiver, through the real bridge and exporter.
func (r *receiver) logger(t *testing.T) (*slog.Logger, *sdklog.LoggerProvider) {
	t.Helper()
	exporter, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(r.server.URL+"/v1/logs"))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	return slog.New(otelslog.NewHandler("test", otelslog.WithLoggerProvider(provider))), provider
}

// logged returns the records about statements of that summary, after everything has
// been sent.
func (r *receiver) logged(t *testing.T, provider *sdklog.LoggerProvider, text, summary string) []*logs.LogRecord {
	t.Helper()
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*logs.LogRecord
	for _, l := range r.logs {
		if l.GetBody().GetStringValue() == text && values(l.GetAttributes())["summary"] == summary {
			found = append(found, l)
		}
	}
	return found
}

func (r *receiver) oneLogged(t *testing.T, provider *sdklog.LoggerProvider, text, summary string) *logs.LogRecord {
	t.Helper()
	found := r.logged(t, provider, text, summary)
	if len(found) != 1 {
		t.Fatalf("%d records say %q of %q, not 1", len(found), text, summary)
	}
	return found[0]
}

func TestALogRecordHasTheTraceAndSpanOfItsStatement(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	traces := receiver.provider(t)
	logger, records := receiver.logger(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.Logger, c.Slow, c.MaxConns, c.Queue = traces, logger, 50*time.Millisecond, 1, -1
	}))
	mustExec(t, db, "create table orders (id int primary key)")
	ctx, parent := traces.Tracer("test").Start(t.Context(), "request")

	rows, err := db.QueryContext(ctx, "select 'hunter2', pg_sleep(0.1) from generate_series(1, 2)")
	drain(t, rows, err)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "insert into orders values (1)"); !errors.Is(err, lifeguard.ErrOverloaded) {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid()) from orders right join (values (1)) v on true"); err == nil {
		t.Fatal("the connection lives")
	}
	_ = tx.Rollback()
	parent.End()

	slow := receiver.oneLogged(t, records, "lifeguard: slow statement", "SELECT")
	span := receiver.one(t, traces, "SELECT")
	if !bytes.Equal(slow.GetTraceId(), span.GetTraceId()) || !bytes.Equal(slow.GetSpanId(), span.GetSpanId()) {
		t.Errorf("the record has trace %x, span %x; the span %x, %x", slow.GetTraceId(), slow.GetSpanId(), span.GetTraceId(), span.GetSpanId())
	}
	if slow.GetSeverityNumber() != logs.SeverityNumber_SEVERITY_NUMBER_WARN {
		t.Errorf("severity %v", slow.GetSeverityNumber())
	}
	attrs := values(slow.GetAttributes())
	for key, want := range map[string]any{
		"pool": "shop", "rows": int64(2), "sql": "select ?, pg_sleep(?) from generate_series(?, ?)",
		"trace_id": hex.EncodeToString(span.GetTraceId()), "span_id": hex.EncodeToString(span.GetSpanId()),
	} {
		if attrs[key] != want {
			t.Errorf("%s is %v, not %v", key, attrs[key], want)
		}
	}
	took := float64(span.GetEndTimeUnixNano()-span.GetStartTimeUnixNano()) / 1e6
	if ms, _ := attrs["duration_ms"].(float64); ms < 200 || ms > took+1 {
		t.Errorf("duration_ms is %v, the span took %v ms", attrs["duration_ms"], took)
	}

	lost := receiver.oneLogged(t, records, "lifeguard: connection lost during a statement", "SELECT orders")
	if span := receiver.one(t, traces, "SELECT orders"); !bytes.Equal(lost.GetSpanId(), span.GetSpanId()) ||
		values(lost.GetAttributes())["error"] != values(span.GetAttributes())["db.response.status_code"] {
		t.Errorf("the record says %v, the span %v", values(lost.GetAttributes()), values(span.GetAttributes()))
	}
	// A statement that was not sent has no span: its record leads to the caller's.
	refused := receiver.oneLogged(t, records, "lifeguard: statement refused", "INSERT orders")
	if caller := receiver.one(t, traces, "request"); !bytes.Equal(refused.GetTraceId(), caller.GetTraceId()) || !bytes.Equal(refused.GetSpanId(), caller.GetSpanId()) {
		t.Errorf("the refusal is logged in span %x, the caller's is %x", refused.GetSpanId(), caller.GetSpanId())
	}
	for _, record := range []*logs.LogRecord{lost, refused} {
		if said := values(record.GetAttributes())["trace_id"]; said != hex.EncodeToString(record.GetTraceId()) {
			t.Errorf("%q has trace_id %v, not %x", record.GetBody().GetStringValue(), said, record.GetTraceId())
		}
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	if strings.Contains(string(receiver.body), "hunter") {
		t.Error("a value has come in")
	}
}

func TestAnErrorsSQLSTATEIsTheSameInLogAndTrace(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	traces := receiver.provider(t)
	logger, records := receiver.logger(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.Logger, c.Slow = traces, logger, time.Nanosecond
	}))
	for _, failing := range []struct{ query, summary, sqlstate string }{
		{"select 1 / 0", "SELECT", "22012"},
		{"insert into nowhere values (1)", "INSERT nowhere", "42P01"},
		{"update pg_class set", "UPDATE pg_class", "42601"},
	} {
		if _, err := db.ExecContext(t.Context(), failing.query); err == nil {
			t.Fatalf("%s: no error", failing.query)
		}
		span := receiver.one(t, traces, failing.summary)
		record := receiver.oneLogged(t, records, "lifeguard: slow statement", failing.summary)
		if code := values(span.GetAttributes())["db.response.status_code"]; code != failing.sqlstate {
			t.Errorf("%s: the span says %v", failing.query, code)
		}
		if code := values(record.GetAttributes())["error"]; code != failing.sqlstate {
			t.Errorf("%s: the record says %v", failing.query, code)
		}
		if !bytes.Equal(span.GetTraceId(), record.GetTraceId()) || len(record.GetTraceId()) != 16 {
			t.Errorf("%s: the record has trace %x, the span %x", failing.query, record.GetTraceId(), span.GetTraceId())
		}
	}
}
