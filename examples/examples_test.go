package examples

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// outputs has a few lines of what each example prints.
var outputs = map[string][]string{
	"stdlib": {"Ann has 1050 cents, noted: false", "100 transfers went over "},
	"gorm": {
		"a second Ann is a duplicate: true", "Ann has 2 pets",
		`the server sees /* model:Pet */ SELECT * FROM "pets"`, "SELECT pets was called 1 time and gave 2 rows",
	},
	"bun":     {"Ann wrote 2 books; the first is tagged [red long]"},
	"sqlx":    {"1: Rex has 4 legs", "2: Polly has 2 legs"},
	"ent":     {"Bob has id 2", "Ann is taken", "1 user begins with A"},
	"sqlc":    {"1 King [loud Rex]", "2 Polly [loud Polly]"},
	"goose":   {"2 migrations were applied by two instances"},
	"migrate": {"the schema has version 2 and is dirty: false", "Rex has 4 legs"},
	"river":   {"20 orders were shipped"},
	"cache": {
		"lifeguard_cache=off: 4000 requests became 4", "lifeguard_cache=local: 4000 requests became ", "the cache answered ",
		"2 hits, then a write, and it is seen at once: true", "select count(*) from products: kept until its tables are written",
		"select name from products order by random() limit 1: not kept, because of function random",
	},
	"redis": {
		"an empty Redis confirms nothing before writers have had time to announce what they do: six seconds, or more: true",
		"process 1 reads 40 products: 1 are in its memory, Redis has 0, PostgreSQL is asked for 39",
		"process 2 reads 40 products: 0 are in its memory, Redis has ", "process 1 has changed a price, process 2 sees it at once: true",
		"process 3 reads 40 products: 0 are in its memory, Redis has ", "Redis is stopped; PostgreSQL says: 99 cents",
		`a write goes on, once PostgreSQL has told the others: 98 cents; this process is "out"`,
	},
	"chi": {
		`GET /healthz 200 "ok"`, "POST /orders/Rex 200 2", `GET /orders/1 200 "Rex"`, "GET /orders/9 404 there is no such order", `GET /report 200 [{"Pet":"Rex","Orders":2}]`, "GET /metrics 200 true",
		"5 statements had a span in a request's; ended gracefully: true",
	},
	"csv":      {"line 33335 is refused: lifeguard: row 33333 refused: column value: constraint ", "49999 lines were written"},
	"overload": {"80 callers at once, two connections", "served: ", "refused: "},
}

func TestEveryExampleRuns(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	bin := t.TempDir()
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, name := range mains(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, ok := outputs[name]
			if !ok {
				t.Fatal("this test does not know what the example prints")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(bin, name))
			cmd.Env = append(os.Environ(), "LIFEGUARD_TEST_DSN="+server.DSN("postgres"))
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
			}
			for _, line := range lines {
				if !strings.Contains("\n"+stdout.String(), "\n"+line) {
					t.Errorf("no line begins with %q in\n%s%s", line, stdout.String(), stderr.String())
				}
			}
		})
	}
}

// mains returns the folders with an example of this module.
func mains(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/main.go")
	if err != nil || len(files) != len(outputs) {
		t.Fatalf("%d examples are here, %d are known to this test: %v", len(files), len(outputs), err)
	}
	for i, file := range files {
		files[i] = filepath.Dir(file)
	}
	return files
}
