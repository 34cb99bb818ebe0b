package supply

import (
	"archive/zip"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/needs"
)

// TestTheCommandIsInstalledFromAnEmptyModuleCache plays a module proxy that has this tree as
// v0.0.1, or as the release that is being checked, and installs the command from it, and what users
// import into a program, as they will from a real one. It compiles everything anew, so it runs only if LIFEGUARD_LONG is set: make
// test-install.
func TestTheCommandIsInstalledFromAnEmptyModuleCache(t *testing.T) {
	t.Parallel()
	if os.Getenv("LIFEGUARD_LONG") == "" {
		t.Skip("a minute of compiling; set LIFEGUARD_LONG=1")
	}
	version := cmp.Or(os.Getenv("LIFEGUARD_RELEASE"), "v0.0.1")
	proxy, bin := t.TempDir(), t.TempDir()
	for _, dir := range tagged() {
		publish(t, proxy, dir, version)
	}

	// What others have published comes from the cache of this machine, which is laid out
	// like a proxy, and else from where it always comes from.
	out, err := runGo(t, ".", nil, "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		t.Fatal(err)
	}
	cache, usual, _ := strings.Cut(strings.TrimSpace(out), "\n")
	env := []string{
		"GOMODCACHE=" + t.TempDir(), "GOBIN=" + bin, "GOFLAGS=-modcacherw -trimpath", "GOWORK=off", "GOSUMDB=off",
		"GOPROXY=" + fileURL(proxy) + "," + fileURL(filepath.Join(cache, "cache", "download")) + "," + usual,
	}
	if _, err := runGo(t, ".", env, "install", module+"/cmd/lifeguard@"+version); err != nil {
		if unreachable.MatchString(err.Error()) {
			needs.Lacking(t, "a module is not in the cache and cannot be had: %v", err)
		}
		t.Fatal(err)
	}
	name := "lifeguard"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	help, err := exec.CommandContext(t.Context(), filepath.Join(bin, name), "help").CombinedOutput()
	if err != nil || !strings.Contains(string(help), "Usage:") {
		t.Errorf("lifeguard help: %v\n%s", err, help)
	}

	// And a program of somebody else, as the README says: go get, and an import for its name.
	useIn(t, t.TempDir(), env, version)
}

// useIn writes a program that imports what users import, and runs it, in a module of its own.
func useIn(t *testing.T, app string, env []string, version string) {
	t.Helper()
	const source = `package main

import (
	"database/sql"

	_ "github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/crud"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
	_ "github.com/lifeguard-go/lifeguard/lifeguardsqlx"
)

func main() {
	if _, err := sql.Open("lifeguard", "postgres://app@db/shop"); err != nil {
		panic(err)
	}
	println(crud.All() != nil, lifeguardgorm.Open("postgres://app@db/shop").Name())
}
`
	if err := os.WriteFile(filepath.Join(app, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	in := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = app, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	in("mod", "init", "example.com/app")
	in("get", module, module+"/crud", module+"/lifeguardgorm", module+"/lifeguardsqlx")
	if out := in("run", "."); !strings.Contains(out, "true postgres") {
		t.Errorf("the program prints %q", out)
	}
	in("get", "-tool", module+"/pgtest/container")
	for _, dir := range tagged() {
		if out := in("list", "-m", modulePath(dir)); !strings.HasSuffix(strings.TrimSpace(out), " "+version) {
			t.Errorf("the program has %s, not %s", out, version)
		}
	}
}

func fileURL(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return "file://" + path
}

// publish writes what a proxy has of a version of a module: information, go.mod as a release has
// it, and the files without those of nested modules.
func publish(t *testing.T, proxy, folder, version string) {
	t.Helper()
	module := modulePath(folder)
	dir := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	mod := released(t, folder, version)
	info := fmt.Sprintf(`{"Version":%q,"Time":%q}`, version, time.Now().UTC().Format(time.RFC3339))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"list": []byte(version + "\n"), version + ".info": []byte(info), version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, path := range moduleFiles(t, folder) {
		content, err := os.ReadFile(filepath.Join(root, folder, path))
		if err != nil {
			t.Fatal(err)
		}
		if path == "go.mod" {
			content = mod
		}
		w, err := archive.Create(module + "@" + version + "/" + filepath.ToSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// moduleFiles lists what belongs to a module: no nested modules, no hidden folders.
func moduleFiles(t *testing.T, folder string) (files []string) {
	t.Helper()
	base := filepath.Join(root, folder)
	err := filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if rel != "." && (nested == nil || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && (strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go") || !strings.Contains(rel, string(filepath.Separator))) {
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
