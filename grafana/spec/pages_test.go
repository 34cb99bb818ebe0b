package spec_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// TestThePagesNameWhatThereIs looks at each lifeguard_… and pool_… of README.md and docs: a
// setting, a series, a series with labels that it has, or PromQL over such.
func TestThePagesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	series, settings := exported(t), map[string]bool{}
	for _, s := range lifeguard.Settings() {
		settings[s.Key], settings[s.Env] = true, true
	}
	isSeries := func(name string) bool { return series[name] != nil || series[name+"_bucket"] != nil }
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range append(paths, "../../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`([^`\n]*\\b(?:lifeguard|pool)_[^`\n]*)`").FindAllStringSubmatch(string(text), -1) {
			page, span := filepath.Base(path), m[1]
			name := regexp.MustCompile(`^[a-z_]+`).FindString(span)
			rest := strings.TrimPrefix(span, name)
			seen++
			switch {
			case macro(page, span), strings.HasSuffix(span, ".go"):
			case name == "lifeguard_redis" && page == "cache-design.md": // says that it is refused
			case isSeries(name) && rest == "", settings[name] && (rest == "" || rest[0] == '='):
			case rest == "…" || rest == "*":
				if !prefixed(name, settings, series) {
					t.Errorf("%s: no setting or series begins with %s", page, name)
				}
			case regexp.MustCompile(`^\{[a-z, ]+\}$`).MatchString(rest) && isSeries(name):
				labels := series[name]
				if labels == nil {
					labels = series[name+"_bucket"]
				}
				for _, l := range strings.Split(strings.Trim(rest, "{}"), ",") {
					if _, ok := labels[strings.TrimSpace(l)]; !ok {
						t.Errorf("%s: %s has no label %q", page, name, l)
					}
				}
			case strings.ContainsAny(span, "([{"):
				checkPromQL(t, page, span, isSeries)
			default:
				checkAssignments(t, page, span, settings)
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d names were found", seen)
	}
}

func TestThePageOnTheStackHasEveryRowAndCountsTheAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/stack.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, board := range spec.Boards(spec.Default()) {
		for _, section := range board.Sections {
			if !strings.Contains(string(text), "\n| "+section.Title+" | ") {
				t.Errorf("docs/stack.md does not have the row %q of the board %s", section.Title, board.Title)
			}
		}
	}
	numbers := strings.Fields("no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")
	count := numbers[len(spec.Boards(spec.Default()))] + " dashboards, " + numbers[len(spec.Alerts(spec.Default()))] + " alerts"
	if !strings.Contains(string(text), count) {
		t.Errorf("docs/stack.md does not say that there are %s", count)
	}
}

// macro tells whether a name is one of the Rust project's, which docs/helpers.md lists.
func macro(page, span string) bool {
	rust := []string{"lifeguard_insert", "lifeguard_update", "lifeguard_delete"}
	return page == "helpers.md" && (strings.HasSuffix(span, "!") || strings.HasPrefix(span, "lifeguard_find") || slices.Contains(rust, span))
}

func prefixed[V any](name string, settings map[string]bool, series map[string]V) bool {
	for key := range settings {
		if strings.HasPrefix(key, name) {
			return true
		}
	}
	for key := range series {
		if strings.HasPrefix(key, name) {
			return true
		}
	}
	return false
}

func checkPromQL(t *testing.T, page, expr string, isSeries func(string) bool) {
	t.Helper()
	parser.Inspect(parse(t, page, expr), func(node parser.Node, _ []parser.Node) error {
		if n, ok := node.(*parser.VectorSelector); ok && !isSeries(n.Name) {
			t.Errorf("%s: %s: the library does not export %s", page, expr, n.Name)
		}
		return nil
	})
}

// checkAssignments looks at the settings of a DSN or of a list.
func checkAssignments(t *testing.T, page, span string, settings map[string]bool) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\b(?:lifeguard|pool)_[a-z_]+`).FindAllString(span, -1) {
		if !settings[name] {
			t.Errorf("%s: %s: there is no setting %s", page, span, name)
		}
	}
}
