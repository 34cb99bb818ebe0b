package oteltest

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestOtelsqlWorksAroundLifeguard(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	reader := metricsdk.NewManualReader()
	meters := metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	dsn := pgtest.DSN(t)
	db, err := otelsql.Open("lifeguard", dsn, otelsql.WithTracerProvider(provider), otelsql.WithMeterProvider(meters))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	registration, err := otelsql.RegisterDBStatsMetrics(db, otelsql.WithMeterProvider(meters))
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Unregister() //nolint:errcheck // of a test

	mustExec(t, db, "create table pets (id int primary key, tags text[])")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "insert into pets values ($1, $2)", 1, []string{"cat"}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	st, err := db.PrepareContext(t.Context(), "select id from pets where id = $1")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var id int
	if err := st.QueryRowContext(t.Context(), 1).Scan(&id); err != nil || id != 1 {
		t.Fatalf("%d, %v", id, err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(driverConn any) error {
		pgxConn, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		return pgxConn.Ping(context.Background())
	})
	if err != nil {
		t.Errorf("no pgx connection through otelsql: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if spans := receiver.named(t, provider, "sql.conn.exec"); len(spans) == 0 {
		t.Error("otelsql made no spans")
	}
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			names = append(names, m.Name)
		}
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "db.sql.connection.open") || !strings.Contains(all, "db.client.operation.duration") {
		t.Errorf("the metrics are %s", all)
	}
}

// The outer sql.DB's figures count virtual connections.
func TestRegisterDBStatsMetricsOnAPlainLifeguardDB(t *testing.T) {
	t.Parallel()
	reader := metricsdk.NewManualReader()
	meters := metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
	db, err := sql.Open("lifeguard", pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	registration, err := otelsql.RegisterDBStatsMetrics(db, otelsql.WithMeterProvider(meters))
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Unregister() //nolint:errcheck // of a test
	mustExec(t, db, "select 1")
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			if gauge, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == "db.sql.connection.open" && len(gauge.DataPoints) > 0 {
				return
			}
		}
	}
	t.Errorf("there is no db.sql.connection.open in %+v", got)
}
