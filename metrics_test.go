package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// openMeasured opens a database whose metrics are in a registry of their own.
func openMeasured(t testing.TB, dsn string, change func(*lifeguard.Config)) (*sql.DB, *prometheus.Registry) {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	cfg.Name = "shop"
	if change != nil {
		change(&cfg)
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, registry
}

// value returns one series' value (of a histogram, its count); labels are in order.
func value(t testing.TB, g prometheus.Gatherer, name, labels string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var pairs []string
			for _, l := range m.GetLabel() {
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
			}
			if strings.Join(pairs, ",") != labels {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				return float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("there is no series %s{%s}", name, labels)
	return 0
}

func TestMetricsCountWhatHappened(t *testing.T) {
	db, registry := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns, c.Queue = 1, -1 })
	mustExec(t, db, "create table pets (id int primary key)")
	mustExec(t, db, "insert into pets select generate_series(1, 5)")
	for range 3 {
		rows, err := db.QueryContext(t.Context(), "select id from pets")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(rows.Close(), rows.Err()); err != nil { //nolint:sqlclosecheck // within the loop
			t.Fatal(err)
		}
	}
	if _, err := db.ExecContext(t.Context(), "insert into pets values (1)"); err == nil {
		t.Fatal("no unique violation")
	}
	midway, err := db.QueryContext(t.Context(), "select 1 / (3 - id) from pets order by id")
	if err != nil {
		t.Fatal(err)
	}
	for midway.Next() {
		continue
	}
	if midway.Err() == nil {
		t.Fatal("no division by zero")
	}
	_ = midway.Close() //nolint:sqlclosecheck // what follows needs its connection

	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "update pets set id = 9 where id = 5"); !errors.Is(err, lifeguard.ErrOverloaded) {
		t.Fatalf("with no place to wait: %v", err)
	}
	if got := value(t, registry, "lifeguard_slots", "pool=shop,state=idle_in_tx"); got != 1 {
		t.Errorf("%v slots are idle in a transaction, not 1", got)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "delete from pets where pg_sleep(10) is null"); err == nil {
		t.Fatal("no time-out")
	}
	eventually(t, "the cancelled connection is cleaned up", func() bool {
		return value(t, registry, "lifeguard_pool_connections_closed_total", "pool=shop,reason=cancelled") == 1
	})

	for series, want := range map[string]float64{
		"op=other,outcome=ok,pool=shop,source=db":        1,
		"op=insert,outcome=ok,pool=shop,source=db":       1,
		"op=insert,outcome=error,pool=shop,source=db":    1,
		"op=select,outcome=ok,pool=shop,source=db":       3,
		"op=select,outcome=error,pool=shop,source=db":    1,
		"op=update,outcome=rejected,pool=shop,source=db": 1,
		"op=delete,outcome=timeout,pool=shop,source=db":  1,
		"op=tx,outcome=ok,pool=shop,source=db":           2,
	} {
		if got := value(t, registry, "lifeguard_queries_total", series); got != want {
			t.Errorf("lifeguard_queries_total{%s} is %v, not %v", series, got, want)
		}
	}
	for name, want := range map[string]float64{
		"lifeguard_query_duration_seconds{op=select,pool=shop,source=db}": 4,
		"lifeguard_query_duration_seconds{op=update,pool=shop,source=db}": 0, // it was not sent
		"lifeguard_coroutine_wait_seconds{pool=shop,priority=normal}":     10,
		"lifeguard_refusals_total{pool=shop,reason=queue_full}":           1,
		"lifeguard_pool_queue_depth{pool=shop}":                           0,
		"lifeguard_limit{pool=shop}":                                      1,
		"lifeguard_pool_max_connections{pool=shop}":                       1,
		"lifeguard_admissions_total{pool=shop,priority=normal}":           9,
	} {
		series, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		if got := value(t, registry, series, labels); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}

func TestWithoutARegistererThereIsTheDefaultOne(t *testing.T) {
	t.Parallel()
	cfg, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/shop?lifeguard_name=by_default")
	if err != nil {
		t.Fatal(err)
	}
	registered := func(pool string) bool {
		t.Helper()
		families, err := prometheus.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "lifeguard_pool_queue_depth" {
				return slices.ContainsFunc(f.GetMetric(), func(m *dto.Metric) bool { return m.GetLabel()[0].GetValue() == pool })
			}
		}
		return false
	}
	first, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !registered("by_default") || !registered("by_default-2") {
		t.Error("the pools are not in the default registry")
	}
	_ = first.Close()
	_ = second.Close()
	if registered("by_default") || registered("by_default-2") {
		t.Error("pools that are closed are in the default registry")
	}
}

