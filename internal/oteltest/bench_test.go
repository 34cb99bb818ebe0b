package oteltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log/slog"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/pgstub"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// watching is one way to observe a database.
type watching struct {
	name  string
	open  func(b *testing.B, c *lifeguard.Config) *sql.DB
	spans sdk.Sampler // nil without OpenTelemetry
}

// observers lists what is compared. "off" has Prometheus' metrics and top queries, for
// they cannot be switched off; what they cost is BenchmarkObserve in the root.
func observers() []watching {
	own := func(b *testing.B, c *lifeguard.Config) *sql.DB {
		b.Helper()
		return open(b, *c)
	}
	wrapped := func(inner func(b *testing.B, c *lifeguard.Config) driver.Connector) func(b *testing.B, c *lifeguard.Config) *sql.DB {
		return func(b *testing.B, c *lifeguard.Config) *sql.DB {
			b.Helper()
			options := []otelsql.Option{otelsql.WithTracerProvider(c.TracerProvider), otelsql.WithMeterProvider(c.MeterProvider)}
			c.TracerProvider, c.MeterProvider = nil, nil // not both
			db := otelsql.OpenDB(inner(b, c), options...)
			b.Cleanup(func() { _ = db.Close() })
			return db
		}
	}
	ofLifeguard := wrapped(func(b *testing.B, c *lifeguard.Config) driver.Connector {
		b.Helper()
		connector, err := lifeguard.NewConnector(*c)
		if err != nil {
			b.Fatal(err)
		}
		return connector
	})
	ofPgx := wrapped(func(_ *testing.B, c *lifeguard.Config) driver.Connector { return stdlib.GetConnector(*c.ConnConfig) })
	return []watching{
		{"lifeguard/off", own, nil},
		{"lifeguard/spans=none-sampled", own, sdk.NeverSample()},
		{"lifeguard/spans=all-sampled", own, sdk.AlwaysSample()},
		{"otelsql-around-lifeguard/spans=none-sampled", ofLifeguard, sdk.NeverSample()},
		{"otelsql-around-lifeguard/spans=all-sampled", ofLifeguard, sdk.AlwaysSample()},
		{"otelsql-around-pgx/spans=all-sampled", ofPgx, sdk.AlwaysSample()},
	}
}

func compare(b *testing.B, change func(*lifeguard.Config)) {
	b.Helper()
	for _, w := range observers() {
		b.Run(w.name, func(b *testing.B) {
			cfg := lifeguard.Config{Name: "shop", Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Slow: -1}
			change(&cfg)
			if w.spans != nil {
				cfg.Slow = 0 // its default
				cfg.TracerProvider = trace.TracerProvider(sdk.NewTracerProvider(sdk.WithSampler(w.spans), sdk.WithBatcher(tracetest.NewNoopExporter())))
				cfg.MeterProvider = metric.MeterProvider(metricsdk.NewMeterProvider(metricsdk.WithReader(metricsdk.NewManualReader())))
			}
			db := w.open(b, &cfg)
			b.ReportAllocs()
			ctx := context.Background()
			var n int64
			for b.Loop() {
				if err := db.QueryRowContext(ctx, "select n from t where id = $1", int64(7)).Scan(&n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStubObserved is what observing costs where nothing else costs anything.
func BenchmarkStubObserved(b *testing.B) {
	compare(b, func(c *lifeguard.Config) { c.ConnConfig = pgstub.Config(b) })
}

// BenchmarkServerObserved is the same over a real server.
func BenchmarkServerObserved(b *testing.B) {
	cfg, err := lifeguard.ParseConfig(pgtest.DSN(b))
	if err != nil {
		b.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer db.Close()
	if _, err := db.ExecContext(b.Context(), "create table t (id int8 primary key, n int8); insert into t select i, i from generate_series(1, 1000) i; analyze t"); err != nil {
		b.Fatal(err)
	}
	compare(b, func(c *lifeguard.Config) { c.ConnConfig = cfg.ConnConfig })
}
