package stack_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// read parses a file of the folder grafana.
func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// listening are the ports on which services can be reached by others in the stack.
func listening(t *testing.T) map[string][]string {
	t.Helper()
	ports := map[string][]string{"tempo": {"4318"}, "mailpit": {"1025"}}
	for name, s := range load(t).Services {
		for _, p := range s.Ports {
			ports[name] = append(ports[name], strconv.FormatUint(uint64(p.Target), 10))
		}
	}
	return ports
}

func checkAddress(t *testing.T, where, host, port string) {
	t.Helper()
	if ports, ok := listening(t)[host]; !ok || !slices.Contains(ports, port) {
		t.Errorf("%s: nothing in the stack listens on %s:%s, only %v", where, host, port, ports)
	}
}

func TestDataSourcesPointAtServices(t *testing.T) {
	t.Parallel()
	var file struct {
		Datasources []struct {
			Name, UID, URL string
			JSONData       map[string]any `yaml:"jsonData"`
		}
	}
	read(t, "provisioning/datasources/lifeguard.yml", &file)
	uids := []string{}
	for _, d := range file.Datasources {
		uids = append(uids, d.UID)
	}
	for _, d := range file.Datasources {
		u, err := url.Parse(d.URL)
		if err != nil {
			t.Fatal(err)
		}
		checkAddress(t, d.Name, u.Hostname(), u.Port())
		for _, uid := range references(d.JSONData) {
			if !slices.Contains(uids, uid) {
				t.Errorf("%s links to the data source %q, which is none of %v", d.Name, uid, uids)
			}
		}
	}
}

// references are all datasourceUid in a tree.
func references(v any) []string {
	var uids []string
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if uid, ok := child.(string); ok && key == "datasourceUid" {
				uids = append(uids, uid)
			}
			uids = append(uids, references(child)...)
		}
	case []any:
		for _, child := range v {
			uids = append(uids, references(child)...)
		}
	}
	return uids
}

// Metrics lead to traces, traces to logs and metrics, logs to traces.
func TestDataSourcesAreLinked(t *testing.T) {
	t.Parallel()
	var file struct {
		Datasources []struct {
			UID      string
			JSONData map[string]any `yaml:"jsonData"`
		}
	}
	read(t, "provisioning/datasources/lifeguard.yml", &file)
	links := map[string][]string{}
	for _, d := range file.Datasources {
		links[d.UID] = references(d.JSONData)
		slices.Sort(links[d.UID])
	}
	for from, to := range map[string][]string{spec.Prometheus: {spec.Tempo}, spec.Loki: {spec.Tempo}, spec.Tempo: {spec.Loki, spec.Prometheus}} {
		if !slices.Equal(links[from], to) {
			t.Errorf("%s leads to %v, not %v", from, links[from], to)
		}
	}
}

// The links lead somewhere only if both ends call things alike: an exemplar's label, a log
// line's metadata, a span's attribute, a metric's label.
func TestLinksUseTheNamesThatTheLibraryUses(t *testing.T) {
	t.Parallel()
	var file struct {
		Datasources []struct {
			UID      string
			JSONData struct {
				Exemplars []struct{ Name string } `yaml:"exemplarTraceIdDestinations"`
				Derived   []struct {
					Type  string `yaml:"matcherType"`
					Regex string `yaml:"matcherRegex"`
					URL   string
				} `yaml:"derivedFields"`
				Logs struct {
					Custom bool `yaml:"customQuery"`
					Query  string
					Tags   []struct{ Key, Value string }
				} `yaml:"tracesToLogsV2"`
				Metrics struct {
					Tags    []struct{ Key, Value string }
					Queries []struct{ Query string }
				} `yaml:"tracesToMetrics"`
			} `yaml:"jsonData"`
		}
	}
	read(t, "provisioning/datasources/lifeguard.yml", &file)
	said := map[string]string{}
	for _, d := range file.Datasources {
		for _, e := range d.JSONData.Exemplars {
			said[d.UID] += e.Name
		}
		for _, f := range d.JSONData.Derived {
			said[d.UID] += f.Type + " " + f.Regex + " " + f.URL
		}
		if logs := d.JSONData.Logs; logs.Custom {
			said[d.UID] += logs.Query
		}
		for _, tag := range append(d.JSONData.Logs.Tags, d.JSONData.Metrics.Tags...) {
			said[d.UID] += " " + tag.Key + "=" + tag.Value
		}
		for _, q := range d.JSONData.Metrics.Queries {
			checkQuery(t, strings.ReplaceAll(q.Query, "$$__tags", `pool="shop"`))
		}
	}
	for uid, want := range map[string]string{
		spec.Prometheus: "trace_id",
		spec.Loki:       "label trace_id $${__value.raw}",
		spec.Tempo:      `{$${__tags}} | trace_id="$${__trace.traceId}" service.name=service_name db.client.connection.pool.name=pool`,
	} {
		if said[uid] != want {
			t.Errorf("%s is linked by %q, not by %q", uid, said[uid], want)
		}
	}
}

