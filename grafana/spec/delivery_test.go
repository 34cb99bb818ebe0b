package spec_test

import (
	"slices"
	"testing"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// dataSources are the provisioned ones' types, by uid.
func dataSources(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Datasources []struct{ Name, UID, Type string }
	}
	readYAML(t, "provisioning/datasources/lifeguard.yml", &file)
	types := map[string]string{}
	for _, d := range file.Datasources {
		if _, twice := types[d.UID]; twice || d.UID == "" {
			t.Errorf("data source %s: the uid %q is missing or taken", d.Name, d.UID)
		}
		types[d.UID] = d.Type
	}
	for _, uid := range []string{spec.Prometheus, spec.Loki, spec.Tempo} {
		if types[uid] != uid {
			t.Errorf("the data source %s is not provisioned under this uid and type", uid)
		}
	}
	return types
}

type policy struct {
	Receiver       string
	ObjectMatchers [][3]string `yaml:"object_matchers"`
	Continue       bool
	Routes         []policy
}

// receivers follows an alert down the tree, as Grafana and Alertmanager do.
func (p *policy) receivers(labels map[string]string) []string {
	var found []string
	for _, child := range p.Routes {
		if !child.matches(labels) {
			continue
		}
		found = append(found, child.receivers(labels)...)
		if !child.Continue {
			break
		}
	}
	if len(found) == 0 {
		return []string{p.Receiver}
	}
	return found
}

func (p *policy) matches(labels map[string]string) bool {
	for _, m := range p.ObjectMatchers {
		if m[1] != "=" || labels[m[0]] != m[2] {
			return false
		}
	}
	return true
}

func TestEveryAlertReachesEveryContactPoint(t *testing.T) {
	t.Parallel()
	var points struct {
		ContactPoints []struct {
			Name      string
			Receivers []struct {
				UID, Type string
				Settings  map[string]string
			}
		} `yaml:"contactPoints"`
	}
	readYAML(t, "provisioning/alerting/contact-points.yml", &points)
	var names, types []string
	for _, p := range points.ContactPoints {
		names = append(names, p.Name)
		for _, r := range p.Receivers {
			types = append(types, r.Type)
			if r.UID == "" || len(r.Settings) == 0 {
				t.Errorf("%s: no uid or no settings", p.Name)
			}
		}
	}
	slices.Sort(names)
	slices.Sort(types)
	if !slices.Equal(types, []string{"email", "slack", "webhook"}) {
		t.Errorf("the contact points are %v", types)
	}
	var file struct{ Policies []policy }
	readYAML(t, "provisioning/alerting/policies.yml", &file)
	if len(file.Policies) != 1 {
		t.Fatalf("%d policies; an organisation has one", len(file.Policies))
	}
	for _, r := range grafanaRules(t) {
		reached := file.Policies[0].receivers(r.Labels)
		slices.Sort(reached)
		if !slices.Equal(reached, names) {
			t.Errorf("%s reaches %v, not %v", r.Title, reached, names)
		}
	}
	if reached := file.Policies[0].receivers(map[string]string{"alertname": "somebody else's"}); !slices.Equal(reached, []string{spec.Email}) {
		t.Errorf("other alerts reach %v", reached)
	}
}
