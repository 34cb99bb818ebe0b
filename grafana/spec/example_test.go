package spec_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

func ExampleFiles() {
	files, err := spec.Files(spec.Default())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Path, len(f.Text) > 0)
	}
	// Output:
	// dashboards/lifeguard-overview.json true
	// dashboards/lifeguard-admission.json true
	// dashboards/lifeguard-cache.json true
	// alerts/lifeguard-alerts.yml true
	// alerts/prometheus-rules.yml true
	// alerts/alertmanager.yml true
	// provisioning/alerting/contact-points.yml true
	// provisioning/alerting/policies.yml true
}

// Rules for a service that is scraped under another job, and may be slower.
func ExampleAlerts() {
	p := spec.Default()
	p.Job, p.QueueDepth = "orders", 200
	for _, a := range spec.Alerts(p) {
		if a.Name == "LifeguardQueueDeep" {
			fmt.Println(a.Severity, a.For)
			fmt.Println(a.PromQL())
		}
	}
	for _, rules := range []func(spec.Params) ([]byte, error){spec.PrometheusRules, spec.GrafanaAlerts} {
		text, err := rules(p)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.Contains(string(text), "lifeguard_pool_queue_depth"))
	}
	// Output:
	// warning 1m0s
	// (max by (job, instance, pool) (lifeguard_pool_queue_depth)) > 200
	// true
	// true
}

func ExampleBoards() {
	for _, b := range spec.Boards(spec.Default()) {
		text, err := b.JSON()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(b.UID, len(b.Sections) > 1, strings.Contains(string(text), `"schemaVersion": 42`))
	}
	// Output:
	// lifeguard-overview true true
	// lifeguard-admission true true
	// lifeguard-cache true true
}

// A query of one's own: {@ stands for what is picked on the board.
func ExampleQuery_PromQL() {
	q := spec.Query{Expr: `sum by (pool) (rate(lifeguard_queries_total{@, op="copy"}[` + spec.Range + `]))`, Legend: "{{pool}}"}
	fmt.Println(q.PromQL())
	// Output:
	// sum by (pool) (rate(lifeguard_queries_total{pool=~"$pool", instance=~"$instance", op="copy"}[$__rate_interval]))
}

func ExamplePanel_Datasource() {
	for _, kind := range []spec.Kind{spec.Lines, spec.Logs, spec.Traces} {
		p := spec.Panel{Kind: kind}
		fmt.Println(kind, p.Datasource())
	}
	// Output:
	// timeseries prometheus
	// logs loki
	// table tempo
}

// Where alerts go: Grafana takes addresses from its environment, Alertmanager from Params.
func ExampleAlertmanager() {
	p := spec.Default()
	p.Receivers.To = "database@example.org"
	routes, err := spec.Alertmanager(p)
	if err != nil {
		log.Fatal(err)
	}
	points, err := spec.ContactPoints()
	if err != nil {
		log.Fatal(err)
	}
	policies, err := spec.Policies(p)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(string(routes), "to: database@example.org"))
	fmt.Println(strings.Contains(string(points), "${LIFEGUARD_ALERT_EMAIL}"))
	fmt.Println(strings.Count(string(policies), "receiver: lifeguard-"))
	// Output:
	// true
	// true
	// 4
}
