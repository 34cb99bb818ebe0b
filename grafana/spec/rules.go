package spec

// ruleFile is Prometheus' file of rules.
type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []rule `yaml:"rules"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// PromQL is the alert's condition as Prometheus evaluates it.
func (a *Alert) PromQL() string {
	compare := " > "
	if a.Below {
		compare = " < "
	}
	expr := "(" + a.Value + ")" + compare + number(a.Threshold)
	if a.Absent != "" {
		expr += " or " + a.Absent
	}
	return expr
}

// PrometheusRules returns the rule file for Prometheus.
func PrometheusRules(p Params) ([]byte, error) {
	group := ruleGroup{Name: "lifeguard", Interval: promDuration(p.Interval)}
	for _, a := range Alerts(p) {
		group.Rules = append(group.Rules, rule{
			Alert: a.Name, Expr: a.PromQL(), For: promDuration(a.For), Labels: a.labels(),
			Annotations: a.annotations(p, "$value"),
		})
	}
	return marshal(ruleFile{Groups: []ruleGroup{group}})
}

// provisionedRules is Grafana's file of alert rules.
type provisionedRules struct {
	APIVersion int              `yaml:"apiVersion"`
	Groups     []provisionGroup `yaml:"groups"`
}

type provisionGroup struct {
	OrgID    int             `yaml:"orgId"`
	Name     string          `yaml:"name"`
	Folder   string          `yaml:"folder"`
	Interval string          `yaml:"interval"`
	Rules    []provisionRule `yaml:"rules"`
}

type provisionRule struct {
	UID          string            `yaml:"uid"`
	Title        string            `yaml:"title"`
	Condition    string            `yaml:"condition"`
	Data         []provisionQuery  `yaml:"data"`
	DashboardUID string            `yaml:"dashboardUid"`
	PanelID      int               `yaml:"panelId"`
	NoDataState  string            `yaml:"noDataState"`
	ExecErrState string            `yaml:"execErrState"`
	For          string            `yaml:"for"`
	Annotations  map[string]string `yaml:"annotations"`
	Labels       map[string]string `yaml:"labels"`
}

type provisionQuery struct {
	RefID         string         `yaml:"refId"`
	TimeRange     secondsAgo     `yaml:"relativeTimeRange"`
	DatasourceUID string         `yaml:"datasourceUid"`
	Model         map[string]any `yaml:"model"`
}

type secondsAgo struct {
	From int `yaml:"from"`
	To   int `yaml:"to"`
}

// Folder is Grafana's folder of boards and alerts.
const Folder = "Lifeguard"

// expression is Grafana's data source of what it computes itself.
const expression = "__expr__"

// GrafanaAlerts returns the alert rules for Grafana: the query A, its last value B, and
// C, which compares it. Grafana expands $name in labels, but only ${NAME} in
// annotations, so what their templates call $labels survives.
func GrafanaAlerts(p Params) ([]byte, error) {
	group := provisionGroup{OrgID: 1, Name: "lifeguard", Folder: Folder, Interval: promDuration(p.Interval)}
	for _, a := range Alerts(p) {
		group.Rules = append(group.Rules, provisionRule{
			UID: a.UID, Title: a.Title, Condition: "C", Data: a.nodes(p),
			DashboardUID: a.Board, PanelID: a.Panel,
			NoDataState: a.NoData, ExecErrState: a.Failed, For: promDuration(a.For),
			Annotations: a.annotations(p, "$values.B.Value"), Labels: a.labels(),
		})
	}
	return marshal(provisionedRules{APIVersion: 1, Groups: []provisionGroup{group}})
}

func (a *Alert) nodes(p Params) []provisionQuery {
	lookback := secondsAgo{From: 2 * int(p.Window.Seconds())}
	computed := map[string]any{"type": expression, "uid": expression}
	evaluator := "gt"
	if a.Below {
		evaluator = "lt"
	}
	return []provisionQuery{
		{RefID: "A", TimeRange: lookback, DatasourceUID: Prometheus, Model: map[string]any{
			"refId": "A", "datasource": map[string]any{"type": Prometheus, "uid": Prometheus}, "editorMode": "code",
			"expr": a.Value, "instant": true, "range": false, "intervalMs": 1000, "maxDataPoints": 43200,
		}},
		{RefID: "B", TimeRange: lookback, DatasourceUID: expression, Model: map[string]any{
			"refId": "B", "datasource": computed, "type": "reduce", "expression": "A", "reducer": "last",
			"settings": map[string]any{"mode": "dropNN"},
		}},
		{RefID: "C", TimeRange: lookback, DatasourceUID: expression, Model: map[string]any{
			"refId": "C", "datasource": computed, "type": "threshold", "expression": "B",
			"conditions": []any{map[string]any{"evaluator": map[string]any{"type": evaluator, "params": []float64{a.Threshold}}}},
		}},
	}
}