// checkQuery looks for the metrics of a query among those of the boards, of which another
// test knows that they exist.
func checkQuery(t *testing.T, query string) {
	t.Helper()
	var boards strings.Builder
	for _, b := range spec.Boards(spec.Default()) {
		for _, s := range b.Sections {
			for _, p := range s.Panels {
				for _, q := range p.Queries {
					boards.WriteString(q.PromQL() + "\n")
				}
			}
		}
	}
	names := regexp.MustCompile(`lifeguard_\w+`).FindAllString(query, -1)
	if len(names) == 0 {
		t.Errorf("no metric of ours is in %s", query)
	}
	for _, name := range names {
		if !strings.Contains(boards.String(), name+"{") {
			t.Errorf("%s is on no board: %s", name, query)
		}
	}
}

// Each program listens where the others look for it, and takes what they send.
func TestLokiTempoAndPrometheusAreSetUpForWhatTheyGet(t *testing.T) {
	t.Parallel()
	var loki struct {
		Server struct {
			Port string `yaml:"http_listen_port"`
		}
		Limits struct {
			Metadata bool `yaml:"allow_structured_metadata"`
		} `yaml:"limits_config"`
		Analytics struct {
			Enabled bool `yaml:"reporting_enabled"`
		}
	}
	loki.Analytics.Enabled = true // their default
	read(t, "stack/loki.yml", &loki)
	checkAddress(t, "loki.yml", "loki", loki.Server.Port)
	if !loki.Limits.Metadata || loki.Analytics.Enabled {
		t.Errorf("Loki takes no trace_id, or reports to its makers: %+v", loki)
	}

	var tempo struct {
		Server struct {
			Port string `yaml:"http_listen_port"`
		}
		Distributor struct {
			Receivers struct {
				OTLP struct {
					Protocols map[string]struct{ Endpoint string }
				}
			}
		}
		Usage struct {
			Enabled bool `yaml:"reporting_enabled"`
		} `yaml:"usage_report"`
	}
	tempo.Usage.Enabled = true
	read(t, "stack/tempo.yml", &tempo)
	checkAddress(t, "tempo.yml", "tempo", tempo.Server.Port)
	if got := tempo.Distributor.Receivers.OTLP.Protocols["http"].Endpoint; got != "0.0.0.0:4318" || tempo.Usage.Enabled {
		t.Errorf("Tempo takes OTLP on %q, or reports to its makers", got)
	}

	if !slices.Contains(load(t).Services["prometheus"].Command, "--enable-feature=exemplar-storage") {
		t.Error("Prometheus keeps no exemplars")
	}
}

// Grafana expands $name in provisioned files; what is meant for its queries has $$.
func TestDataSourcesEscapeDollars(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../provisioning/datasources/lifeguard.yml")
	if err != nil {
		t.Fatal(err)
	}
	rest := strings.ReplaceAll(string(text), "$$", "")
	for line := range strings.Lines(rest) {
		if strings.Contains(line, "$") && !strings.HasPrefix(line, "#") {
			t.Errorf("a single dollar: %s", line)
		}
	}
}

func TestBoardsAreMountedWhereTheProviderLooks(t *testing.T) {
	t.Parallel()
	var file struct {
		Providers []struct {
			Folder, Type string
			Options      struct{ Path string }
		}
	}
	read(t, "provisioning/dashboards/lifeguard.yml", &file)
	if len(file.Providers) != 1 || file.Providers[0].Type != "file" || file.Providers[0].Folder != spec.Folder {
		t.Fatalf("the providers are %+v", file.Providers)
	}
	mounts := map[string]string{}
	for _, v := range load(t).Services["grafana"].Volumes {
		mounts[v.Target] = v.Source
	}
	boards, err := filepath.Glob(filepath.Join(mounts[file.Providers[0].Options.Path], "*.json"))
	if err != nil || len(boards) != 3 {
		t.Errorf("on %s there are %d boards: %v", file.Providers[0].Options.Path, len(boards), err)
	}
	for target := range mounts {
		kind, ok := strings.CutPrefix(target, "/etc/grafana/provisioning/")
		if kind, _, _ = strings.Cut(kind, "/"); ok && !slices.Contains([]string{"datasources", "dashboards", "alerting"}, kind) {
			t.Errorf("Grafana does not look in %s", target)
		}
	}
	for _, name := range []string{"lifeguard-alerts.yml", "contact-points.yml", "policies.yml"} {
		if mounts["/etc/grafana/provisioning/alerting/"+name] == "" {
			t.Errorf("%s is not mounted where Grafana looks", name)
		}
	}
}

