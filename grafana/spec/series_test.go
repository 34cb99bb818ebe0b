package spec_test

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// expressions returns all PromQL of boards and alerts, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	p := spec.Default()
	list := map[string]string{}
	for _, b := range spec.Boards(p) {
		for _, s := range b.Sections {
			for _, panel := range s.Panels {
				if panel.Datasource() != spec.Prometheus {
					continue
				}
				for i, q := range panel.Queries {
					list[fmt.Sprintf("%s, panel %d %q, query %d", b.UID, panel.ID, panel.Title, i)] = strings.ReplaceAll(q.PromQL(), spec.Range, "5m")
				}
			}
		}
	}
	for _, a := range spec.Alerts(p) {
		list["alert "+a.Name] = a.PromQL()
	}
	return list
}

// exported asks a real pool for its series: names, as PromQL knows them, and for each
// its labels with their values. Nothing is sent to a server for it.
func exported(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	registry := prometheus.NewRegistry()
	for _, settings := range []string{ // which do not go together
		"lifeguard_limit=auto&lifeguard_fleet_budget=10&lifeguard_cache=cdc",
		"lifeguard_cache=local&lifeguard_name=shared&lifeguard_redis=redis://127.0.0.1:1",
	} {
		cfg, err := lifeguard.ParseConfig("postgres://nobody@127.0.0.1:1/none?" + settings)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Registerer, cfg.Logger = registry, slog.New(slog.DiscardHandler)
		connector, err := lifeguard.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := connector.Close(); err != nil {
				t.Error(err)
			}
		})
		_ = connector.Stats() // what registers the metrics
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]map[string]map[string]bool{"up": {"job": nil, "instance": nil}}
	for _, f := range families {
		known := map[string]map[string]bool{"job": nil, "instance": nil} // from the scrape
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if known[l.GetName()] == nil {
					known[l.GetName()] = map[string]bool{}
				}
				known[l.GetName()][l.GetValue()] = true
			}
		}
		if f.GetMetric()[0].GetHistogram() == nil {
			series[f.GetName()] = known
			continue
		}
		series[f.GetName()+"_count"], series[f.GetName()+"_sum"] = known, known
		buckets := maps.Clone(known)
		buckets["le"] = nil
		series[f.GetName()+"_bucket"] = buckets
	}
	if len(series) < 10 {
		t.Fatalf("the library exports %d series only", len(series))
	}
	return series
}

// The parser is that of Prometheus 3; the live test gives the same to Prometheus 2.
func parse(t *testing.T, where, expr string) parser.Expr {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v\n%s", where, err, expr)
	}
	return tree
}

func TestExpressionsNameWhatTheLibraryExports(t *testing.T) {
	t.Parallel()
	series := exported(t)
	for where, expr := range expressions(t) {
		available := map[string]bool{} // labels of any series in it
		var grouped []string
		parser.Inspect(parse(t, where, expr), func(node parser.Node, _ []parser.Node) error {
			switch n := node.(type) {
			case *parser.VectorSelector:
				known, ok := series[n.Name]
				if !ok {
					t.Errorf("%s: the library does not export %s", where, n.Name)
					return nil
				}
				for l := range known {
					available[l] = true
				}
				for _, m := range n.LabelMatchers {
					checkMatcher(t, where, n.Name, m, known)
				}
			case *parser.AggregateExpr:
				grouped = append(grouped, n.Grouping...)
			case *parser.BinaryExpr:
				if n.VectorMatching != nil {
					grouped = append(grouped, n.VectorMatching.MatchingLabels...)
				}
			}
			return nil
		})
		for _, l := range grouped {
			if !available[l] {
				t.Errorf("%s: no series in it has the label %s\n%s", where, l, expr)
			}
		}
	}
}

