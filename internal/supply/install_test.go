package supply

import (
	"archive/zip"
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
// v0.0.1, and installs the command from it, and the library into a program, as users will from a
// real one. It compiles everything anew, so it runs only if LIFEGUARD_LONG is set: make
// test-install.
func TestTheCommandIsInstalledFromAnEmptyModuleCache(t *testing.T) {
	t.Parallel()
	if os.Getenv("LIFEGUARD_LONG") == "" {
		t.Skip("a minute of compiling; set LIFEGUARD_LONG=1")
	}
	const module, version = "github.com/lifeguard-go/lifeguard", "v0.0.1"
	proxy, bin := t.TempDir(), t.TempDir()
	publish(t, filepath.Join(proxy, filepath.FromSlash(module), "@v"), module, version)

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
	app := t.TempDir()
	const source = "package main\n\nimport (\n\t\"database/sql\"\n\n\t_ \"" + module + "\"\n)\n\n" +
		"func main() {\n\tif _, err := sql.Open(\"lifeguard\", \"postgres://app@db/shop\"); err != nil {\n\t\tpanic(err)\n\t}\n}\n"
	if err := os.WriteFile(filepath.Join(app, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mod", "init", "example.com/app"}, {"get", module}, {"run", "."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = app, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
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

// publish writes what a proxy has of a version: information, go.mod, and the files of the
// module without those of nested ones.
func publish(t *testing.T, dir, module, version string) {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
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
	for _, path := range moduleFiles(t) {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
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

// moduleFiles lists what belongs to the root module: no nested modules, no hidden folders.
func moduleFiles(t *testing.T) (files []string) {
	t.Helper()
	nested := map[string]bool{}
	for _, dir := range modules(t) {
		nested[dir] = dir != "."
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (nested[rel] || rel != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.Type().IsRegular() && (strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go") || !strings.Contains(rel, string(filepath.Separator))):
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
