// Package stack_test reads what the compose stack is made of as its programs do, and
// checks that the parts fit: Docker is not needed for it.
package stack_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// top is the folder of the compose file, seen from here.
const top = "../.."

// load reads the compose file with the code that docker compose reads it with.
func load(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(top, "docker-compose.test.yml")}, cli.WithEnv(env), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeHasNoVersion(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(top, "docker-compose.test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^version:`).Match(text) {
		t.Error("version: is obsolete, and docker compose warns of it")
	}
}

func TestComposeHasEveryService(t *testing.T) {
	t.Parallel()
	images := map[string]string{
		"postgres": "postgres:18", "redis": "redis:8", "prometheus": "prom/prometheus:v3", "grafana": "grafana/grafana:13",
		"loki": "grafana/loki:3", "tempo": "grafana/tempo:3", "otel-collector": "otel/opentelemetry-collector-contrib:0",
		"mailpit": "axllent/mailpit:v1", "sink": "lifeguard-sink", "metrics-server": "lifeguard-metrics-server",
	}
	project := load(t)
	for name, image := range images {
		if s, ok := project.Services[name]; !ok || !strings.HasPrefix(s.Image, image) {
			t.Errorf("%s: the image is %q, not one of %s", name, s.Image, image)
		}
	}
	if len(project.Services) != len(images) {
		t.Errorf("there are %d services, not %d", len(project.Services), len(images))
	}
}

func TestComposePinsImages(t *testing.T) {
	t.Parallel()
	exact := regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?([-@].*)?$`)
	for name, s := range load(t).Services {
		if s.Build == nil && !exact.MatchString(s.Image) {
			t.Errorf("%s: %s may be another image tomorrow", name, s.Image)
		}
	}
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
		if !regexp.MustCompile(`:\d+\.\d+\.\d+`).MatchString(from[1]) {
			t.Errorf("Dockerfile: %s may be another image tomorrow", from[1])
		}
	}
}

func TestComposePublishesOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	published := map[string]string{}
	for name, s := range load(t).Services {
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open on %q", name, p.Published, p.HostIP)
			}
			if other, taken := published[p.Published]; taken {
				t.Errorf("%s and %s both want port %s", name, other, p.Published)
			}
			published[p.Published] = name
		}
	}
	for port, name := range map[string]string{"3000": "grafana", "9090": "prometheus", "9898": "metrics-server"} {
		if published[port] != name {
			t.Errorf("port %s is that of %q, not of %s", port, published[port], name)
		}
	}
}

func TestComposeMountsWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, s := range load(t).Services {
		targets := map[string]bool{}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if targets[v.Target] || !v.ReadOnly {
				t.Errorf("%s: %s is mounted twice, or can be written to", name, v.Target)
			}
			targets[v.Target] = true
		}
		if s.Build == nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the configuration is told to be by a command line is where it is mounted.
func TestComposeCommandsNameMountedFiles(t *testing.T) {
	t.Parallel()
	path := regexp.MustCompile(`=(/etc/\S+)`)
	for name, s := range load(t).Services {
		for _, argument := range s.Command {
			m := path.FindStringSubmatch(argument)
			if m == nil {
				continue
			}
			if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == m[1] }) {
				t.Errorf("%s: nothing is mounted on %s", name, m[1])
			}
		}
	}
}

// Whoever is waited for until it is healthy has a check, and one that its image can
// run: Loki's has no shell and no wget, Tempo's and the collector's nothing at all.
func TestComposeHealthChecksCanPass(t *testing.T) {
	t.Parallel()
	project := load(t)
	programs := map[string]string{
		"postgres": "pg_isready", "redis": "redis-cli", "prometheus": "wget", "grafana": "wget", "metrics-server": "wget", "sink": "wget",
		"loki": "/usr/bin/loki", "mailpit": "/mailpit", "tempo": "", "otel-collector": "",
	}
	for name, s := range project.Services {
		program := ""
		if s.HealthCheck != nil && len(s.HealthCheck.Test) > 1 && s.HealthCheck.Test[0] == "CMD" {
			program = s.HealthCheck.Test[1]
		}
		if program != programs[name] {
			t.Errorf("%s: its health check runs %q, not %q", name, program, programs[name])
		}
		for other, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionHealthy && project.Services[other].HealthCheck == nil {
				t.Errorf("%s waits until %s is healthy, which has no check", name, other)
			}
		}
	}
}

func TestPostgreSQLKeepsItsDataWhereItsImageDoes(t *testing.T) {
	t.Parallel()
	if tmpfs := load(t).Services["postgres"].Tmpfs; !slices.Equal(tmpfs, []string{"/var/lib/postgresql"}) {
		t.Errorf("tmpfs on %v; since 18 it is /var/lib/postgresql", tmpfs)
	}
}

func TestTheStackStartsWithoutAnyVariable(t *testing.T) {
	t.Parallel()
	contacts, err := os.ReadFile(filepath.Join(top, "grafana/provisioning/alerting/contact-points.yml"))
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(string(contacts), -1)
	if len(used) != 3 {
		t.Errorf("contact points use %d variables, not three", len(used))
	}
	grafana := load(t).Services["grafana"].Environment
	for _, m := range used {
		if value := grafana[m[1]]; value == nil || *value == "" {
			t.Errorf("grafana gets no %s, without which it does not start", m[1])
		}
	}
	if user, password := grafana["GF_SECURITY_ADMIN_USER"], grafana["GF_SECURITY_ADMIN_PASSWORD"]; *user+"/"+*password != "admin/admin" {
		t.Errorf("the login is %s/%s", *user, *password)
	}
	own := load(t, "LIFEGUARD_SLACK_URL=https://hooks.example.com/x").Services["grafana"].Environment
	if url := own["LIFEGUARD_SLACK_URL"]; *url != "https://hooks.example.com/x" {
		t.Errorf("with a Slack URL of one's own it is %s", *url)
	}
}