func TestPoolsOfOneNameAreToldApartAndLeaveTheRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "somebody_elses", Help: "Not ours."}))
	cfg, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/shop")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registerer = registry
	for range 3 { // closed and opened again
		first, err := lifeguard.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		second, err := lifeguard.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, pool := range []string{"shop", "shop-2"} {
			if got := value(t, registry, "lifeguard_limit", "pool="+pool); got != 10 {
				t.Errorf("pool %s has a limit of %v", pool, got)
			}
		}
		_ = first.Close()
		_ = second.Close()
		if n, err := testutil.GatherAndCount(registry); err != nil || n != 1 {
			t.Errorf("after Close the registry has %d series, %v", n, err)
		}
	}
}

// A pool that is closed once more must not take the metrics of its successor away.
func TestClosingTwiceLeavesTheNextPoolOfThatNameInTheRegistry(t *testing.T) {
	t.Parallel()
	cfg, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/shop")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	cfg.Registerer = registry
	first, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	second, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = first.Close()
	if got := value(t, registry, "lifeguard_limit", "pool=shop"); got != 10 {
		t.Errorf("the second pool has a limit of %v", got)
	}
}

// Whatever pools of one name differ in, and however a registry is wrapped.
func TestPoolsOfOneNameMayDifferInTheirSettings(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"service": "web"}, registry)
	var pools []*lifeguard.Connector
	for _, settings := range []string{"", "lifeguard_histograms=both", "lifeguard_cache=local", "lifeguard_limit=auto&lifeguard_fleet_budget=20"} {
		cfg, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/shop?" + settings)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Registerer = wrapped
		pool, err := lifeguard.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pools = append(pools, pool)
	}
	for _, pool := range []string{"shop", "shop-2", "shop-3", "shop-4"} {
		if got := value(t, registry, "lifeguard_pool_queue_depth", "pool="+pool+",service=web"); got != 0 {
			t.Errorf("in %s %v wait", pool, got)
		}
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	for _, pool := range pools {
		_ = pool.Close()
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("after Close the registry has %d series, %v", n, err)
	}
}

func TestErrorsAreCountedByClass(t *testing.T) {
	db, registry := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns, c.Queue = 1, -1 })
	errorsOf := func(class string) float64 {
		t.Helper()
		return value(t, registry, "lifeguard_errors_total", "class="+class+",pool=shop")
	}
	fail := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err == nil {
			t.Fatalf("%s: no error", query)
		}
	}
	fail("select 1 / 0")                                                    // 22012
	fail("select * from nowhere")                                           // 42P01
	fail("select * from nowhere")                                           // 42P01
	fail("do $$ begin raise exception 'x' using errcode = 'ZZ123'; end $$") // an application's own
	fail("select $1::int", make(chan int))                                  // pgx cannot encode it
	if _, err := db.PrepareContext(t.Context(), "selec 1"); err == nil {    //nolint:sqlclosecheck // it fails: 42601
		t.Fatal("no syntax error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "select pg_sleep(10)"); err == nil {
		t.Fatal("no time-out")
	}
	for class, want := range map[string]float64{"22": 1, "42": 3, "other": 2, "57": 0, "08": 0, "23": 0} {
		if got := errorsOf(class); got != want {
			t.Errorf("%v errors of class %s, not %v", got, class, want)
		}
	}

	unreachable, registry := openMeasured(t, "postgres://u@127.0.0.1:1/shop", nil)
	if err := unreachable.PingContext(t.Context()); err == nil {
		t.Fatal("connected to nowhere")
	}
	if got := value(t, registry, "lifeguard_errors_total", "class=08,pool=shop"); got != 1 {
		t.Errorf("%v errors of class 08, not 1", got)
	}
}

func TestHistogramsAreNativeOnlyIfAskedFor(t *testing.T) {
	for setting, native := range map[string]bool{"classic": false, "both": true} {
		db, registry := openMeasured(t, withSettings(pgtest.DSN(t), "lifeguard_histograms="+setting), nil)
		mustExec(t, db, "select 1")
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				h := m.GetHistogram()
				if h == nil {
					continue
				}
				seen++
				if len(h.GetBucket()) == 0 {
					t.Errorf("%s: %s has no classic buckets", setting, f.GetName())
				}
				if got := h.Schema != nil; got != native {
					t.Errorf("%s: %s is native: %t", setting, f.GetName(), got)
				}
			}
		}
		if seen == 0 {
			t.Error("no histograms")
		}
	}
}
