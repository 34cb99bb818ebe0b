package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// query looks at what a seed has left, as lines of fields.
func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return strings.TrimSuffix(fmt.Sprintln(values...), "\n"), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

const petCounts = `select (select count(*) from petshop.owners), (select count(*) from petshop.pets),
	(select count(*) from petshop.appointments), (select count(distinct id) from petshop.appointments)`

func seed(t *testing.T, dsn string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runFor(t.Context(), append([]string{"seed", "-dsn", dsn}, args...)...)
}

func mustSeed(t *testing.T, dsn string, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := seed(t, dsn, args...)
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
	return stdout
}

func TestSeedFillsThePetShopAndAddsToIt(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	stdout := mustSeed(t, dsn, "n=5000", "--batch-size=500", "-workers", "3")
	mustContain(t, stdout, "from -dsn", "rows     10 %", "rows    100 %  5,000 of 5,000", "/s  in ",
		"5,000 rows into the schema petshop in ", "batches of at most 500 rows, 3 at once")
	if got := query(t, dsn, petCounts); got != "500 1000 3500 3500" {
		t.Errorf("counts %s", got)
	}
	// Rows refer to others at random, and nullable columns are sometimes null.
	if got := query(t, dsn, `select count(distinct owner_id) > 300 and count(chip) between 500 and 900 from petshop.pets`); got != "true" {
		t.Error(got)
	}
	mustSeed(t, dsn, "--", "-n=1000")
	if got := query(t, dsn, petCounts); got != "600 1200 4200 4200" {
		t.Errorf("after a second run: %s", got)
	}
	// An application goes on with the next id.
	if got := query(t, dsn, "insert into petshop.owners (name, email, city) values ('A', 'a', 'B') returning id"); got != "601" {
		t.Errorf("the next id is %s", got)
	}
	mustContain(t, mustSeed(t, dsn, "-n", "70", "-table", "petshop.pets"), "70 rows into petshop.pets")
	if got := query(t, dsn, petCounts); got != "601 1270 4200 4200" {
		t.Errorf("after one of pets: %s", got)
	}
	mustSeed(t, dsn, "-n", "10", "-reset")
	if got := query(t, dsn, petCounts); got != "1 2 7 7" {
		t.Errorf("after a reset: %s", got)
	}
}

func TestSeedsSideBySideDoNotCollide(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	codes := make(chan string, 3)
	for range cap(codes) {
		go func() {
			code, _, stderr := runFor(t.Context(), "seed", "-dsn", dsn, "-n", "1000", "-batch-size", "100")
			codes <- strconv.Itoa(code) + stderr
		}()
	}
	for range cap(codes) {
		if code := <-codes; code != "0" {
			t.Error(code)
		}
	}
	if got := query(t, dsn, petCounts); got != "300 600 2100 2100" {
		t.Errorf("counts %s", got)
	}
}

func TestReservedIdsAreNobodyElses(t *testing.T) {
	t.Parallel()
	db, err := lifeguard.Connect(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := createPetShop(t.Context(), db, false); err != nil {
		t.Fatal(err)
	}
	owners, _ := shopTable("owners")
	var blocks []*lifeguard.Future[int64]
	for range 200 {
		blocks = append(blocks, lifeguard.Go(t.Context(), db, func(ctx context.Context, _ lifeguard.Querier) (int64, error) {
			return (&seeder{db: db}).reserve(ctx, owners, 10)
		}))
	}
	seen := map[int64]bool{}
	for _, block := range blocks {
		first, err := block.Wait(t.Context())
		if err != nil || first%10 != 1 || seen[first] {
			t.Fatalf("ids from %d on, error %v", first, err)
		}
		seen[first] = true
	}
}

func TestSeedLeavesOtherPeoplesSchemasAlone(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	query(t, dsn, "create schema petshop")
	query(t, dsn, "create table petshop.treasure ()")
	for _, reset := range []string{"-reset", "-reset=false"} {
		code, _, stderr := seed(t, dsn, "-n", "10", reset)
		if code != exitFailed {
			t.Errorf("exit code %d", code)
		}
		mustContain(t, stderr, "petshop", "that lifeguard seed has not made")
	}
	if got := query(t, dsn, "select count(*) from pg_tables where schemaname = 'petshop'"); got != "1" {
		t.Errorf("%s tables", got)
	}
}

func TestSeedOfATableNeedsItsParents(t *testing.T) {
	t.Parallel()
	code, _, stderr := seed(t, pgtest.DSN(t), "-table", "pets", "-n", "10")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, stderr, "fill petshop.pets: there are no owners yet")
}

