package supply

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/lifeguard-go/lifeguard"

// tagged are the folders of the modules that a release tags: what users import, and the programs
// that pgtest runs where there is no server but Docker.
func tagged() []string {
	return []string{".", "crud", "lifeguardgorm", "lifeguardsqlx", "pgtest/container"}
}

// modulePath is the path of the module in a folder.
func modulePath(folder string) string { return path.Join(module, folder) }

// ours finds the lines of a go.mod that require another module of this repository.
var ours = regexp.MustCompile(`(?m)^(\s+(?:require )?` + regexp.QuoteMeta(module) + `(?:/\S+)? )(v\S+)`)

// released is the go.mod of a module as make release writes it.
func released(t *testing.T, folder, version string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return ours.ReplaceAll(text, []byte("${1}"+version))
}

// named are the versions of our own modules that go.mod files require, with one of these files.
func named(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, dir := range modules(t) {
		text, err := os.ReadFile(filepath.Join(root, dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ours.FindAllStringSubmatch(string(text), -1) {
			versions[m[2]] = dir
		}
	}
	return versions
}

func TestAllModulesNameOneVersionOfTheOthers(t *testing.T) {
	t.Parallel()
	if versions := named(t); len(versions) != 1 {
		t.Errorf("the versions and who names them are %v; run make release", versions)
	}
}

// TestTheMakefileTagsWhatUsersImport compares its list with that of these tests.
func TestTheMakefileTagsWhatUsersImport(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	if line := "\nSHIPPED := " + strings.Join(tagged()[1:], " ") + "\n"; !strings.Contains(string(text), line) {
		t.Errorf("the Makefile does not have %q", line)
	}
}

// TestTheReleaseIsComplete looks, before the tags are set, whether the tree is that of the release
// that LIFEGUARD_RELEASE names: make check-release.
func TestTheReleaseIsComplete(t *testing.T) {
	t.Parallel()
	version := os.Getenv("LIFEGUARD_RELEASE")
	if version == "" {
		t.Skip("LIFEGUARD_RELEASE is not set: no release is being made")
	}
	if dir, ok := named(t)[version]; !ok || len(named(t)) != 1 {
		t.Errorf("the go.mod files name %v, not %s alone (%s); run make release", named(t), version, dir)
	}
	changes, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	heading := fmt.Sprintf(`(?m)^## \[%s\] - \d{4}-\d\d-\d\d\n\n\S`, regexp.QuoteMeta(strings.TrimPrefix(version, "v")))
	if !regexp.MustCompile(heading).Match(changes) {
		t.Errorf("CHANGELOG.md has no section of %s with a date and changes", version)
	}
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("this is no clone, so there are no tags and no commits to look at")
	}
	if out := git(t, "status", "--porcelain"); out != "" {
		t.Errorf("there is something that is not committed:\n%s", out)
	}
	for _, dir := range tagged() {
		tag := strings.TrimPrefix(path.Join(dir, version), "./")
		if out := git(t, "tag", "-l", tag); out != "" {
			t.Errorf("the tag %s is there already; a version that was published is never changed", tag)
		}
	}
}

func git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
