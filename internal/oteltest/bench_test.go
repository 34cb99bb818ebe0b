package oteltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"flag"
	"log/slog"
	"slices"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/pgstub"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// watching is one way to observe a database.
type watching struct {
	name       string
	open       func(b *testing.B, c *lifeguard.Config) *sql.DB
	spans      sdk.Sampler // nil without OpenTelemetry
	histograms lifeguard.HistogramMode
}

// observers lists what is compared. "off" has Prometheus' metrics and top queries, for
// they cannot be switched off; what they cost is BenchmarkObserve in the root.
// "everything" has native histograms and exemplars too.
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
	lifeguardConnector := func(b *testing.B, c *lifeguard.Config) driver.Connector {
		b.Helper()
		connector, err := lifeguard.NewConnector(*c)
		if err != nil {
			b.Fatal(err)
		}
		return connector
	}
	pgxConnector := func(_ *testing.B, c *lifeguard.Config) driver.Connector { return stdlib.GetConnector(*c.ConnConfig) }
	plain := func(b *testing.B, c *lifeguard.Config) *sql.DB {
		b.Helper()
		db := sql.OpenDB(pgxConnector(b, c))
		b.Cleanup(func() { _ = db.Close() })
		return db
	}
	never, always := sdk.NeverSample(), sdk.AlwaysSample()
	const classic, both = lifeguard.HistogramsClassic, lifeguard.HistogramsBoth
	return []watching{
		{"lifeguard-off", own, nil, classic}, // first: benchstat compares with it
		{"lifeguard-none-sampled", own, never, classic},
		{"lifeguard-all-sampled", own, always, classic},
		{"lifeguard-everything", own, always, both},
		{"otelsql-lifeguard-none-sampled", wrapped(lifeguardConnector), never, classic},
		{"otelsql-lifeguard-all-sampled", wrapped(lifeguardConnector), always, classic},
		{"pgx", plain, nil, classic},
		{"otelsql-pgx-none-sampled", wrapped(pgxConnector), never, classic},
		{"otelsql-pgx-all-sampled", wrapped(pgxConnector), always, classic},
	}
}

func compare(b *testing.B, change func(*lifeguard.Config)) {
	b.Helper()
	for _, w := range observers() {
		b.Run("observer="+w.name, func(b *testing.B) {
			cfg := lifeguard.Config{
				Name: "shop", Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Slow: -1, Histograms: w.histograms,
			}
			change(&cfg)
			if w.spans != nil {
				cfg.Slow = 0 // its default
				provider := sdk.NewTracerProvider(sdk.WithSampler(w.spans), sdk.WithBatcher(tracetest.NewNoopExporter()))
				meters := metricsdk.NewMeterProvider(metricsdk.WithReader(metricsdk.NewManualReader()))
				b.Cleanup(func() { _, _ = provider.Shutdown(context.Background()), meters.Shutdown(context.Background()) })
				cfg.TracerProvider, cfg.MeterProvider = provider, meters
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

// Nobody runs benchmarks in CI: that they can be run, and what they compare, is tested.
//
//nolint:paralleltest // sets a flag of the process
func TestWhatObservingCostsCanBeMeasured(t *testing.T) {
	if err := flag.Set("test.benchtime", "1x"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range observers() {
		names = append(names, w.name)
	}
	for _, name := range []string{"pgx", "lifeguard-off", "lifeguard-everything", "otelsql-lifeguard-all-sampled", "otelsql-pgx-all-sampled"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among those compared", name)
		}
	}
	for on, benchmark := range map[string]func(*testing.B){"the stub": BenchmarkStubObserved, "a server": BenchmarkServerObserved} {
		if r := testing.Benchmark(benchmark); r.N == 0 || r.T == 0 {
			t.Errorf("on %s it failed: %+v", on, r)
		}
	}
}
