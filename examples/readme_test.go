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

// migration is what surrounds a snippet of the README: what it imports, what stands before
// and after it.
type migration struct{ imports, before, after string }

// migrations are the snippets that are marked with their names. Errors of a snippet are looked
// at where it leaves them; all of them read the pets of setup.
func migrations() map[string]migration {
	const rows = `
		if err != nil { return err }
		if fmt.Sprint(names) != "[Rex Polly]" { return fmt.Errorf("the pets are %v", names) }
		return nil`
	return map[string]migration{
		"pgx": {
			imports: `"github.com/jackc/pgx/v5"`,
			before:  `config, err := pgx.ParseConfig(dsn); if err != nil { return err }`,
			after:   `if err != nil { return err }; return errors.Join(db.PingContext(ctx), other.PingContext(ctx), db.Close(), other.Close())`,
		},
		"pgxpool": {
			imports: `"github.com/jackc/pgx/v5"`,
			before:  `var used *pgx.Conn; use := func(c *pgx.Conn) { used = c }`,
			after: `if err != nil { return err }
				if used == nil || !rows.Next() { return errors.New("no connection, or no row") }
				return errors.Join(rows.Close(), conn.Close(), db.Close())`,
		},
		"pq": {
			imports: `"github.com/jackc/pgx/v5/pgconn"`,
			before: `type pet struct { ID int; Name string }
				pets := func(yield func(pet) bool) { yield(pet{7, "Max"}) }`,
			after: `if err != nil { return err }
				if !taken || n.Written != 1 { return fmt.Errorf("taken %v, written %d", taken, n.Written) }
				return db.Close()`,
		},
		"sqlx": {imports: `"github.com/jmoiron/sqlx"`, after: rows},
		"gorm": {imports: `"gorm.io/gorm"; "github.com/lifeguard-go/lifeguard/lifeguardgorm"`, after: rows},
		"bun":  {imports: `"github.com/uptrace/bun"; "github.com/uptrace/bun/dialect/pgdialect"`, after: rows},
	}
}

// program is a whole one around a snippet.
func program(m migration, snippet string) string {
	imports := ""
	for path := range strings.SplitSeq(m.imports, ";") {
		imports += "\n" + strings.TrimSpace(path)
	}
	return fmt.Sprintf(`package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/lifeguard-go/lifeguard"
	%s
)

var _, _, _ = errors.New, fmt.Sprint, sql.Open
var _ = lifeguard.DriverName

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dsn string) error {
	%s
	%s
	%s
}
`, imports, m.before, snippet, m.after)
}

// TestTheReadmeShowsMigrationsThatRun takes each snippet out of the README, as it stands there,
// compiles a program around it, without writing one into this folder, and runs it.
func TestTheReadmeShowsMigrationsThatRun(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)<!-- run: ([a-z]+) -->\n```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		snippets[m[1]] = m[2]
		if n := strings.Count(strings.TrimSpace(m[2]), "\n") + 1; n > 5 {
			t.Errorf("%s takes %d lines", m[1], n)
		}
	}
	dir := t.TempDir()
	replace := map[string]string{}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range migrations() {
		if snippets[name] == "" {
			t.Errorf("README.md has no snippet %s", name)
		}
		path := filepath.Join(dir, name+".go")
		if err := os.WriteFile(path, []byte(program(m, snippets[name])), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, "readme", name, "main.go")] = path
	}
	if len(snippets) != len(replace) {
		t.Errorf("README.md has %d snippets that are marked, this test knows %d", len(snippets), len(replace))
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "-overlay", overlay, "-o", dir + string(filepath.Separator)}
	for name := range migrations() {
		args = append(args, "./readme/"+name)
	}
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name := range migrations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			setUp(t, dsn)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if out, err := exec.CommandContext(ctx, filepath.Join(dir, name), dsn).CombinedOutput(); err != nil {
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
