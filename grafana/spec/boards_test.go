package spec_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// dashboard is what these tests read of a file, as Grafana would.
type dashboard struct {
	UID, Title, Description string
	SchemaVersion           int
	Panels                  []panel
	Templating              struct {
		List []struct{ Name, Type, Label string }
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit string
			Max  *float64
		}
	}
	Targets []struct {
		RefID, Expr, Query, LegendFormat string
		Exemplar                         bool
		Datasource                       datasource
	}
}

type datasource struct{ Type, UID string }

// dashboards reads the files, by uid.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "dashboards", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	boards := map[string]dashboard{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, twice := boards[d.UID]; twice || d.UID == "" || len(d.UID) > 40 {
			t.Errorf("%s: the uid %q is missing, taken or too long", path, d.UID)
		}
		boards[d.UID] = d
	}
	return boards
}

func TestBoardsAreComplete(t *testing.T) {
	t.Parallel()
	variable := regexp.MustCompile(`\$\{?(\w+)\}?`)
	for uid, d := range dashboards(t) {
		if d.Title == "" || d.Description == "" || d.SchemaVersion != 42 {
			t.Errorf("%s: title %q, description %q, schemaVersion %d", uid, d.Title, d.Description, d.SchemaVersion)
		}
		variables := []string{"__rate_interval"}
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.ID <= 0 {
				t.Errorf("%s: the panel id %d of %q is taken or not positive", uid, p.ID, p.Title)
			}
			ids[p.ID] = true
			checkPanel(t, uid, p)
			uses := p.Datasource.UID
			for _, q := range p.Targets {
				uses += " " + q.Expr + " " + q.Query + " " + q.Datasource.UID
				if q.Datasource != p.Datasource {
					t.Errorf("%s, %s: a query goes elsewhere than its panel", uid, p.Title)
				}
			}
			for _, m := range variable.FindAllStringSubmatch(uses, -1) {
				if !slices.Contains(variables, m[1]) {
					t.Errorf("%s, %s: there is no variable %s", uid, p.Title, m[1])
				}
			}
		}
	}
}

func checkPanel(t *testing.T, uid string, p panel) {
	t.Helper()
	if p.Title == "" {
		t.Errorf("%s: panel %d has no title", uid, p.ID)
	}
	if p.Type == "row" {
		return
	}
	allowed := []string{"timeseries", "stat", "heatmap", "logs", "table"}
	if !slices.Contains(allowed, p.Type) {
		t.Errorf("%s, %s: type %q is none of %v", uid, p.Title, p.Type, allowed)
	}
	if len(p.Description) < 15 || !strings.HasPrefix(p.Datasource.UID, "${") || len(p.Targets) == 0 {
		t.Errorf("%s, %s: no description, no query, or not the data source that is picked on the board", uid, p.Title)
	}
	if p.Datasource.Type == spec.Prometheus && p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s, %s: no unit", uid, p.Title)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || q.Expr+q.Query == "" {
			t.Errorf("%s, %s: query %q is empty or its refId is taken", uid, p.Title, q.RefID)
		}
		refs[q.RefID] = true
		if strings.Contains(q.Expr, "rate(") && !strings.Contains(q.Expr, "[$__rate_interval]") {
			t.Errorf("%s, %s: a rate over a fixed time is wrong at other resolutions: %s", uid, p.Title, q.Expr)
		}
		if strings.Contains(q.Expr, "{@") {
			t.Errorf("%s, %s: {@} was not replaced: %s", uid, p.Title, q.Expr)
		}
		if p.Datasource.Type == spec.Prometheus && q.LegendFormat == "" {
			t.Errorf("%s, %s: a query has no legend", uid, p.Title)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	for uid, d := range dashboards(t) {
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			g := p.GridPos
			if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s, %s: lies at %+v", uid, p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: %s lies over %s", uid, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

func TestTheHeatMapShowsExemplars(t *testing.T) {
	t.Parallel()
	for _, p := range dashboards(t)[spec.OverviewUID].Panels {
		if p.Type == "heatmap" && p.Targets[0].Exemplar {
			return
		}
	}
	t.Error("no heat map of the overview asks for exemplars")
}
