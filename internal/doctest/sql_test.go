package doctest

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// statement is what a page shows of SQL.
type statement struct{ page, text string }

// statements are the SQL blocks of a page and the statements in `…` of its sentences, in order.
// Fewer than four words are the name of a statement.
func statements(text string) (list []string) {
	prose, blocks := split(text)
	for _, b := range blocks {
		if b.language == "sql" {
			list = append(list, strings.Join(b.lines, "\n"))
		}
	}
	spans := regexp.MustCompile("(?i)`((?:alter|call|create|delete|drop|grant|insert|merge|revoke|select|update|vacuum)\\s[^`]+)`")
	for _, m := range spans.FindAllStringSubmatch(prose, -1) {
		if span := strings.Join(strings.Fields(m[1]), " "); strings.Count(span, " ") > 2 {
			list = append(list, span)
		}
	}
	return list
}

// part is a statement that is not executed as it stands: what is executed in its place, and why.
type part struct{ with, why string }

// parts have names, lists or arguments left out.
func parts() map[statement]part {
	return map[statement]part{
		{"docs/batch.md", "INSERT … SELECT unnest($1), unnest($2)… ON CONFLICT (id) DO UPDATE"}: {
			with: "create temp table pets (id int primary key, name text); insert into pets select unnest('{1}'::int[]), unnest('{Rex}'::text[]) on conflict (id) do update set name = excluded.name",
			why:  "the shape of what BatchInserter sends",
		},
		{"docs/performance.md", "INSERT … SELECT … FROM unnest($1::bigint[], …)"}: {
			with: "create temp table numbers (n bigint, m bigint); insert into numbers select * from unnest('{1}'::bigint[], '{2}'::bigint[])",
			why:  "the shape of what a contestant sends",
		},
		{"docs/performance.md", "select sum(i) from generate_series(1, $1) i"}: {
			with: "select sum(i) from generate_series(1, 10) i", why: "an argument",
		},
	}
}

// TestEveryStatementOfThePagesRuns executes the SQL of each page in a database of the page's own.
func TestEveryStatementOfThePagesRuns(t *testing.T) {
	t.Parallel()
	table, used, seen := parts(), map[statement]bool{}, 0
	for page, text := range pages(t) {
		list := statements(text)
		if len(list) == 0 {
			continue
		}
		conn, err := pgx.Connect(t.Context(), pgtest.DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		for _, sql := range list {
			key, executed := statement{page, sql}, sql
			if p, ok := table[key]; ok {
				used[key], executed = true, p.with
			}
			seen++
			if _, err := conn.Exec(t.Context(), executed, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Errorf("%s: %s: %v", page, sql, err)
			}
		}
	}
	for key := range maps.Keys(table) {
		if !used[key] {
			t.Errorf("%s does not show %q any more", key.page, key.text)
		}
	}
	if seen < 5 {
		t.Errorf("only %d statements were found", seen)
	}
}

// TestTheEventTriggerOfThePageAnnounces installs it as the page shows it: a DDL statement puts a
// message into the log, and one of a temporary table does not.
func TestTheEventTriggerOfThePageAnnounces(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	conn, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	install := slices.IndexFunc(statements(pages(t)["docs/cache-cdc.md"]), func(s string) bool { return strings.Contains(s, "EVENT TRIGGER") })
	if install < 0 {
		t.Fatal("docs/cache-cdc.md shows no event trigger")
	}
	announced := func(ddl string) (n int) {
		t.Helper()
		for _, sql := range []string{"select pg_create_logical_replication_slot('pages', 'test_decoding', true)", ddl} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		const count = "select count(*) from pg_logical_slot_get_changes('pages', null, null) where data like '%lifeguard%'"
		if err := conn.QueryRow(t.Context(), count).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "select pg_drop_replication_slot('pages')"); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := conn.Exec(t.Context(), statements(pages(t)["docs/cache-cdc.md"])[install]); err != nil {
		t.Fatal(err)
	}
	if n := announced("create table pets (id int primary key)"); n == 0 {
		t.Error("CREATE TABLE is not announced")
	}
	if n := announced("create temp table notes (n int)"); n != 0 {
		t.Errorf("CREATE TEMP TABLE is announced %d times", n)
	}
}
