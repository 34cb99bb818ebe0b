package sqltext

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/needs"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A judge is a server with pg_stat_statements, which groups statements by a hash of
// their parse trees and replaces the constants that its own lexer finds in their texts.
type judge struct {
	conn *pgconn.PgConn
}

const judgeTables = `
create extension pg_stat_statements;
create table customers (id int primary key, name text, city text, tags text[], doc jsonb, at timestamptz, note text);
create table orders (id int primary key, customer_id int, status text, total numeric(12,2), at timestamptz, bits bit(4), raw bytea);
create table "Odd Names" (id int, "Total ""net""" int, "select" text);
create function twice(n int) returns int language sql immutable as 'select $1 * 2';`

func newJudge(t *testing.T) judge {
	t.Helper()
	shared, err := pgconn.Connect(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shared.Close(context.Background()) }()
	if rows := simple(t, shared, "select 1 from pg_available_extensions where name = 'pg_stat_statements'"); len(rows) == 0 {
		needs.Lacking(t, "this PostgreSQL has no pg_stat_statements; Debian's package postgresql-… has it, Red Hat's is postgresql…-contrib")
	}

	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{
		"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "top", "pg_stat_statements.track_utility": "on",
	}})
	conn, err := pgconn.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	simple(t, conn, judgeTables)
	return judge{conn}
}

// simple runs a text by the simple protocol and returns the rows of its last statement.
func simple(t *testing.T, conn *pgconn.PgConn, sql string) [][][]byte {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return results[len(results)-1].Rows
}

// errNotCounted is of DEALLOCATE and its like.
var errNotCounted = errors.New("the server has not counted it")

// hear runs a statement and returns the server's name for its group, its text without
// constants, and the command that was executed. An error is the statement's.
func (j judge) hear(t *testing.T, sql string) (group, text, command string, err error) {
	t.Helper()
	simple(t, j.conn, "begin")
	defer simple(t, j.conn, "rollback")
	simple(t, j.conn, "select pg_stat_statements_reset()")
	results, err := j.conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		return "", "", "", err
	}
	if len(results) != 1 {
		t.Fatalf("%d statements ran\n%s", len(results), sql)
	}
	rows := simple(t, j.conn, "select queryid, query from pg_stat_statements where query !~ 'pg_stat_statements'")
	if len(rows) == 0 {
		return "", "", "", errNotCounted
	}
	if len(rows) > 1 {
		t.Fatalf("%d statements were counted, not 1\n%s", len(rows), sql)
	}
	return string(rows[0][0]), string(rows[0][1]), results[0].CommandTag.String(), nil
}

// templates are statements with holes: {i}, {s}, {n}, {f}, {b} and {x} take a literal
// that is an integer, a string, a number, a fraction, bits or bytes; ~ stands where there
// may be white space or a comment, and so may it stand for each blank. Letters outside
// of strings and quoted names may have either case.
var templates = []string{
	"select id from orders where id~=~{i}",
	"select id~,~status from orders where status~=~{s} and id~>~{i}",
	"select * from orders where total~>=~{n} order by total desc limit {i} offset {i}",
	"select~-~id from orders",
	"select id~-~{i} from orders",
	"select id~+~{i}~*~twice(~id~) from orders",
	"select count(~*~)~,~max(~total~) from orders group by status having count(~*~)~>~{i}",
	"select o.id~,~c.name from orders o join customers c on c.id~=~o.customer_id where c.city~=~{s}",
	"select o.id from orders o left join customers c on c.id~=~o.customer_id and c.name like {s} where c.id is null",
	"with big as~(~select * from orders where total~>~{n}~)~select count(~*~) from big",
	"with gone as~(~delete from orders where id~=~{i} returning id~)~select * from gone",
	"insert into orders(~id~,~status~,~total~) values(~{i}~,~{s}~,~{n}~)",
	"insert into orders(id) select id~+~{i} from orders where status~=~{s}",
	"insert into orders(id) values(~{i}~) on conflict(id) do update set status~=~{s}",
	"update orders set status~=~{s} where id~=~{i}",
	"update orders o set status~=~c.city from customers c where c.id~=~o.customer_id and c.name~<>~{s}",
	"delete from orders where at~<~now()~-~{v}::interval and id~=~{i}",
	"update orders set total=-{n} where id<-{i} or id>=~-~{i} or total*-{n}~>~{i}",
	"delete from orders where status is null or total is not null",
	"select case when id~>~{i} then {s} else {s} end from orders",
	"select doc~->~{s} from customers",
	"select doc~->>~{s} from customers",
	"select doc~->~{s}~->>~{i} from customers",
	"select doc~@>~{j}::jsonb from customers where doc~?~{s} and {s}~=~{s}",
	"select tags[~{i}~] from customers",
	"select {s}~=~any(~tags~) from customers",
	"select id from orders where id between {i} and {i}",
	"select id from orders where exists(~select from customers where name~=~{s}~)",
	"select row_number() over(~partition by status order by total~) from orders",
	"select {f}::float8~,~{n}::numeric(10,2)~,~{i}::int",
	"select cast(~{s} as text)~||~name from customers",
	"select {b}::bit(4)~&~bits from orders",
	"select {x}~||~raw from orders",
	"select \"Total \"\"net\"\"\"~,~\"select\" from \"Odd Names\" where id~=~{i}",
	"select coalesce(~name~,~{s}~,~{s}~) from customers",
	"select id from orders where(~id~,~customer_id~)~=~(~{i}~,~{i}~)",
	"select * from generate_series(~{i}~,~{i}~) g where g~%~{i}~=~{i}",
	"values(~{i}~,~{s}~)",
	"select date_part(~{y}~,~at~) from orders where at~>~timestamp {t}",
	"select id from orders where total~/~{i}~>~{n} and not(~status~=~{s}~or status~=~{s}~)",
	"select id from orders union all select id from customers where id~=~{i}",
	"select id from orders where status similar to {s} for update",
	"select id from orders where id~=~{i} for share",
}

