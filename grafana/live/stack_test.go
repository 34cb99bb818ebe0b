package live_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/grafana/internal/sink"
	"github.com/lifeguard-go/lifeguard/grafana/spec"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// window is how far rates look back here, instead of minutes; Prometheus scrapes each
// second.
const window = 10 * time.Second

// patience bounds every wait. Nothing is expected to take as long.
const patience = 90 * time.Second

// inAHurry is the spec with its minutes made seconds and its receivers in this process.
func inAHurry(slackAndWebhook, mail string) spec.Params {
	p := spec.Default()
	p.ErrorShare = 0.005 // of the metrics server's statements about one in fifty fails
	p.Window, p.Interval = window, time.Second
	p.CachePast, p.CacheShare = 3*window, 0.001
	p.Scale = 1.0 / 60
	p.GroupWait, p.GroupInterval, p.RepeatInterval = 500*time.Millisecond, time.Second, time.Hour
	p.Receivers.SlackURL, p.Receivers.WebhookURL = slackAndWebhook+"/slack", slackAndWebhook+"/webhook"
	p.Receivers.SMTPHost = mail
	return p
}

// prometheus is a running one.
type prometheus struct{ base string }

// startPrometheus runs Alertmanager, and Prometheus with the alert rules, over targets.
func startPrometheus(t *testing.T, p spec.Params, targets ...string) prometheus {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, err := spec.Alertmanager(p)
	routes := write("alertmanager.yml", text, err)
	manager := listening(t, "/-/ready", alertmanagerProgram(t), func(address string) []string {
		return []string{"--config.file=" + routes, "--storage.path=" + filepath.Join(dir, "alerts"), "--web.listen-address=" + address, "--cluster.listen-address="}
	})
	text, err = spec.PrometheusRules(p)
	rules := write("rules.yml", text, err)
	list, err := json.Marshal(targets) // JSON is YAML
	config := write("prometheus.yml", fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: %q, static_configs: [{targets: %s}]}]
