package doctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// TestTheReportToPgxIsStillTrue runs the program of the report, as it stands there, with the
// version of pgx that the root requires, and compares what it prints.
func TestTheReportToPgxIsStillTrue(t *testing.T) {
	t.Parallel()
	const page = "docs/upstream/pgx-exec-twice.md"
	var program, output string
	_, blocks := split(pages(t)[page])
	for _, b := range blocks {
		switch b.language {
		case "go":
			program = strings.Join(b.lines, "\n") + "\n"
		case "":
			output = strings.Join(b.lines, "\n") + "\n"
		}
	}
	if n := strings.Count(program, "\n"); n == 0 || n > 80 || output == "" {
		t.Fatalf("%s: a program of %d lines, output %q", page, n, output)
	}
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program.exe")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, file)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), binary)
	run.Env = append(os.Environ(), "DATABASE_URL="+pgtest.DSN(t))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if string(out) != output {
		t.Errorf("it prints\n%s\nnot\n%s\nIf pgx has mended it, sent.go, the README and docs can do without.", out, output)
	}
}