func checkMatcher(t *testing.T, where, name string, m *labels.Matcher, known map[string]map[string]bool) {
	t.Helper()
	if m.Name == "__name__" || strings.HasPrefix(m.Value, "$") {
		return
	}
	values, ok := known[m.Name]
	if !ok {
		t.Errorf("%s: %s has no label %s", where, name, m.Name)
		return
	}
	if values == nil {
		return // whatever the scrape says
	}
	for _, v := range strings.Split(m.Value, "|") {
		if !values[v] {
			t.Errorf("%s: the label %s of %s is never %q, but one of %v", where, m.Name, name, v, slices.Sorted(maps.Keys(values)))
		}
	}
}

func TestEverySeriesIsOnABoard(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, expr := range expressions(t) {
		all.WriteString(expr + "\n")
	}
	used := map[string]bool{}
	for _, name := range regexp.MustCompile(`lifeguard_[a-z_]+`).FindAllString(all.String(), -1) {
		used[name] = true
	}
	for name := range exported(t) {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if base != "up" && !used[name] && !used[base+"_bucket"] {
			t.Errorf("%s is on no board: add a panel to grafana/spec and run make grafana", name)
		}
	}
}

// Legends and templates may only use labels that are left in the result.
func TestLegendsUseLabelsOfTheResult(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	for _, b := range spec.Boards(spec.Default()) {
		for _, s := range b.Sections {
			for _, panel := range s.Panels {
				if panel.Datasource() != spec.Prometheus {
					continue
				}
				for _, q := range panel.Queries {
					where := b.UID + ", " + panel.Title
					left := resultLabels(parse(t, where, strings.ReplaceAll(q.PromQL(), spec.Range, "5m")))
					for _, used := range label.FindAllStringSubmatch(q.Legend, -1) {
						if !slices.Contains(left, used[1]) {
							t.Errorf("%s: the legend %q uses %s; the result has %v\n%s", where, q.Legend, used[1], left, q.Expr)
						}
					}
				}
			}
		}
	}
}

func TestAlertTextsUseLabelsOfTheResult(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, a := range spec.Alerts(spec.Default()) {
		left := resultLabels(parse(t, a.Name, a.Value))
		if _, selector := parse(t, a.Name, a.Value).(*parser.VectorSelector); selector {
			left = []string{"job", "instance"}
		}
		for _, used := range label.FindAllStringSubmatch(a.Summary+a.Text, -1) {
			if !slices.Contains(left, used[1]) {
				t.Errorf("%s: its text uses %s; the result has %v", a.Name, used[1], left)
			}
		}
	}
}

// resultLabels are those that every side of the expression keeps.
func resultLabels(e parser.Expr) []string {
	switch n := e.(type) {
	case *parser.AggregateExpr:
		if n.Op == parser.TOPK {
			return resultLabels(n.Expr)
		}
		return n.Grouping
	case *parser.ParenExpr:
		return resultLabels(n.Expr)
	case *parser.Call:
		for _, arg := range n.Args {
			if left := resultLabels(arg); left != nil {
				return slices.DeleteFunc(slices.Clone(left), func(l string) bool { return n.Func.Name == "histogram_quantile" && l == "le" })
			}
		}
	case *parser.BinaryExpr:
		left, right := resultLabels(n.LHS), resultLabels(n.RHS)
		switch {
		case left == nil:
			return right
		case right == nil || n.Op == parser.LAND:
			return left
		case n.VectorMatching != nil && n.VectorMatching.Card == parser.CardManyToOne:
			return left
		}
		return slices.DeleteFunc(slices.Clone(left), func(l string) bool { return !slices.Contains(right, l) })
	}
	return nil
}

func TestRatesInAlertsCoverSeveralScrapes(t *testing.T) {
	t.Parallel()
	if p := spec.Default(); p.Window < time.Minute || p.Interval%(10*time.Second) != 0 {
		t.Errorf("a window of %v must span at least four scrapes of 15 s, and Grafana evaluates in multiples of 10 s, not each %v", p.Window, p.Interval)
	}
}