func TestPrometheusScrapesTheStack(t *testing.T) {
	t.Parallel()
	var file struct {
		Global struct {
			Interval string `yaml:"scrape_interval"`
		}
		RuleFiles []string `yaml:"rule_files"`
		Scrapes   []struct {
			Job    string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	read(t, "stack/prometheus.yml", &file)
	prometheus := load(t).Services["prometheus"]
	jobs := map[string][]string{}
	for _, s := range file.Scrapes {
		for _, group := range s.Static {
			jobs[s.Job] = append(jobs[s.Job], group.Targets...)
		}
	}
	if targets := jobs[spec.Default().Job]; len(targets) != 1 {
		t.Errorf("the job %s, which the alerts know, has the targets %v", spec.Default().Job, targets)
	}
	for job, targets := range jobs {
		for _, target := range targets {
			host, port, _ := strings.Cut(target, ":")
			switch host {
			case "localhost":
			case "host.docker.internal":
				if !slices.Equal(prometheus.ExtraHosts["host.docker.internal"], []string{"host-gateway"}) {
					t.Errorf("%s: on Linux %s is known only as host-gateway", job, host)
				}
			default:
				checkAddress(t, job, host, port)
			}
		}
	}
	for _, path := range file.RuleFiles {
		if !slices.ContainsFunc(prometheus.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == path }) {
			t.Errorf("no rules are mounted on %s", path)
		}
	}
	var sources struct {
		Datasources []struct {
			UID      string
			JSONData struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	read(t, "provisioning/datasources/lifeguard.yml", &sources)
	if got := sources.Datasources[0].JSONData.TimeInterval; got != file.Global.Interval {
		t.Errorf("Grafana believes that Prometheus scrapes each %q, which is %q", got, file.Global.Interval)
	}
}

func TestTheCollectorPassesOnWhatItGets(t *testing.T) {
	t.Parallel()
	var file struct {
		Receivers, Processors, Extensions map[string]any
		Exporters                         map[string]struct{ Endpoint string }
		Service                           struct {
			Extensions []string
			Pipelines  map[string]struct{ Receivers, Processors, Exporters []string }
		}
	}
	read(t, "stack/collector.yml", &file)
	for name, p := range file.Service.Pipelines {
		for _, part := range p.Receivers {
			if _, ok := file.Receivers[part]; !ok {
				t.Errorf("%s: there is no receiver %s", name, part)
			}
		}
		for _, part := range p.Processors {
			if _, ok := file.Processors[part]; !ok {
				t.Errorf("%s: there is no processor %s", name, part)
			}
		}
		for _, part := range p.Exporters {
			exporter, ok := file.Exporters[part]
			if !ok {
				t.Errorf("%s: there is no exporter %s", name, part)
				continue
			}
			u, err := url.Parse(exporter.Endpoint)
			if err != nil {
				t.Fatal(err)
			}
			checkAddress(t, part, u.Hostname(), u.Port())
		}
	}
	for kind, to := range map[string]string{"traces": "otlp_http/tempo", "logs": "otlp_http/loki"} {
		if p := file.Service.Pipelines[kind]; !slices.Equal(p.Exporters, []string{to}) || !slices.Equal(p.Receivers, []string{"otlp"}) {
			t.Errorf("%s go from %v to %v, not to %s", kind, p.Receivers, p.Exporters, to)
		}
	}
	text, err := os.ReadFile("collector.yml")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^  (logging|otlphttp|loki)\b`).FindString(string(text)); m != "" {
		t.Errorf("the exporter%s is gone from the collector, or has another name", m)
	}
}

func TestAlertsAndTracesGoToServicesOfTheStack(t *testing.T) {
	t.Parallel()
	services := load(t).Services
	addresses := map[string]string{}
	for _, name := range []string{"LIFEGUARD_SLACK_URL", "LIFEGUARD_WEBHOOK_URL"} {
		addresses[name] = *services["grafana"].Environment[name]
	}
	command := services["metrics-server"].Command
	for i, flag := range command {
		if flag == "-otlp" || flag == "-dsn" {
			addresses[flag] = command[i+1]
		}
	}
	addresses["-dsn"] = strings.Replace(addresses["-dsn"], "@postgres/", "@postgres:5432/", 1)
	for name, address := range addresses {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		checkAddress(t, name, u.Hostname(), u.Port())
	}
	host, port, _ := strings.Cut(*services["grafana"].Environment["GF_SMTP_HOST"], ":")
	checkAddress(t, "GF_SMTP_HOST", host, port)
	if name := services["metrics-server"].Environment["OTEL_SERVICE_NAME"]; name == nil || *name != spec.Service {
		t.Errorf("the metrics server calls itself %v, the boards expect %s", name, spec.Service)
	}
	own := spec.Default().Receivers
	for _, address := range []string{own.SlackURL, own.WebhookURL, "smtp://" + own.SMTPHost} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		checkAddress(t, "alertmanager.yml", u.Hostname(), u.Port())
	}
}
