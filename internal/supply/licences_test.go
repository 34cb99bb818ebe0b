package supply

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/licences.md")

// root is the repository.
const root = "../.."

// shipped are the modules that users import, and what of them is meant for that.
func shipped() []struct{ dir, title, packages string } {
	return []struct{ dir, title, packages string }{
		{".", "lifeguard", "./..."},
		{"crud", "crud", "./..."},
		{"lifeguardgorm", "lifeguardgorm", "./..."},
		{"lifeguardsqlx", "lifeguardsqlx", "./..."},
	}
}

// reasons says what each direct dependency of the root is for. One that is not here needs a
// reason first.
func reasons() map[string]string {
	return map[string]string{
		"github.com/jackc/pgx/v5":             "the driver that is wrapped",
		"github.com/klauspost/compress":       "s2 for large results in the cache",
		"github.com/maypok86/otter/v2":        "the cache in memory",
		"github.com/prometheus/client_golang": "metrics",
		"github.com/prometheus/client_model":  "the protocol's types of metrics, in tests and the metrics server",
		"github.com/redis/go-redis/v9":        "the cache in Redis",
		"go.opentelemetry.io/otel":            "spans",
		"go.opentelemetry.io/otel/metric":     "OpenTelemetry's histogram",
		"go.opentelemetry.io/otel/trace":      "spans",
		"go.uber.org/goleak":                  "tests only",
	}
}

// runGo runs the go command in a module of the repository.
func runGo(t *testing.T, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join(root, dir)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, cmd.Stderr)
	}
	return string(out), err
}

// linked returns path and folder of each module whose code a program gets that imports
// packages, on any system that CI compiles for.
func linked(t *testing.T, dir, packages string) map[string]string {
	t.Helper()
	modules := map[string]string{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		out, err := runGo(
			t, dir, []string{"GOOS=" + goos, "CGO_ENABLED=0"},
			"list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", packages,
		)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			path, folder, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if path != "" && !strings.HasPrefix(path, "github.com/lifeguard-go/lifeguard") {
				modules[path] = folder
			}
		}
	}
	return modules
}

func TestTheLicencesOfWhatIsLinkedAreListed(t *testing.T) {
	t.Parallel()
	folders, users := map[string]string{}, map[string][]string{}
	for _, m := range shipped() {
		for path, folder := range linked(t, m.dir, m.packages) {
			folders[path] = folder
			users[path] = append(users[path], m.title)
		}
	}
	var table strings.Builder
	table.WriteString("| module | licence | file | linked by |\n|---|---|---|---|\n")
	for _, path := range slices.Sorted(mapKeys(folders)) {
		names, files, err := licencesIn(folders[path])
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		by := users[path]
		if slices.Contains(by, "lifeguard") {
			by = []string{"all"}
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", path, strings.Join(names, ", "), strings.Join(files, ", "), strings.Join(by, ", "))
	}
	compareTable(t, filepath.Join(root, "docs", "licences.md"), table.String())
}

func compareTable(t *testing.T, page, want string) {
	t.Helper()
	const begin, end = "<!-- licences:begin -->\n", "<!-- licences:end -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s … %s", page, begin, end)
	}
	want = "\n" + want + "\n"
	if have == want {
		return
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is out of date; run\n\n\tmake licences\n\nhave:%swant:%s", page, have, want)
}

func TestALicenceIsKnownByItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                  "Apache-2.0",
		"Permission is hereby granted, free of charge,\nto any person obtaining a copy": "MIT",
		"Redistributions in binary form must reproduce the above copyright notice … may be used to endorse or promote products derived from this software without specific prior written permission": "BSD-3-Clause",
		"Redistributions in binary form must reproduce the above\ncopyright notice": "BSD-2-Clause",
		"GNU GENERAL PUBLIC LICENSE Version 3":                                      "",
		"Apache License Version 2.0, January 2004 … Redistributions in binary form must reproduce the above copyright notice … be used to endorse or promote products derived from this software without specific prior written permission": "Apache-2.0,BSD-3-Clause",
	} {
		if have := strings.Join(licencesOf(text), ","); have != want {
			t.Errorf("%.40q… is %q, want %q", text, have, want)
		}
	}
	dir := t.TempDir()
	if _, _, err := licencesIn(dir); err == nil {
		t.Error("a module without a licence is accepted")
	}
	if err := os.WriteFile(filepath.Join(dir, "COPYING"), []byte("GNU GENERAL PUBLIC LICENSE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := licencesIn(dir); err == nil {
		t.Error("a licence that is not allowed is accepted")
	}
}
