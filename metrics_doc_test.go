package lifeguard_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const (
	metricsDoc   = "docs/observability.md"
	metricsBegin = "<!-- metrics:begin -->"
	metricsEnd   = "<!-- metrics:end -->"
)

// everyMetric is a registry with a pool, or as much of one as two pools need: nothing that
// Lifeguard exports is missing in it.
func everyMetric(t *testing.T) prometheus.Gatherer {
	t.Helper()
	_, registry := openMeasured(t, "postgres://u@127.0.0.1:1/shop", func(c *lifeguard.Config) {
		c.Limit, c.FleetBudget, c.Cache = lifeguard.AutoLimit, 20, lifeguard.CacheCDC
	})
	_, second := openMeasured(t, "postgres://u@127.0.0.1:1/shop", func(c *lifeguard.Config) {
		c.Cache, c.Redis = lifeguard.CacheLocal, "redis://127.0.0.1:1" // which does not go with the first
	})
	return prometheus.Gatherers{registry, renamed{second}}
}

// promlint returns what is wrong with the names and the help of metrics.
func promlint(t *testing.T, g prometheus.Gatherer) (problems []string) {
	t.Helper()
	found, err := testutil.GatherAndLint(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		problems = append(problems, p.Metric+": "+p.Text)
	}
	return problems
}

func TestPromlintFindsNoFaultInAnyMetric(t *testing.T) {
	t.Parallel()
	every := everyMetric(t)
	for _, problem := range promlint(t, every) {
		t.Error(problem)
	}

	// It would, if there were one.
	bad := prometheus.NewRegistry()
	//nolint:promlinter // that is what it is for
	bad.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "lifeguard_wait_milliseconds", Help: "A counter that is not called _total, in a unit that is not the base unit."}))
	if problems := promlint(t, prometheus.Gatherers{every, bad}); len(problems) != 2 || !strings.HasPrefix(problems[0], "lifeguard_wait_milliseconds: ") {
		t.Errorf("of a bad name promlint says %q", problems)
	}
}

// metricsTable is the page's table, made from what a registry with a pool exports.
func metricsTable(t *testing.T) string {
	t.Helper()
	families, err := everyMetric(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		kind := strings.ToLower(strings.TrimPrefix(f.GetType().String(), "MetricType_"))
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), kind, labelsOf(f), f.GetHelp())
	}
	b.WriteString("\n")
	return b.String()
}

// renamed has a pool under another name, so that it may stand beside the first.
type renamed struct{ of prometheus.Gatherer }

// Gather implements prometheus.Gatherer.
func (r renamed) Gather() ([]*dto.MetricFamily, error) {
	families, err := r.of.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "pool" {
					other := "another"
					l.Value = &other
				}
			}
		}
	}
	return families, err
}

// labelsOf lists labels with their values, unless these are many; pool goes without
// saying.
func labelsOf(f *dto.MetricFamily) string {
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() != "pool" && !slices.Contains(values[l.GetName()], l.GetValue()) {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
		}
	}
	var labels []string
	for name, all := range values {
		slices.Sort(all)
		text := strings.Join(all, ", ")
		if len(all) > 12 {
			text = fmt.Sprintf("%d of them", len(all))
		}
		labels = append(labels, fmt.Sprintf("`%s`: %s", name, text))
	}
	slices.Sort(labels)
	return strings.Join(labels, "; ")
}

func TestThePageOnObservabilityListsEveryMetric(t *testing.T) {
	page, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), metricsBegin)
	have, after, foundEnd := strings.Cut(rest, metricsEnd)
	if !found || !foundEnd {
		t.Fatalf("%s has no %s … %s", metricsDoc, metricsBegin, metricsEnd)
	}
	want := metricsTable(t)
	if have == want {
		return
	}
	if *update {
		if err := os.WriteFile(metricsDoc, []byte(before+metricsBegin+want+metricsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table of metrics in %s is out of date; run\n\n\tgo test -run TestThePageOnObservabilityListsEveryMetric -update .\n\nhave:%swant:%s", metricsDoc, have, want)
}

func TestWhatLowersTheLimitIsInTheMetrics(t *testing.T) {
	db, registry := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.MaxConns, c.Limit, c.FleetBudget = 4, lifeguard.AutoLimit, 3
	})
	mustExec(t, db, "select 1")
	eventually(t, "the first look at the fleet", func() bool {
		return value(t, registry, "lifeguard_fleet_looks_total", "outcome=ok,pool=shop") > 0
	})
	for name, want := range map[string]float64{
		"lifeguard_fleet_budget_connections{pool=shop}":        3,
		"lifeguard_fleet_share_connections{pool=shop}":         3,
		"lifeguard_fleet_instances{pool=shop}":                 1,
		"lifeguard_fleet_other_connections{pool=shop}":         0,
		"lifeguard_fleet_server_full_total{pool=shop}":         0,
		"lifeguard_fleet_looks_total{outcome=error,pool=shop}": 0,
		"lifeguard_auto_windows_total{pool=shop,use=judged}":   0,
		"lifeguard_auto_windows_total{pool=shop,use=unused}":   0,
		"lifeguard_auto_slowdown_ratio{pool=shop}":             0,
		"lifeguard_auto_fingerprints{pool=shop}":               1,
		"lifeguard_auto_probes_total{pool=shop}":               0,
		"lifeguard_auto_stalls_total{pool=shop}":               0,
	} {
		series, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		if got := value(t, registry, series, labels); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	if got := value(t, registry, "lifeguard_auto_limit", "pool=shop"); got < 1 || got > 4 {
		t.Errorf("the adaptive limit is %v", got)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}

	_, plain := openMeasured(t, "postgres://u@127.0.0.1:1/shop", nil)
	families, err := plain.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "lifeguard_auto_") || strings.HasPrefix(name, "lifeguard_fleet_") {
			t.Errorf("a pool that uses neither shows %s", name)
		}
	}
}