func TestSeedRunsOnAServerOfItsOwn(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t) // skips the test where there is no PostgreSQL
	code, stdout, stderr := runFor(t.Context(), "seed", "-n", "1000")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
	mustContain(t, stdout, "PostgreSQL ", "ready in", "1,000 rows into the schema petshop", "is dropped now; -keep or -dsn keep it")
}

func TestAKeptDatabaseStaysUntilCtrlC(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var kept string
	out := &lookAt{text: "psql '", do: func(text string) {
		defer cancel()
		dsn := regexp.MustCompile(`psql '(.*)'`).FindStringSubmatch(text)[1]
		kept = query(t, dsn, petCounts)
	}}
	var stderr strings.Builder
	code := run(ctx, []string{"seed", "-n", "100", "-keep"}, output{Writer: out, errors: &stderr})
	if code != exitOK || kept != "10 20 70 70" {
		t.Errorf("exit code %d, counts %q, errors %q, output:\n%s", code, kept, stderr.String(), out.String())
	}
}

// lookAt does something when a text is written.
type lookAt struct {
	strings.Builder
	text string
	do   func(written string)
}

func (w *lookAt) Write(b []byte) (int, error) {
	n, err := w.Builder.Write(b)
	if strings.Contains(string(b), w.text) {
		w.do(string(b))
	}
	return n, err
}

func TestCtrlCStopsASeedAndSaysHowManyRowsAreIn(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, args := range [][]string{
		{"-n", "200000"},
		{"-csv", csvFile(t, "n.csv", "n\n"+strings.Repeat("1\n", 200_000)), "-table", "public.n"},
	} {
		query(t, dsn, "drop schema if exists petshop cascade")
		query(t, dsn, "drop table if exists n")
		query(t, dsn, "create table n (n int)")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stdout, stderr strings.Builder
		code := run(ctx, append([]string{"seed", "-dsn", dsn, "-batch-size", "500"}, args...),
			output{Writer: &interruptAt{&stdout, " 20 %", cancel}, errors: &stderr})
		if code != exitInterrupted {
			t.Errorf("exit code %d, errors %q, output:\n%s", code, stderr.String(), stdout.String())
		}
		said := regexp.MustCompile(`stopped: ([\d,]+) rows are in`).FindStringSubmatch(stdout.String())
		if said == nil {
			t.Fatalf("output:\n%s", stdout.String())
		}
		counts := `select (select count(*) from n) + (select count(*) from petshop.owners) + (select count(*) from petshop.pets) + (select count(*) from petshop.appointments)`
		if got := query(t, dsn, counts); got != strings.ReplaceAll(said[1], ",", "") {
			t.Errorf("%s rows are in, and it says %s", got, said[1])
		}
	}
}

