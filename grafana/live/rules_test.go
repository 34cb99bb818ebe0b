package live_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

func TestPromtoolFindsNoFault(t *testing.T) {
	t.Parallel()
	promtool := promtoolProgram(t)
	out := check(t, promtool, "check", "rules", "../alerts/prometheus-rules.yml")
	if !strings.Contains(out, "10 rules found") || len(spec.Alerts(spec.Default())) != 10 {
		t.Errorf("promtool sees\n%s", out)
	}
	// In the container the rules lie elsewhere.
	config, err := os.ReadFile("../stack/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../alerts/prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	text := strings.ReplaceAll(string(config), "/etc/prometheus/rules/prometheus-rules.yml", rules)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := check(t, promtool, "check", "config", path); !strings.Contains(out, "10 rules found") {
		t.Errorf("promtool sees\n%s", out)
	}
}

func TestRulesFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	check(t, promtoolProgram(t), "test", "rules", "../alerts/prometheus-rules.test.yml")
}

func TestAmtoolFindsNoFault(t *testing.T) {
	t.Parallel()
	amtool := amtoolProgram(t)
	out := check(t, amtool, "check-config", "../alerts/alertmanager.yml")
	if !strings.Contains(out, "3 receivers") {
		t.Errorf("amtool sees\n%s", out)
	}
	for _, a := range spec.Alerts(spec.Default()) {
		out := check(t, amtool, "config", "routes", "test", "--config.file=../alerts/alertmanager.yml",
			"component=lifeguard", "severity="+a.Severity, "alertname="+a.Name)
		// It may warn of something first.
		if !strings.HasSuffix("\n"+strings.TrimSpace(out), "\n"+spec.Slack+","+spec.Webhook+","+spec.Email) {
			t.Errorf("%s reaches %s", a.Name, out)
		}
	}
}
