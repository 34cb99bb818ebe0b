package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// source is a package around a snippet: with a function Run, or a test, if the snippet is one.
func source(s surroundings, snippet string) string {
	imports := ""
	for path := range strings.SplitSeq(strings.ReplaceAll(s.imports, "\n", ";"), ";") {
		imports += "\n" + strings.TrimSpace(path)
	}
	if s.imports == "testing" {
		return `package snippet

import (
	"database/sql"
	"os"
	"testing"

	_ "github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

var _ = sql.Open

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

` + snippet
	}
	return fmt.Sprintf(`package snippet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lifeguard-go/lifeguard"
	%s
)

var _, _, _ = errors.New, fmt.Sprint, sql.Open
var _ = lifeguard.DriverName

%s

func Run(ctx context.Context, dsn string) error {
	%s
	%s
	%s
}
`, imports, s.beside, s.before, snippet, s.after)
}

// program calls the snippet that its first argument names.
func program() string {
	var imports, cases string
	for name, s := range snippets() {
		if s.imports != "testing" {
			imports += fmt.Sprintf("\t%s %q\n", name, "github.com/lifeguard-go/lifeguard/examples/readme/"+name)
			cases += fmt.Sprintf("\tcase %q:\n\t\terr = %s.Run(ctx, os.Args[2])\n", name, name)
		}
	}
	return fmt.Sprintf(`package main

import (
	"context"
	"fmt"
	"os"

%s)

func main() {
	ctx := context.Background()
	err := fmt.Errorf("there is no snippet %%s", os.Args[1])
	switch os.Args[1] {
%s	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`, imports, cases)
}

// shown takes the marked snippets out of README.md and docs. Every Go block of docs has to be
// one; of the README's, those that are not marked stand in example_test.go of the root.
func shown(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	marked := map[string]string{}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)(?:<!-- run: ([a-z]+) -->\n)?```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			switch {
			case m[1] == "" && filepath.Base(page) != "README.md":
				t.Errorf("%s: nothing runs\n%s", page, m[2])
			case m[1] != "" && marked[m[1]] != "":
				t.Errorf("%s: there are two snippets %s", page, m[1])
			case m[1] != "":
				marked[m[1]] = m[2]
			}
		}
	}
	for name := range snippets() {
		if marked[name] == "" {
			t.Errorf("no page has the snippet %s", name)
		}
	}
	for name := range marked {
		if _, ok := snippets()[name]; !ok {
			t.Errorf("this test does not know the snippet %s", name)
		}
	}
	return marked
}

// TestThePagesShowCodeThatRuns takes each snippet out of its page, as it stands there, compiles
// a program around all of them, without writing one into this folder, and runs each.
func TestThePagesShowCodeThatRuns(t *testing.T) {
	t.Parallel()
	marked := shown(t)
	for _, name := range []string{"pgx", "pgxpool", "pq", "sqlx", "gorm", "bun"} { // the README promises five lines each
		if n := strings.Count(strings.TrimSpace(marked[name]), "\n") + 1; n > 5 {
			t.Errorf("%s takes %d lines", name, n)
		}
	}
	if t.Failed() {
		return
	}
	dir, replace := t.TempDir(), map[string]string{}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	write := func(folder, file, text string) {
		t.Helper()
		path := filepath.Join(dir, folder+"-"+file)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, "readme", folder, file)] = path
	}
	into := dir + string(filepath.Separator)
	tests := []string{"test", "-c", "-vet=off", "-overlay", overlay, "-o", into}
	for name, s := range snippets() {
		file := "snippet.go"
		if s.imports == "testing" {
			file, tests = "snippet_test.go", append(tests, "./readme/"+name)
		}
		write(name, file, source(s, marked[name]))
	}
	write("program", "main.go", program())
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"build", "-overlay", overlay, "-o", into, "./readme/program"}, tests} {
		if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for name, s := range snippets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			setUp(t, dsn)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(dir, "program"), name, dsn)
			if s.imports == "testing" {
				cmd = exec.CommandContext(ctx, filepath.Join(dir, name+".test"))
			}
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "LIFEGUARD_TEST_DSN="+pgtest.Shared(t).DSN("postgres"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// setUp makes the pets.
func setUp(t *testing.T, dsn string) {
	t.Helper()
	db, err := lifeguard.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "create table pets (id int primary key, name text, legs int); insert into pets values (1, 'Rex', 4), (2, 'Polly', 2)")
	if err != nil {
		t.Fatal(err)
	}
}
