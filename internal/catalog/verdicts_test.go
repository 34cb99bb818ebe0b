package catalog

import (
	"bufio"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

var update = flag.Bool("update", false, "write testdata/verdicts.golden from what the server says; review the difference")

// TestEachStatementHasItsVerdict holds a table of statements against a real server:
// testdata/verdicts.golden has each statement, and what is to be found out about it.
func TestEachStatementHasItsVerdict(t *testing.T) {
	t.Parallel()
	schema := read(t, "testdata/schema.sql")
	conn, _ := database(t, schema)
	execute(t, conn, "CREATE TEMP TABLE temporary (id int)")
	names := namesOf(t, conn)
	c := New()
	var got strings.Builder
	statements := 0
	for _, sql := range strings.Split(read(t, "testdata/verdicts.sql"), "\n") {
		if strings.HasPrefix(sql, "#") || sql == "" {
			got.WriteString(sql + "\n")
			continue
		}
		statements++
		got.WriteString(sql + "\n\t" + names.describe(analyze(t, c, conn, sql)) + flags(sql) + "\n")
	}
	if statements < 150 {
		t.Errorf("only %d statements", statements)
	}
	// Which number the schema of temporary tables has is chance.
	result := regexp.MustCompile(`pg_temp_\d+`).ReplaceAllString(got.String(), "pg_temp")
	if *update {
		if err := os.WriteFile("testdata/verdicts.golden", []byte(result), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := read(t, "testdata/verdicts.golden")
	if pgtest.Shared(t).Version() < 150000 {
		merge := regexp.MustCompile(`(?m)^MERGE .*\n.*\n`)
		result, want = merge.ReplaceAllString(result, ""), merge.ReplaceAllString(want, "")
	}
	compareLines(t, result, want)
}

// flags says what the text tells by itself.
func flags(sql string) (text string) {
	c, _ := Gate(sql)
	for _, f := range []struct {
		set  bool
		name string
	}{
		{c.Settings.Change(), "session"},
		{c.Settings.Change() && !c.Settings.Last(), "local"},
		{c.Settings.Change() && !c.Settings.Rename(), "custom"},
		{c.Async, "async"},
		{c.Late, "late"},
		{c.Reload, "reload"},
	} {
		if f.set {
			text += ", " + f.name
		}
	}
	return text
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := bufio.NewScanner(strings.NewReader(got)), bufio.NewScanner(strings.NewReader(want))
	statement := ""
	for g.Scan() {
		w.Scan()
		if !strings.HasPrefix(g.Text(), "\t") {
			statement = g.Text()
		}
		if g.Text() != w.Text() {
			t.Errorf("%s\ngot  %s\nwant %s", statement, g.Text(), w.Text())
		}
	}
	if w.Scan() {
		t.Errorf("the golden file goes on: %s", w.Text())
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
