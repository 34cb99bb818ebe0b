package oteltest

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Whatever is done with a secret, no log line, metric or span shows it.
func TestNoSecretShowsUpAnywhere(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	reader := metricsdk.NewManualReader()
	meters := metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	registry := prometheus.NewRegistry()
	var mu sync.Mutex
	var log bytes.Buffer
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.MeterProvider, c.Registerer = provider, meters, registry
		c.Logger = slog.New(slog.NewJSONHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Slow = time.Nanosecond
		c.ConnConfig.Password = secret
		c.MaxConns, c.Queue = 1, -1
	})
	db := open(t, cfg)
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")

	mustExec(t, db, "create table t (a text primary key, n int)")
	opened := []*sql.DB{db}
	for _, try := range []struct {
		query string
		args  []any
	}{
		{"insert into t values ('hunter2')", nil},
		{"insert into t values ('hunter2')", nil}, // Key (a)=(hunter2) already exists
		{"insert into t values ($1)", []any{secret}},
		{"insert into t (n) values ($1)", []any{secret}}, // pgx cannot encode it
		{"select 'hunter2'::int", nil},                   // invalid input syntax for type integer: "hunter2"
		{"select $1::text::int", []any{secret}},          // the server says it
		{"select $tag$hunter2$tag$, E'hunter2\\n', U&'hunter2', $$hunter2$$ /* hunter2 */ -- hunter2", nil},
		{"alter role nobody_at_all password 'hunter2' valid until 'hunter2'", nil},
		{"do $$ begin raise exception 'hunter2' using detail = 'hunter2', hint = 'hunter2'; end $$", nil},
		{"select 'hunter2", nil}, // malformed
		{"select 1; select 'hunter2'; select 1/0", nil},
		{"copy t from 'hunter2'", nil},
		{"set application_name = 'hunter2'", nil},
	} {
		db := open(t, cfg) // its log has not used up its ration
		opened = append(opened, db)
		rows, err := db.QueryContext(ctx, try.query, try.args...)
		if err == nil {
			for rows.Next() {
				continue
			}
			_ = rows.Err()
			_ = rows.Close() //nolint:sqlclosecheck // within the loop
		}
		_, _ = db.ExecContext(ctx, try.query, try.args...)
		if st, err := db.PrepareContext(ctx, try.query); err == nil {
			_, _ = st.ExecContext(ctx, try.args...)
			_ = st.Close() //nolint:sqlclosecheck // within the loop
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "select 'hunter2', $1::text", secret); !errors.Is(err, lifeguard.ErrOverloaded) {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid()), 'hunter2', $1::text", secret); err == nil {
		t.Fatal("the connection lives")
	}
	_ = tx.Rollback()
	wrong := config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.Logger, c.TracerProvider = cfg.Logger, provider
		c.ConnConfig.Password, c.ConnConfig.User = secret, "nobody"
	})
	if err := open(t, wrong).PingContext(ctx); err == nil {
		t.Fatal("connected as nobody")
	}
	unreachable := config(t, "postgres://u:hunter2@127.0.0.1:1/d?lifeguard_name=x", func(c *lifeguard.Config) { c.Logger = cfg.Logger })
	if err := open(t, unreachable).PingContext(ctx); err == nil {
		t.Fatal("connected to nowhere")
	}
	parent.End()
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}

	var otelMetrics metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &otelMetrics); err != nil {
		t.Fatal(err)
	}
	var otelText strings.Builder
	for _, p := range histogram(t, reader) {
		otelText.WriteString(p.Attributes.Encoded(attribute.DefaultEncoder()))
	}
	var top strings.Builder
	for _, db := range opened {
		connector, err := lifeguard.FromDB(db)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range connector.TopQueries(0) {
			top.WriteString(q.Summary + q.Query)
		}
	}
	mu.Lock()
	lines := log.String()
	mu.Unlock()
	receiver.mu.Lock()
	spans := string(receiver.body)
	receiver.mu.Unlock()
	for where, text := range map[string]string{"log": lines, "Prometheus": exposition(t, registry), "OpenTelemetry's metrics": otelText.String(), "spans": spans, "top queries": top.String()} {
		if len(text) < 300 {
			t.Errorf("%s: only %q", where, text)
		}
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s: …%s…", where, text[max(i-300, 0):min(i+50, len(text))])
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}
