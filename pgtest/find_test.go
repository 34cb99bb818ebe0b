package pgtest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fakeInstallation writes programs that only know their version.
func fakeInstallation(t *testing.T, dir, version string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake programs are shell scripts")
	}
	script(t, dir, "postgres", "echo 'postgres (PostgreSQL) "+version+"'")
	script(t, dir, "initdb", "exit 1")

	return dir
}

func TestTheSearchPrefersTheVariableThenPATHThenTheNewest(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	named := fakeInstallation(t, root+"/named", "12.1")
	onPath := fakeInstallation(t, root+"/path", "13.2 (Debian 13.2-1)")
	usual := root + "/usual/*/bin"
	fakeInstallation(t, root+"/usual/9.6/bin", "9.6.24")
	fakeInstallation(t, root+"/usual/15/bin", "15.9")
	newest := fakeInstallation(t, root+"/usual/15b/bin", "15.10")
	fakeInstallation(t, root+"/usual/14/bin", "14.22")
	script(t, root+"/usual/99/bin", "postgres", "echo 'postgres (PostgreSQL) 99.0'") // without initdb
	script(t, root+"/usual/98/bin", "postgres", "exit 1")
	script(t, root+"/usual/98/bin", "initdb", "")

	for _, c := range []struct {
		name, variable, path string
		want, release        string
	}{
		{"variable", named, onPath, named, "12.1"},
		{"variable naming the program", named + "/postgres", onPath, named, "12.1"},
		{"path", "", root + ":" + onPath, onPath, "13.2"},
		{"usual folders", "", root, newest, "15.10"},
	} {
		inst, looked, err := findPostgresIn(t.Context(), c.variable, c.path, []string{root + "/none/*", usual})
		if err != nil || inst == nil {
			t.Errorf("%s: %v, %v", c.name, err, looked)
			continue
		}
		if inst.dir != c.want || inst.release() != c.release {
			t.Errorf("%s: %s in %s, want %s in %s", c.name, inst.release(), inst.dir, c.release, c.want)
		}
	}
}

func TestABetaHasAVersion(t *testing.T) {
	inst, err := inspect(t.Context(), fakeInstallation(t, t.TempDir(), "19beta1"))
	if err != nil || inst.release() != "19.0" {
		t.Error(inst, err)
	}
}

func TestLinksAreFollowedToTheRealFolder(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := fakeInstallation(t, root+"/real", "15.1")
	if err := os.Mkdir(root+"/links", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.Symlink(real+"/"+name, root+"/links/"+name); err != nil {
			t.Fatal(err)
		}
	}
	inst, err := inspect(t.Context(), root+"/links")
	if err != nil || inst.dir != real {
		t.Error(inst, err)
	}
}

func TestAWrongVariableFailsInsteadOfFindingAnother(t *testing.T) {
	root := t.TempDir()
	onPath := fakeInstallation(t, root+"/path", "13.2")
	_, _, err := findPostgresIn(t.Context(), root+"/wrong", onPath, nil)
	if err == nil || !strings.Contains(err.Error(), envBin+"="+root+"/wrong: no executable postgres") {
		t.Error(err)
	}
}