// fill makes one of the texts that a template stands for.
func fill(template string, random *rand.Rand) string {
	literals := map[byte][]string{
		'i': {"1", "2", "3", "007", "1234"},
		's': {"'x'", "'it''s; -- no comment'", "'/* none'", `'back\slash'`, `E'it\'s'`, `e'\\'`, "$$x$$", "$q$a 'b' $$ $q$", `U&'d\0061ta'`, "'two' \n 'lines'", "'1' -- '\n'2'", "''"},
		'n': {"1.5", ".5", "5.", "1e1", "1.5e-3", "2E+2"},
		'f': {"1e5", "1.25", ".1e-1"},
		'b': {"B'0101'", "b'1111'", "B'01'\n'01'"},
		'x': {`'\x01'::bytea`, `E'\\x0102'::bytea`, `$$\x$$::bytea`},
		'v': {"'1 day'", "E'2 \\x68ours'", "$$1 min$$"},
		'j': {"'{}'", `'{"a": [1]}'`, `E'["\\\\n"]'`, "$$[1]$$"},
		'y': {"'year'", "$$month$$", `E'd\x61y'`},
		't': {"'2026-01-01'", "'2025-12-31 10:00'", "$$2024-02-29$$"},
	}
	blanks := []string{" ", "  ", "\t", "\n", "\r\n", " /* c */ ", "/* a ' /* nested; */ \" */", " -- it's\n", "/**/"}
	var b strings.Builder
	quoted := false
	upper := random.IntN(2) == 0
	for i := 0; i < len(template); i++ {
		c := template[i]
		switch {
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case quoted:
			b.WriteByte(c)
		case c == ' ' || c == '~' && random.IntN(3) == 0:
			b.WriteString(blanks[random.IntN(len(blanks))])
		case c == '~':
			// A sign must not meet another operator, nor a comment's beginning.
			if strings.ContainsAny(template[max(i-1, 0):i]+template[i+1:i+2], "-+*/<>=@|&%") {
				b.WriteByte(' ')
			}
		case c == '{':
			choice := literals[template[i+1]]
			b.WriteString(choice[random.IntN(len(choice))])
			i += 2
		case upper:
			b.WriteString(strings.ToUpper(string(c)))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func TestTheServerGroupsStatementsAsFingerprintsDo(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	random := rand.New(rand.NewPCG(7, 8))
	variants := 12
	if testing.Short() {
		variants = 3
	}
	groupOf := map[uint64]string{}       // by fingerprint
	fingerprintOf := map[string]uint64{} // by group
	exampleOf := map[string]string{}
	for _, template := range templates {
		for range variants {
			sql := fill(template, random)
			group, text, command, err := j.hear(t, sql)
			if err != nil {
				t.Fatalf("%v\n%s", err, sql)
			}
			st := Analyze(sql)
			if theirs := Analyze(text); theirs.Normalized != st.Normalized {
				t.Errorf("the server leaves %q\nof  %q\nwhich is %q here, and\n%q", text, sql, st.Normalized, theirs.Normalized)
			}
			if op := strings.ToLower(command[:strings.IndexByte(command, ' ')]); op != st.Kind.Op().String() {
				t.Errorf("the server did a %s, Op is %v: %s", command, st.Kind.Op(), sql)
			}
			if st.Statements != 1 || st.Flags.Has(Malformed) {
				t.Errorf("%d statements, flags %b: %s", st.Statements, st.Flags, sql)
			}
			if other, known := groupOf[st.Fingerprint]; known && other != group {
				t.Errorf("one fingerprint, two groups:\n%s\n%s", sql, exampleOf[other])
			}
			if other, known := fingerprintOf[group]; known && other != st.Fingerprint {
				t.Errorf("one group, two fingerprints:\n%s\n%s", sql, exampleOf[group])
			}
			groupOf[st.Fingerprint], fingerprintOf[group], exampleOf[group] = group, st.Fingerprint, sql
		}
	}
	if len(groupOf) != len(templates) {
		t.Errorf("%d templates became %d groups", len(templates), len(groupOf))
	}
}

// Where the two differ on purpose, and why.
func TestFingerprintsDifferFromTheServersGroupsWhereTheyShould(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	version, err := strconv.Atoi(string(simple(t, j.conn, "show server_version_num")[0][0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range []struct {
		a, b         string
		theirs, ours bool // do they belong together?
		why          string
		untilVersion int // the server's answer is from; 0: all
	}{
		{a: "select id from orders where id in (1, 2)", b: "select id from orders where id in (1, 2, 3)", ours: true, why: "lists are of any length (to PostgreSQL 18 too)", untilVersion: 17},
		{a: "insert into orders (id) values (1), (2)", b: "insert into orders (id) values (3)", ours: true, why: "so are rows of VALUES"},
		{a: "select id from orders where id = -1", b: "select id from orders where id = 1", theirs: true, ours: true, why: "a sign belongs to its literal"},
		{a: "select -1.5::float8", b: "select 1.5::float8", ours: true, why: "also where the grammar says otherwise"},
		{a: "select extract(year from at) from orders", b: "select extract(month from at) from orders", theirs: true, why: "fields are words"},
		{a: "select id from orders where status = null", b: "select id from orders where status = 'x'", theirs: true, why: "NULL is a keyword outside of lists"},
		{a: "select id from orders", b: `select "id" from orders`, theirs: true, why: "quoted names stay as they are"},
		{a: "select id from orders", b: "select orders.id from orders", theirs: true, why: "names are not resolved"},
		{a: "select id from orders", b: "select id from public.orders", theirs: true, why: "names are not resolved"},
		{a: "select id from orders where id <> 1", b: "select id from orders where id != 1", theirs: true, why: "operators are not resolved"},
		{a: "select id as x from orders", b: "select id x from orders", theirs: true, why: "no word is dropped"},
		{a: "select cast(id as text) from orders", b: "select id::text from orders", theirs: true, why: "nothing is rewritten"},
		{a: "select id from orders where id = 1", b: "select id from orders where (id = 1)", theirs: true, why: "brackets stay"},
		{a: "set work_mem = '4MB'", b: "set work_mem = '8MB'", ours: true, why: "utility statements have literals too (to PostgreSQL 18 as well)", untilVersion: 17},
	} {
		groupA, _, _, errA := j.hear(t, pair.a)
		groupB, _, _, errB := j.hear(t, pair.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := Analyze(pair.a).Fingerprint == Analyze(pair.b).Fingerprint; got != pair.ours {
			t.Errorf("%s: fingerprints are equal: %t\n%s\n%s", pair.why, got, pair.a, pair.b)
		}
		if got := groupA == groupB; got != pair.theirs && (pair.untilVersion == 0 || version/10000 <= pair.untilVersion) {
			t.Errorf("%s: the server's groups are equal: %t\n%s\n%s", pair.why, got, pair.a, pair.b)
		}
	}
}

// Of the corpus, what the server can execute without its tables.
func TestTheServersTextsOfTheCorpusHaveTheSameNormalForm(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	// To the server these are constants everywhere, here in lists only.
	words := regexp.MustCompile(`\b(true|false|null)\b`)
	ran := 0
	files := corpus(t)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		for _, sql := range files[file] {
			st := Analyze(sql)
			if st.Statements != 1 || st.Kind.Op().String() == "tx" || strings.HasPrefix(st.Summary, "SET") {
				continue // to PostgreSQL 18 any value of SET is a constant, also a word
			}
			_, text, _, err := j.hear(t, sql)
			if err != nil {
				continue
			}
			ran++
			ours, theirs := words.ReplaceAllString(st.Normalized, "?"), words.ReplaceAllString(Analyze(text).Normalized, "?")
			if ours != theirs {
				t.Errorf("the server leaves %q\nof  %q\nwhich is %q here, and\n%q", text, sql, ours, theirs)
			}
		}
	}
	t.Logf("%d statements ran", ran)
	if ran < 50 {
		t.Errorf("only %d statements ran", ran)
	}
}
