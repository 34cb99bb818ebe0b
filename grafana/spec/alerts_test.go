package spec_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// alertFile is what these tests read of Grafana's alert rules.
type alertFile struct {
	Groups []struct {
		Name, Folder string
		Interval     time.Duration
		Rules        []alertRule
	}
}

type alertRule struct {
	UID, Title, Condition string
	For                   time.Duration
	NoDataState           string `yaml:"noDataState"`
	ExecErrState          string `yaml:"execErrState"`
	DashboardUID          string `yaml:"dashboardUid"`
	PanelID               int    `yaml:"panelId"`
	Annotations, Labels   map[string]string
	Data                  []struct {
		RefID             string                 `yaml:"refId"`
		DatasourceUID     string                 `yaml:"datasourceUid"`
		RelativeTimeRange struct{ From, To int } `yaml:"relativeTimeRange"`
		Model             struct {
			RefID      string `yaml:"refId"`
			Type       string
			Expr       string
			Expression string
			Datasource struct{ Type, UID string }
			Conditions []struct {
				Evaluator struct {
					Type   string
					Params []float64
				}
			}
		}
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func grafanaRules(t *testing.T) []alertRule {
	t.Helper()
	var file alertFile
	readYAML(t, "alerts/lifeguard-alerts.yml", &file)
	var rules []alertRule
	for _, g := range file.Groups {
		if g.Name == "" || g.Folder != spec.Folder || g.Interval <= 0 || g.Interval%(10*time.Second) != 0 {
			t.Errorf("group %q in folder %q, each %v: Grafana wants a name, a folder, and a multiple of 10 s", g.Name, g.Folder, g.Interval)
		}
		for _, r := range g.Rules {
			if r.For%g.Interval != 0 {
				t.Errorf("%s: for %v is no multiple of the interval of %v", r.Title, r.For, g.Interval)
			}
		}
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("there are no rules")
	}
	return rules
}

// Grafana's parser passes over fields that it does not know, such as a misspelt one.
func TestAlertRulesHaveOnlyFieldsThatGrafanaReads(t *testing.T) {
	t.Parallel()
	known := []string{
		"uid", "title", "condition", "data", "dashboardUid", "panelId", "noDataState", "execErrState", "for", "keepFiringFor",
		"missing_series_evals_to_resolve", "annotations", "labels", "isPaused", "notification_settings", "record",
	}
	var file struct {
		APIVersion int `yaml:"apiVersion"`
		Groups     []struct{ Rules []map[string]any }
	}
	readYAML(t, "alerts/lifeguard-alerts.yml", &file)
	if file.APIVersion != 1 {
		t.Errorf("apiVersion is %d", file.APIVersion)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			for field := range r {
				if !slices.Contains(known, field) {
					t.Errorf("%v: Grafana does not read %s", r["title"], field)
				}
			}
		}
	}
}

func TestQueueAndLatencyAlertsHaveTheirThresholds(t *testing.T) {
	t.Parallel()
	limits := map[string]float64{"lifeguard-queue-deep": 50, "lifeguard-slow": 0.1}
	for _, r := range grafanaRules(t) {
		limit, asked := limits[r.UID]
		if !asked {
			continue
		}
		delete(limits, r.UID)
		last := r.Data[len(r.Data)-1].Model.Conditions
		if len(last) != 1 || last[0].Evaluator.Type != "gt" || !slices.Equal(last[0].Evaluator.Params, []float64{limit}) {
			t.Errorf("%s: its condition is %+v", r.UID, last)
		}
		if r.UID == "lifeguard-queue-deep" && r.For != time.Minute {
			t.Errorf("%s: fires after %v, not 1m", r.UID, r.For)
		}
	}
	if len(limits) > 0 {
		t.Errorf("missing: %v", limits)
	}
}

func TestAlertsReferToWhatIsThere(t *testing.T) {
	t.Parallel()
	sources := dataSources(t)
	boards := dashboards(t)
	uids := map[string]bool{}
	for _, r := range grafanaRules(t) {
		if r.UID == "" || uids[r.UID] || len(r.UID) > 40 {
			t.Errorf("%s: the uid %q is missing, taken or too long", r.Title, r.UID)
		}
		uids[r.UID] = true
		var refs []string
		for _, node := range r.Data {
			if node.RefID != node.Model.RefID || node.DatasourceUID != node.Model.Datasource.UID {
				t.Errorf("%s: node %s and its model disagree", r.Title, node.RefID)
			}
			switch {
			case node.DatasourceUID == "__expr__":
				if !slices.Contains(refs, node.Model.Expression) {
					t.Errorf("%s: node %s is about %q, which is none of %v", r.Title, node.RefID, node.Model.Expression, refs)
				}
			case sources[node.DatasourceUID] != node.Model.Datasource.Type || node.Model.Expr == "":
				t.Errorf("%s: node %s has no expression, or data source %q, which is none of %v", r.Title, node.RefID, node.DatasourceUID, sources)
			case node.RelativeTimeRange.From <= node.RelativeTimeRange.To:
				t.Errorf("%s: node %s looks at no time", r.Title, node.RefID)
			}
			refs = append(refs, node.RefID)
		}
		if !slices.Contains(refs, r.Condition) {
			t.Errorf("%s: the condition %q is none of %v", r.Title, r.Condition, refs)
		}
		if !slices.ContainsFunc(boards[r.DashboardUID].Panels, func(p panel) bool { return p.ID == r.PanelID && p.Type != "row" }) {
			t.Errorf("%s: there is no panel %d on board %q", r.Title, r.PanelID, r.DashboardUID)
		}
	}
}

func TestTheGuideHasASectionForEachAlertAndNoOther(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join(root, "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), "\n## Alerts\n")
	part, _, _ := strings.Cut(rest, "\n## ")
	sections := anchors(part)
	var wanted []string
	for _, a := range spec.Alerts(spec.Default()) {
		wanted = append(wanted, a.Section)
		if !strings.Contains(part, "`"+a.Name+"`") {
			t.Errorf("docs/operating.md does not name %s", a.Name)
		}
	}
	slices.Sort(sections)
	slices.Sort(wanted)
	if !slices.Equal(sections, wanted) {
		t.Errorf("docs/operating.md has the sections %v, the alerts want %v", sections, wanted)
	}
}

func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join(root, "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := anchors(string(guide))
	for _, r := range grafanaRules(t) {
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: has no summary or no description", r.Title)
		}
		if _, section, _ := strings.Cut(r.Annotations["runbook_url"], "#"); !slices.Contains(sections, section) {
			t.Errorf("%s: docs/operating.md has no section %q, but %v", r.Title, section, sections)
		}
		for name, text := range r.Annotations {
			if strings.Contains(text, "${") || strings.Contains(text, "VALUE") {
				t.Errorf("%s: Grafana would expand, or nobody has, what is in %s: %s", r.Title, name, text)
			}
		}
		for name, text := range r.Labels {
			if strings.Contains(text, "$") {
				t.Errorf("%s: Grafana would expand what is in the label %s: %s", r.Title, name, text)
			}
		}
		if !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Title, r.Labels["severity"])
		}
		if !slices.Contains([]string{"OK", "NoData", "Alerting", "KeepLast"}, r.NoDataState) || !slices.Contains([]string{"OK", "Error", "Alerting", "KeepLast"}, r.ExecErrState) {
			t.Errorf("%s: noDataState %q, execErrState %q", r.Title, r.NoDataState, r.ExecErrState)
		}
	}
}

// anchors are the names that a page's headings get.
func anchors(page string) []string {
	var names []string
	drop := regexp.MustCompile(`[^a-z0-9 -]`)
	for line := range strings.Lines(page) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			names = append(names, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return names
}

// One alert tells that Prometheus or the service is gone, and only one.
func TestOnlyTheScrapeAlertFiresForWantOfData(t *testing.T) {
	t.Parallel()
	for _, r := range grafanaRules(t) {
		gone := r.UID == "lifeguard-gone"
		if (r.NoDataState == "Alerting") != gone || (r.ExecErrState == "Error") != gone {
			t.Errorf("%s: noDataState %s, execErrState %s", r.UID, r.NoDataState, r.ExecErrState)
		}
	}
}