`, rules, strings.TrimPrefix(manager, "http://"), p.Job, list), err)
	check(t, promtoolProgram(t), "check", "config", config)
	return prometheus{listening(t, "/-/ready", prometheusProgram(t), func(address string) []string {
		return []string{
			"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address,
			"--enable-feature=exemplar-storage",
		}
	})}
}

// sample is one series of an answer with its last value.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s sample) number() float64 {
	text, _ := s.Value[1].(string)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}

// ask asks the HTTP API and reads the data of its answer.
func (p prometheus) ask(t *testing.T, path string, query url.Values, data any) error {
	t.Helper()
	body, err := get(t, p.base+path+"?"+query.Encode())
	if err != nil {
		return err
	}
	answer := struct{ Data any }{data}
	return json.Unmarshal([]byte(body), &answer)
}

func (p prometheus) query(t *testing.T, expr string) ([]sample, error) {
	t.Helper()
	var data struct{ Result []sample }
	err := p.ask(t, "/api/v1/query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// fill puts values in the place of Grafana's variables.
func fill(expr string) string {
	return strings.NewReplacer("$__rate_interval", strconv.Itoa(int(window.Seconds()))+"s", "$pool", ".+", "$instance", ".+").Replace(expr)
}

// labelsOf are those that a legend or an alert's text uses.
func labelsOf(text string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// answered says what is wrong with the answer to an expression whose legend uses labels.
func (p prometheus) answered(t *testing.T, where, expr string, legend []string) string {
	t.Helper()
	samples, err := p.query(t, fill(expr))
	if err != nil {
		return err.Error()
	}
	numbers := false
	for _, s := range samples {
		for _, l := range legend {
			if s.Metric[l] == "" {
				return fmt.Sprintf("%s: a series has no label %s, which its legend uses: %v: %s", where, l, s.Metric, expr)
			}
		}
		numbers = numbers || s.number() == s.number() // not NaN
	}
	if !numbers {
		return where + ": no data: " + expr
	}
	return ""
}

//nolint:paralleltest // its programs are enough for the machine
func TestTheStackWithARealPrometheus(t *testing.T) {
	prometheusProgram(t)
	alertmanagerProgram(t)
	messages := &sink.Sink{}
	web := httptest.NewServer(messages)
	defer web.Close()
	mail := openMailbox(t)

	// Takes traces and logs and forgets them; an exemplar needs a trace that is kept.
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	command := buildMetricsServer(t)
	calm, _ := serveMetrics(t, command, collector.URL, pgtest.DSN(t), "calm", "&lifeguard_fleet_budget=20&lifeguard_cache=local&lifeguard_cache_ttl=1h", "-rate", "100", "-limit", "auto")
	// Two of five operations hold one of four connections for 150 ms: more than sixty a
	// second queue up, and more than the queue takes are refused.
	busy, overloaded := serveMetrics(t, command, collector.URL, pgtest.DSN(t), "busy", "&lifeguard_queue=80", "-rate", "150", "-goroutines", "120", "-conns", "4", "-hold", "150ms")
	logical := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	hearing, _ := serveMetrics(t, command, collector.URL, logical.DSN(""), "hearing", "&lifeguard_cache=cdc", "-rate", "20")
	redis := pgtest.NewRedis(t, pgtest.RedisOptions{})
	sharing, _ := serveMetrics(t, command, collector.URL, pgtest.DSN(t), "sharing", "&lifeguard_cache=local&lifeguard_redis="+redis.URL(), "-rate", "50")
	params := inAHurry(web.URL, mail.address)
	p := startPrometheus(t, params, calm, busy, hearing, sharing)

	p.checkBoards(t, params)
	p.checkChecks(t)
	for _, a := range spec.Alerts(params) {
		eventually(t, patience, func() string { return p.answered(t, a.Name, a.Value, labelsOf(a.Summary+a.Text)) })
	}
	p.checkPickers(t, "pool", "busy", "calm", "hearing", "sharing")
	p.checkPickers(t, "instance", busy, calm, hearing, sharing)

	expectAlert(t, messages, mail, "busy: ", "LifeguardQueueDeep", "goroutines wait for the database")
	expectAlert(t, messages, mail, "busy: ", "LifeguardSlow", "the slowest statement of a hundred takes")
	expectAlert(t, messages, mail, "busy: ", "LifeguardRefusing", "statements are refused")
	expectAlert(t, messages, mail, "busy: ", "LifeguardPoolExhausted", "every slot is in use and goroutines wait")
	expectAlert(t, messages, mail, "busy: ", "LifeguardErrors", "statements fail")
	p.checkRules(t)

	overloaded.end()
	expectAlert(t, messages, mail, "", "LifeguardGone", "No metrics from lifeguard "+busy)
}

// checkBoards asks for everything that the boards ask for.
func (p prometheus) checkBoards(t *testing.T, params spec.Params) {
	t.Helper()
	heatmaps := 0
	for _, b := range spec.Boards(params) {
		for _, s := range b.Sections {
			for _, panel := range s.Panels {
				if panel.Datasource() != spec.Prometheus {
					continue
				}
				for _, q := range panel.Queries {
					eventually(t, patience, func() string { return p.answered(t, b.UID+", "+panel.Title, q.PromQL(), labelsOf(q.Legend)) })
				}
				if panel.Kind == spec.Heatmap {
					heatmaps++
					eventually(t, patience, func() string { return p.exemplars(t, panel.Queries[0].PromQL()) })
				}
			}
		}
	}
	if heatmaps == 0 {
		t.Error("no board has a heat map")
	}
}

// checkChecks asks for what is not there, and would not be if a name changed: that the
// boards were answered says nothing unless this is not.
func (p prometheus) checkChecks(t *testing.T) {
	t.Helper()
	for _, q := range []struct{ expr, legend, missing string }{
		{"lifeguard_pool_queue_depth", "{{pool}} on {{instance}}", ""},
		{"lifeguard_queue_depth", "", "no data"},
		{`rate(lifeguard_queries_total{outcome="failed"}[$__rate_interval])`, "", "no data"},
		{"0 / (lifeguard_pool_max_connections * 0)", "", "no data"}, // NaN
		{"lifeguard_pool_queue_depth", "{{priority}}", "no label priority"},
		{"rate(lifeguard_queries_total)", "", "400"}, // not PromQL
	} {
		problem := p.answered(t, "a check of the checks", q.expr, labelsOf(q.legend))
		if (problem == "") != (q.missing == "") || !strings.Contains(problem, q.missing) {
			t.Errorf("of %s with the legend %q it is said: %q", q.expr, q.legend, problem)
		}
	}
}

// checkPickers asks for what a board's variable offers.
func (p prometheus) checkPickers(t *testing.T, label string, expected ...string) {
	t.Helper()
	var values []string
	if err := p.ask(t, "/api/v1/label/"+label+"/values", url.Values{"match[]": {"lifeguard_pool_queue_depth"}}, &values); err != nil {
		t.Fatal(err)
	}
	slices.Sort(expected)
	if !slices.Equal(values, expected) {
		t.Errorf("%s can be %v, not %v", label, values, expected)
	}
}

// exemplars says what is missing for Grafana to draw them and to lead to a trace.
func (p prometheus) exemplars(t *testing.T, heatmap string) string {
	t.Helper()
	var data []struct {
		SeriesLabels map[string]string
		Exemplars    []struct{ Labels map[string]string }
	}
	now := float64(time.Now().Unix())
	query := url.Values{
		"query": {fill(heatmap)},
		"start": {strconv.FormatFloat(now-600, 'f', 0, 64)}, "end": {strconv.FormatFloat(now+60, 'f', 0, 64)},
	}
	if err := p.ask(t, "/api/v1/query_exemplars", query, &data); err != nil {
		return err.Error()
	}
	for _, series := range data {
		for _, e := range series.Exemplars {
			if len(e.Labels["trace_id"]) == 32 {
				return ""
			}
		}
	}
	return fmt.Sprintf("none of %d series has an exemplar with a trace_id", len(data))
}

// expectAlert waits until an alert has been delivered in all three ways.
func expectAlert(t *testing.T, messages *sink.Sink, mail *mailbox, pool, name, text string) {
	t.Helper()
	eventually(t, patience, func() string {
		arrived := map[string]bool{"e-mail": strings.Contains(mail.String(), name) && strings.Contains(mail.String(), text)}
		for _, m := range messages.Messages() {
			if strings.Contains(m.Body, name) && strings.Contains(m.Body, text) && strings.Contains(m.Body, pool) {
				arrived[m.Kind] = true
			}
		}
		for _, way := range []string{"slack", "webhook", "e-mail"} {
			if !arrived[way] {
				return fmt.Sprintf("%s has not arrived by %s", name, way)
			}
		}
		return ""
	})
}

// checkRules asks Prometheus how the rules are.
func (p prometheus) checkRules(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError string
				Alerts                  []struct {
					State  string
					Labels map[string]string
				}
			}
		}
	}
	if err := p.ask(t, "/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			for _, a := range r.Alerts {
				// With its sixteen goroutines there are never fifty that wait.
				if a.Labels["pool"] == "calm" && r.Name == "LifeguardQueueDeep" {
					t.Errorf("%s fires for the calm pool: %v", r.Name, a.Labels)
				}
			}
		}
	}
}