func csvFile(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSeedLoadsACSVFileButForItsBadLines(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	query(t, dsn, `create table events (id int primary key, happened_at timestamptz not null, price numeric(8,2) check (price >= 0),
		ok boolean, tags text[], note text default 'none')`)
	file := csvFile(t, "events.csv", "\ufeffid, happened_at,price,ok,tags,note\n"+
		"1,2024-05-01 10:00:00+00,9.99,t,\"{a,\"\"b c\"\"}\",\"it's, \"\"quoted\"\"\"\n"+
		"2,2024-05-01,,,,\n"+
		"3,2024-05-01,1\n"+ // line 4: too few fields
		"x,2024-05-01,1,t,,\n"+ // line 5: no integer
		"5,2024-05-01,1,t,,\"two\nlines\"\n"+ // lines 6 and 7
		"6,,1,t,,\n"+ // line 8: not null
		"1,2024-05-01,1,t,,\n"+ // line 9: duplicate key
		"\n"+ // an empty line is none
		"8,2024-05-01,-1,t,,\n"+ // line 11: check
		"9,2024-05-01,1,t,,a\"b\n"+ // line 12: a quote in the middle
		"10,2024-05-01T00:00:00+02:00,123456.78,f,{},last") // no line break
	for _, batch := range []string{"1", "2", "10000"} {
		query(t, dsn, "truncate events")
		code, stdout, stderr := seed(t, dsn, "-csv", file, "-batch-size", batch, "-workers", "1")
		if code != exitFailed {
			t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
		}
		mustContain(t, stdout, "4 rows into events in", "line 4: 3 fields for 6 columns\n", "line 5: column id takes no such int4\n",
			"line 8: refused by the server: column happened_at (SQLSTATE 23502)\n",
			"line 9: refused by the server: column id: constraint events_pkey (SQLSTATE 23505)\n",
			"line 11: refused by the server: column price: constraint events_price_check (SQLSTATE 23514)\n",
			"line 12: bare \" in non-quoted")
		if !regexp.MustCompile(`(?s)line 4:.*line 5:.*line 8:.*line 9:.*line 11:.*line 12:`).MatchString(stdout) {
			t.Errorf("not in order:\n%s", stdout)
		}
		mustContain(t, stderr, "6 of events.csv's lines were not loaded")
		got := query(t, dsn, "select id, price::text, ok, tags::text, note, extract(hour from happened_at at time zone 'utc')::int from events order by id")
		want := "1 9.99 true {a,\"b c\"} it's, \"quoted\" 10\n2 <nil> <nil> <nil> <nil> 0\n5 1.00 true <nil> two\nlines 0\n10 123456.78 false {} last 22"
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestSeedLoadsACSVFileIntoTheShop(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var lines strings.Builder
	lines.WriteString("name,email,city\n")
	for i := range 12_345 {
		fmt.Fprintf(&lines, "Ada %d,%d@example.com,Lyon\n", i, i)
	}
	stdout := mustSeed(t, dsn, "-csv", csvFile(t, "owners.csv", lines.String()), "-batch-size", "1000")
	mustContain(t, stdout, "rows    100 %  12,345 of 12,345", "12,345 rows into petshop.owners in", "13 batches")
	if got := query(t, dsn, "select count(*), min(name), max(id) from petshop.owners"); got != "12345 Ada 0 12345" {
		t.Error(got)
	}
}

func TestSeedReadsTimesAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	query(t, dsn, "create table times (id int, day date, at timestamptz, clock timestamp)")
	file := csvFile(t, "times.csv", "id,day,at,clock\n"+
		"1,2024-05-01T00:00:00Z,2024-05-01T12:30:00+02:00,2024-05-01 12:30\n"+
		"2,2024-05-01,2024-05-01,2024-05-01T12:30:00.25\n"+
		"4,yesterday,2024-05-01,2024-05-01\n"+
		"5,2024-02-30,2024-05-01,2024-05-01\n")
	code, stdout, _ := seed(t, dsn, "-csv", file)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, stdout, "line 4: column day takes no such date", "line 5: column day takes no such date", "2 rows into times")
	got := query(t, dsn, "select id, day::text, (at at time zone 'utc')::text, clock::text from times order by id")
	want := "1 2024-05-01 2024-05-01 10:30:00 2024-05-01 12:30:00\n2 2024-05-01 2024-05-01 00:00:00 2024-05-01 12:30:00.25"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSeedReportsOnlyTheFirstOfManyBadLines(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	query(t, dsn, "create table n (n int check (n > 0))")
	bad := strings.Repeat("x\n", 300) + strings.Repeat("-1\n", 1200) // unreadable, refused
	code, stdout, stderr := seed(t, dsn, "-csv", csvFile(t, "n.csv", "n\n"+bad+"1\n"), "-batch-size", "20")
	if code != exitFailed || strings.Count(stdout, "\nline ") != badShown {
		t.Errorf("exit code %d, output:\n%s", code, stdout)
	}
	mustContain(t, stdout, "line 2: column n takes no such int4", "… and 1,480 more lines", "1 rows into n in")
	mustContain(t, stderr, "1,500 of n.csv's lines were not loaded")
}

func TestSeedSaysWhatIsWrongWithAFile(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	query(t, dsn, "create table n (n int)")
	for _, test := range []struct {
		name, text, says string
	}{
		{"n.csv", "", "the first line must name the columns: the file is empty"},
		{"n.csv", "m\n1\n", `has no column "m"`},
		{"n.csv", "n,n\n1,1\n", `column "n" is named twice`},
		{"m.csv", "n\n1\n", `"m"`},
	} {
		code, stdout, stderr := seed(t, dsn, "-csv", csvFile(t, test.name, test.text))
		if code != exitFailed || !strings.Contains(stderr, test.says) {
			t.Errorf("%q: exit code %d, errors %q, output:\n%s", test.text, code, stderr, stdout)
		}
	}
	code, _, stderr := runFor(t.Context(), "seed", "-csv", filepath.Join(t.TempDir(), "none.csv"))
	if code != exitFailed || !strings.Contains(stderr, "none.csv") {
		t.Errorf("exit code %d, errors %q", code, stderr)
	}
}

func TestSeedExplainsItsCommandLine(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"n=0":                      "-n must be from 1 to 1000000000, not 0",
		"n=many":                   `invalid value "many" for flag -n`,
		"m=5":                      `unexpected argument "m=5"`,
		"5":                        `unexpected argument "5"`,
		"-batch-size 0":            "-batch-size must be from 1 to 1000000, not 0",
		"workers=1000":             "-workers must be from 1 to 90, not 1000",
		"-table cars":              `-table must be owners, pets or appointments, not "cars"; other tables need -csv`,
		"-csv x.csv -n 5":          "-n does not go with -csv",
		"-keep -dsn postgres://h/": "-keep does not go with -dsn",
	} {
		code, stdout, stderr := runFor(t.Context(), append([]string{"seed"}, strings.Fields(args)...)...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%q: exit code %d, output %q", args, code, stdout)
		}
		mustContain(t, stderr, "lifeguard seed: "+says, "Run 'lifeguard help seed'")
	}
	code, stdout, _ := runFor(t.Context(), "seed", "-h")
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, stdout, "Examples:", "-batch-size", "-csv", "thrown away", "(default 100000)")
	if code, _, stderr := runFor(t.Context(), "seed", "-dsn", "postgres://u:geheim@h/db?lifeguard_limit=x"); code != exitFailed || strings.Contains(stderr, "geheim") {
		t.Errorf("exit code %d, errors %q", code, stderr)
	}
}

func TestTheProgressIsABarOnATerminal(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"seed", "-dsn", dsn, "-n", "2000", "-batch-size", "100"},
		output{Writer: &stdout, errors: &stderr, terminal: true})
	if code != exitOK {
		t.Fatal(stderr.String())
	}
	mustContain(t, stdout.String(), "\rrows    [██", "░] ", "/s  ", " left\x1b[K", "100 %  2,000 of 2,000")
}

func TestLinesAreCountedAsTheyAre(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "a": 1, "a\n": 1, "a\nb": 2, "\n\n": 2, strings.Repeat("x\n", 1<<20) + "y": 1<<20 + 1} {
		if n, err := countLines(csvFile(t, "x", text)); err != nil || n != want {
			t.Errorf("%d bytes: %d lines, want %d, error %v", len(text), n, want, err)
		}
	}
	if _, err := countLines(t.TempDir()); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder: %v", err)
	}
}
