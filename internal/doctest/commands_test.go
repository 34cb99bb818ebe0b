package doctest

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// long tells whether there is time for minutes: make test-docs.
func long() bool { return os.Getenv("LIFEGUARD_LONG") != "" }

// TestEveryCommandOfThePagesIsTried takes each command out of README.md and docs, and does with
// it what trials says: it is executed, with less work where the page's would take minutes. A
// command that the table does not have fails, and so does a line of the table that no page has.
func TestEveryCommandOfThePagesIsTried(t *testing.T) {
	t.Parallel()
	shown := map[string][]string{}
	for page, text := range pages(t) {
		for _, c := range commands(text) {
			shown[c] = append(shown[c], page)
		}
	}
	table := trials()
	for _, c := range slices.Sorted(maps.Keys(table)) {
		if shown[c] == nil {
			t.Errorf("no page shows %q any more", c)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(shown)) {
		if _, ok := table[c]; !ok {
			t.Errorf("%s: nothing tries %q", strings.Join(shown[c], ", "), c)
		}
	}
	if t.Failed() {
		return
	}
	w := newWorkplace(t)
	for _, c := range slices.Sorted(maps.Keys(table)) {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			w.try(t, c, table[c])
		})
	}
}

// trial says how a command of the pages is tried. Without how, it is executed by a shell in the
// repository.
type trial struct {
	how     way
	replace []string          // pairs: what stands there, and what is executed in its place
	add     string            // behind it
	env     map[string]string // beside the workplace's
	status  []int             // exit statuses that are right; none: 0 only
	want    []string          // what the output has to have
	long    string            // executed in a copy of the repository, with servers of its own, if there is time for minutes
	where   string            // file:Test… that tries it
	why     string            // it is not executed as it stands
}

type way int

const (
	executed  way = iota
	planned       // by make -n; each test and program of the plan has to be there
	served        // started, asked by HTTP, and stopped by an interrupt
	elsewhere     // another test tries it
)

// workplace is where commands are executed: programs, a database, an environment.
type workplace struct {
	bin string
	dsn string // of a database for all of them
	env []string
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the commands of the pages are for a shell, and there is none")
	}
	w := &workplace{bin: t.TempDir(), dsn: pgtest.DSN(t)}
	for dir, program := range map[string]string{".": "./cmd/lifeguard", "cmd/lifeguard-otlp": "."} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", w.bin+string(filepath.Separator), program)
		build.Dir = filepath.Join(root, dir)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		ours := strings.HasPrefix(name, "LIFEGUARD_") && name != "LIFEGUARD_PG_BIN" || strings.HasPrefix(name, "MAKE") || name == "MFLAGS"
		if !ours && name != "PATH" && name != "DATABASE_URL" {
			w.env = append(w.env, entry)
		}
	}
	w.env = append(
		w.env, "PATH="+w.bin+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"LIFEGUARD_URL="+w.dsn, "LIFEGUARD_TEST_DSN="+pgtest.Shared(t).DSN("postgres"),
	)
	return w
}

func (w *workplace) try(t *testing.T, command string, tr trial) {
	t.Helper()
	changed := tr.how != executed || tr.add != "" || len(tr.replace) > 0
	if changed && tr.why == "" {
		t.Fatal("the table does not say why it is not executed as it stands")
	}
	switch tr.how {
	case executed:
		out := w.run(t, root, w.text(t, command, tr), tr)
		for _, text := range tr.want {
			if !strings.Contains(out, text) {
				t.Errorf("it does not print %q but\n%s", text, out)
			}
		}
	case planned:
		tr.replace = append(tr.replace, "make ", "make -n ")
		w.checkPlan(t, w.run(t, root, w.text(t, command, tr), tr), tr.want)
	case served:
		w.serve(t, w.text(t, command, tr), tr)
	case elsewhere:
		file, name, _ := strings.Cut(tr.where, ":")
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil || !strings.Contains(string(text), "func "+name+"(") {
			t.Errorf("%s has no %s: %v", file, name, err)
		}
	}
	if tr.long != "" && long() {
		tr.status, tr.env = nil, ownServer()
		if out := w.run(t, scratch(t), tr.long, tr); strings.Contains(out, "--- SKIP") {
			t.Errorf("%s: something was skipped\n%s", tr.long, out)
		}
	}
}

// text is what is executed for a command of a page.
func (w *workplace) text(t *testing.T, command string, tr trial) string {
	t.Helper()
	if strings.HasPrefix(command, "just ") {
		command = recipe(t, command)
	}
	for pair := range slices.Chunk(tr.replace, 2) {
		if !strings.Contains(command, pair[0]) {
			t.Fatalf("%q has no %q to replace", command, pair[0])
		}
		command = strings.ReplaceAll(command, pair[0], strings.ReplaceAll(pair[1], "DSN", "'"+w.dsn+"'"))
	}
	return command + tr.add
}

// run executes a command and returns all that it prints.
func (w *workplace) run(t *testing.T, dir, command string, tr trial) string {
	t.Helper()
	limit := 10 * time.Minute
	if long() {
		limit = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = dir, slices.Clone(w.env)
	cmd.WaitDelay = 10 * time.Second
	for name, value := range tr.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	status := cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if !slices.Contains(tr.status, status) && (len(tr.status) > 0 || status != 0) {
		t.Fatalf("%s: exit status %d\n%s", command, status, out)
	}
	return string(out)
}

// recipe is what just executes for a command, so that it is tried where there is no just.
func recipe(t *testing.T, command string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "justfile"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(command)
	m := regexp.MustCompile(`(?m)^@?` + regexp.QuoteMeta(words[1]) + `( \*flags)?:\n    (.+)$`).FindSubmatch(text)
	if m == nil || len(words) > 2 && m[1] == nil {
		t.Fatalf("the justfile has no recipe for %q", command)
	}
	return strings.ReplaceAll(string(m[2]), "{{ flags }}", strings.Join(words[2:], " "))
}

// scratch is a copy of the repository, for commands that write into it.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == ".git" || rel == "bin"):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o750)
		case !d.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), content, 0o700) //nolint:gosec // scripts among them
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
