package spec

import "strings"

// Board is a dashboard: sections of panels that flow from left to right.
type Board struct {
	UID      string
	Title    string
	Text     string // what it is for
	Sections []Section
}

// Section is a titled row of panels.
type Section struct {
	ID     int
	Title  string
	Panels []Panel
}

// Panel is one panel. IDs are fixed, since alerts and bookmarks point at them.
type Panel struct {
	ID      int
	Kind    Kind
	Title   string
	Text    string // what it shows, and what to think of it
	Unit    Unit
	Width   int // of 24 columns; the default is 8
	Queries []Query

	Stacked bool
	Empty   string // shown where there is nothing
	Max     *float64
	Alarm   *float64 // where the line is drawn above which an alert fires
}

// Query is one expression of a panel. In PromQL, {@} stands for the pools and instances
// that are selected on the board, and {@, …} for these and what follows.
type Query struct {
	Expr   string
	Legend string
}

// Kind is Grafana's name of a visualisation.
type Kind string

// The kinds of panels.
const (
	Lines   Kind = "timeseries"
	Number  Kind = "stat"
	Heatmap Kind = "heatmap"
	Logs    Kind = "logs"  // LogQL
	Traces  Kind = "table" // TraceQL
)

// Unit is Grafana's name of a unit.
type Unit string

// The units in use.
const (
	Count        Unit = "short"
	Seconds      Unit = "s"
	Share        Unit = "percentunit"
	OpsPerSecond Unit = "ops"
	PerSecond    Unit = "cps"
	RowsPerSec   Unit = "rowsps"
	BytesPerSec  Unit = "Bps"
	Bytes        Unit = "bytes"
)

// Range is how far back a rate looks: what Grafana proposes for the board's resolution.
const Range = "$__rate_interval"

// selected is what {@ means.
const selected = `{pool=~"$pool", instance=~"$instance"`

// PromQL returns the expression as Grafana gets it, with Grafana's variables in it.
func (q Query) PromQL() string {
	return strings.ReplaceAll(q.Expr, "{@", selected)
}

// Datasource returns the type of data source that the panel's queries go to.
func (p *Panel) Datasource() string {
	switch p.Kind {
	case Logs:
		return Loki
	case Traces:
		return Tempo
	case Lines, Number, Heatmap:
	}
	return Prometheus
}

// Boards returns all dashboards.
func Boards(p Params) []Board {
	return []Board{overview(p), admission(p), cache(p)}
}

// quantiles asks one histogram for p50, p95 and p99. The labels in by are kept, legend
// goes before the quantile.
func quantiles(histogram, by, legend string) []Query {
	var queries []Query
	for _, q := range []struct{ of, name string }{{"0.5", "p50"}, {"0.95", "p95"}, {"0.99", "p99"}} {
		queries = append(queries, Query{
			Expr:   "histogram_quantile(" + q.of + ", sum by (" + by + ", le) (rate(" + histogram + "_bucket{@}[" + Range + "])))",
			Legend: strings.TrimSpace(legend + " " + q.name),
		})
	}
	return queries
}

// rateBy is the rate of a counter, summed by labels.
func rateBy(counter, by string) string {
	return "sum by (" + by + ") (rate(" + counter + "{@}[" + Range + "]))"
}

func at(v float64) *float64 { return &v }
