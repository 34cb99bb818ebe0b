package supply

import (
	"encoding/json"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/needs"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// modules returns the folders of the repository that have a go.mod.
func modules(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != root {
			return fs.SkipDir
		}
		if err == nil && d.Name() == "go.mod" {
			dir, _ := filepath.Rel(root, filepath.Dir(path))
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil || len(dirs) < 10 {
		t.Fatalf("%d modules, error %v", len(dirs), err)
	}
	return dirs
}

// unreachable matches what the go command says when a module is neither in its cache nor to
// be had.
var unreachable = regexp.MustCompile(`dial tcp|no such host|i/o timeout|connection refused|module lookup disabled`)

func TestEveryGoModListsWhatItsModuleNeedsAndNoMore(t *testing.T) {
	t.Parallel()
	for _, dir := range modules(t) {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			diff, err := runGo(t, dir, nil, "mod", "tidy", "-diff")
			if err != nil && unreachable.MatchString(err.Error()) {
				needs.Lacking(t, "a module is not in the cache and cannot be had: %v", err)
			}
			if err != nil || diff != "" {
				t.Errorf("run go mod tidy in %s: %v\n%s", dir, err, diff)
			}
		})
	}
}

// goMod is what go mod edit -json prints, as far as it matters here.
type goMod struct {
	Require []struct {
		Path     string
		Indirect bool
	}
	Replace, Exclude []struct{}
}

func TestTheRootNeedsOnlyWhatHasAReason(t *testing.T) {
	t.Parallel()
	out, err := runGo(t, ".", nil, "mod", "edit", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var mod goMod
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		t.Fatal(err)
	}
	direct := 0
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		direct++
		if reasons()[r.Path] == "" {
			t.Errorf("%s is in go.mod, and reasons in licences_test.go does not say what for", r.Path)
		}
	}
	if direct < 3 {
		t.Errorf("only %d direct dependencies were found", direct)
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		t.Error("go install refuses a module with replace or exclude in its go.mod")
	}
}

func TestWhatIsForTestsOnlyIsNotLinked(t *testing.T) {
	t.Parallel()
	for _, m := range shipped() {
		for path := range linked(t, m.dir, ".") {
			for _, unwanted := range []string{"goleak", "testcontainers", "miniredis", "docker", "go-sqlmock", "rapid", "porcupine"} {
				if strings.Contains(path, unwanted) {
					t.Errorf("%s links %s", m.title, path)
				}
			}
		}
	}
}
