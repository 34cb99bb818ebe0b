package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// The tests of this file run the same calls through plain pgx/stdlib and through
// Lifeguard, on one database, and compare transcripts: values, Go types, column types,
// texts and identities of errors.

// sides are the two drivers on one database.
type sides struct{ plain, guard *sql.DB }

func openSides(t testing.TB, dsn string, settings ...string) sides {
	t.Helper()
	dsn = withSettings(dsn, settings...)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	return sides{plain: plain, guard: openDSN(t, dsn)}
}

// same runs do on both sides and reports a difference.
func (s sides) same(t testing.TB, name string, do func(*sql.DB) string) {
	t.Helper()
	want, got := do(s.plain), do(s.guard)
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	at = max(0, at-80)
	t.Errorf("%s\npgx:       …%.600s\nlifeguard: …%.600s", name, want[at:], got[at:])
}

// transparencyTypes is what every kind of value looks like on the server.
var transparencyTypes = []string{
	"true", "false", "null::bool",
	"1::int2", "(-32768)::int2", "2::int4", "3::int8", "(-9223372036854775808)::int8", "null::int8",
	"1.5::float4", "'NaN'::float4", "1e300::float8", "'NaN'::float8", "'Infinity'::float8", "'-Infinity'::float8", "null::float8",
	"123.450::numeric", "123.45::numeric(10,3)", "'NaN'::numeric", "1e100::numeric", "0::numeric", "null::numeric",
	"'12.34'::money", "null::money",
	"'text'::text", "''::text", "'Grüße, 世界'::text", "null::text",
	"'abc'::varchar", "'abc'::varchar(10)", "'abc'::char(5)", `'c'::"char"`, "'name'::name",
	`'\x00ff10'::bytea`, `'\x'::bytea`, "null::bytea",
	"'2024-02-29'::date", "'infinity'::date", "'-infinity'::date", "'0044-03-15 BC'::date", "'5874897-12-31'::date", "null::date",
	"'13:14:15.123456'::time", "'24:00:00'::time", "'13:14:15+02'::timetz",
	"'2024-02-29 13:14:15.123456'::timestamp", "'infinity'::timestamp", "'0044-03-15 12:00 BC'::timestamp", "null::timestamp",
	"'2024-02-29 13:14:15.123456+02'::timestamptz", "'-infinity'::timestamptz", "null::timestamptz",
	"'1 year 2 mons 3 days 04:05:06.7'::interval", "'-1 day'::interval", "null::interval",
	"'11111111-2222-3333-4444-555555555555'::uuid", "null::uuid",
	"'10.1.2.3/8'::inet", "'::1'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr", "'08:00:2b:01:02:03:04:05'::macaddr8", "null::inet",
	`'{"b": 1, "a": [null, "x"]}'::json`, `'{"b": 1, "a": [null, "x"]}'::jsonb`, "'null'::jsonb", "null::jsonb", `'$.a[*]'::jsonpath`,
	"'{1,2,null}'::int4[]", "'{}'::int8[]", "'{{1,2},{3,4}}'::int8[]", `'{a,"b c",null}'::text[]`, "'{t,f}'::bool[]", "'{2024-01-01}'::date[]", "null::text[]",
	"'[1,5)'::int4range", "'empty'::int8range", "'(,2024-01-01]'::daterange", "'[1.5,2.5]'::numrange", "null::tsrange", "'{[1,2),[5,6)}'::int4multirange",
	"row(1, 'x')::pair_of_things", "null::pair_of_things", "array[row(1,'x')::pair_of_things]",
	"'sad'::mood", "null::mood", "'{sad,happy}'::mood[]", "7::positive", "'a@b'::address",
	"B'1010'::bit(4)", "B'101'::varbit", "B'101'::varbit(8)",
	"'<a>1</a>'::xml", "42::oid", "'42'::xid", "'42'::cid", "'(0,1)'::tid", "'pg_class'::regclass", "'int4'::regtype", "'0/16B3748'::pg_lsn",
	"'(1,2)'::point", "'((0,0),(1,1))'::box", "'<(0,0),1>'::circle", "'{1,2,3}'::line", "'[(0,0),(1,1)]'::lseg", "'((0,0),(1,1))'::path", "'((0,0),(1,1),(2,0))'::polygon",
	"'fat cat'::tsvector", "'fat & rat'::tsquery", "'{1,2}'::int2vector", "'1 2'::oidvector",
	"row(1, 'two', null)", "row()", "nothing()", "null", "'unknown literal'", "1", "1.5", "current_setting('server_version_num')::int > 0",
}

const transparencySchema = `
	create type mood as enum ('sad', 'happy');
	create type pair_of_things as (n int, t text);
	create domain positive as int check (value > 0);
	create domain address as text check (value like '%@%');
	create function nothing() returns void language sql as '';
	create table things (id int primary key, t text, n numeric(12,4), at timestamptz, tags text[], doc jsonb);
	insert into things select i, 'thing ' || i, i * 1.5, '2024-01-01'::timestamptz + i * interval '1 hour', array['a', 'b' || i], jsonb_build_object('i', i) from generate_series(1, 20) i;
	create table written (id int unique, t text);`

var execModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

func TestTransparencyOfTypesInEveryModeAndWay(t *testing.T) {
	var cases atomic.Int64
	inEveryMode(t, func(t *testing.T, s sides, mode string) {
		t.Helper()
		for _, way := range waysToQuery {
			if !way.everywhere && mode != execModes[0] {
				continue
			}
			t.Run(way.name, func(t *testing.T) {
				for _, expression := range transparencyTypes {
					cases.Add(1)
					query := "select " + expression + " as v"
					s.same(t, query, func(db *sql.DB) string { return way.run(t.Context(), db, query) })
				}
				if !way.everywhere && way.name != "DB.Exec" {
					return
				}
				for name, c := range argumentCases() {
					cases.Add(1)
					s.same(t, name, func(db *sql.DB) string { return way.run(t.Context(), db, c.query, c.args...) })
				}
			})
		}
	})
	if cases.Load() < 500 && !t.Failed() {
		t.Errorf("only %d cases ran", cases.Load())
	}
	t.Logf("%d cases", cases.Load())
}

// inEveryMode runs do for each of pgx' modes at once, each on a database of its own.
func inEveryMode(t *testing.T, do func(t *testing.T, s sides, mode string)) {
	t.Helper()
	t.Run("modes", func(t *testing.T) {
		for _, mode := range execModes {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.DSN(t)
				prepareSchema(t, dsn)
				do(t, openSides(t, dsn, "default_query_exec_mode="+mode), mode)
			})
		}
	})
}

func prepareSchema(t testing.TB, dsn string) {
	t.Helper()
	if _, err := observer(t, dsn).Exec(t.Context(), transparencySchema); err != nil {
		t.Fatal(err)
	}
}

// resultShapes are queries whose results are of every shape, by name.
func resultShapes() map[string]string {
	wide := make([]string, 1600)
	for i := range wide {
		wide[i] = fmt.Sprintf("%d as c%d", i, i)
	}
	return map[string]string{
		"no column":                 "select",
		"no columns, rows":          "select from generate_series(1, 3)",
		"no rows":                   "select id, t from things where false",
		"equal names":               "select 1 as a, 2 as a, 'x' as a",
		"no names":                  "select 1, 'x', null",
		"odd names":                 `select 1 as "a ""b"" c", 2 as "Ü", 3 as "select"`,
		"1,600 columns":             "select " + strings.Join(wide, ", "),
		"1 MB values":               "select repeat('x', 1 << 20), convert_to(repeat('y', 1 << 20), 'utf8')",
		"a table":                   "select * from things order by id",
		"many rows":                 "select i, i::text, i::numeric(10,2) from generate_series(1, 500) i",
		"a typed table":             "select id::int2, t::varchar(20), t::char(9), n, n::numeric(5,1), tags::varchar(3)[] from things order by id limit 2",
		"show":                      "show server_encoding",
		"explain":                   "explain (costs off) select 1",
		"values":                    "values (1, 'a'), (2, null)",
		"table":                     "table written",
		"empty":                     "",
		"only a comment":            "-- nothing",
		"a semicolon":               "select 1;",
		"several":                   "select 1; select 2, 3",
		"several, one fails":        "select 1; select 1/0",
		"a notice":                  "do $$ begin raise notice 'heard?'; end $$",
		"a set":                     "set application_name = 'x'",
		"fails at the first row":    "select 1/0",
		"fails in the middle":       "select 1/(n-5) from generate_series(1, 10) n",
		"fails late":                "select 1/(n-4000) from generate_series(1, 5000) n",
		"syntax":                    "selec 1",
		"unknown column":            "select nope from things",
		"unknown table":             "select * from nope",
		"unknown function":          "select nope()",
		"raises":                    "do $$ begin raise exception 'told you' using errcode = 'P0042', detail = 'd', hint = 'h', table = 'things'; end $$",
		"void in a row":             "select nothing(), 1",
		"copy without an escape":    "copy things to stdout",
		"begin and commit in one":   "begin; insert into written values (77, 'x') on conflict do nothing; commit",
		"commit without begin":      "commit",
		"unique violation":          "insert into things (id) values (1)",
		"not null violation":        "insert into things (id) values (null)",
		"check violation":           "select (-1)::positive",
		"insert, several rows":      "insert into written select i, 'x' from generate_series(100, 120) i on conflict do nothing",
		"update returning":          "update things set t = t where id < 4 returning id, t",
		"delete":                    "delete from written",
		"truncate":                  "truncate written",
		"create and drop":           "create table passing (n int); drop table passing",
		"listen":                    "listen somewhere; unlisten somewhere",
		"invalid utf-8":             "select convert_from('\\xff'::bytea, 'utf8')",
		"parameters without values": "select $1::int",
	}
}

func TestTransparencyOfResultShapes(t *testing.T) {
	shapes := resultShapes()
	inEveryMode(t, func(t *testing.T, s sides, mode string) {
		t.Helper()
		for _, way := range waysToQuery {
			if !way.everywhere && mode != execModes[0] {
				continue
			}
			for name, query := range shapes {
				s.same(t, way.name+": "+name, func(db *sql.DB) string {
					mustExec(t, s.plain, "delete from written")
					return way.run(t.Context(), db, query)
				})
			}
		}
	})
}

func TestTransparencyWithoutOrWithSmallCaches(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	for _, settings := range [][]string{
		{"statement_cache_capacity=0"},
		{"statement_cache_capacity=0", "description_cache_capacity=0"},
		{"statement_cache_capacity=0", "default_query_exec_mode=cache_statement"},
		{"statement_cache_capacity=2"},
		{"description_cache_capacity=0", "default_query_exec_mode=cache_describe"},
		{"description_cache_capacity=2", "default_query_exec_mode=cache_describe"},
		{"statement_cache_capacity=nonsense2"},
		{"default_query_exec_mode=nonsense"},
	} {
		s := openSides(t, dsn, settings...)
		if strings.Contains(settings[0], "nonsense") { // the texts differ on purpose: no DSN in errors
			for _, db := range []*sql.DB{s.plain, s.guard} {
				var parse *pgconn.ParseConfigError
				if err := db.PingContext(t.Context()); !errors.As(err, &parse) {
					t.Errorf("%v: %v", settings, err)
				}
			}
			continue
		}
		for _, way := range waysToQuery {
			for i := range 5 {
				query := fmt.Sprintf("select $1::int + %d", i)
				s.same(t, fmt.Sprint(settings, way.name, i), func(db *sql.DB) string { return way.run(t.Context(), db, query, 1) })
			}
		}
	}
}

func TestUseAfterCloseIsReportedAsByPlainPgx(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openSides(t, dsn)
	s.same(t, "use after Close", func(db *sql.DB) string {
		st, err := db.PrepareContext(t.Context(), "select 1")
		if err != nil {
			return showError(err)
		}
		conn, err := db.Conn(t.Context())
		if err != nil {
			return showError(err)
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			return showError(err)
		}
		told := showError(db.Close()) + showError(db.Close())
		told += queryTranscript(t.Context(), db, "select 1", nil) + showResult(db.ExecContext(t.Context(), "select 1")) + showError(db.PingContext(t.Context()))
		told += stmtTranscript(t.Context(), st, nil) + showError(st.Close()) //nolint:sqlclosecheck // what Close says is compared
		told += queryTranscript(t.Context(), tx, "select 1", nil) + showError(tx.Commit())
		_, err = db.BeginTx(t.Context(), nil)
		return told + showError(err) + showError(conn.Close())
	})
}

func TestGarbageInADSNIsReportedByTheFirstUseOfBothDrivers(t *testing.T) {
	for _, dsn := range []string{"::::garbage", "postgres://%zz", "host=", "port=nan", "postgres://h:99999999/x", "sslmode=perhaps", "target_session_attrs=any-old-one", "service=nope_there_is_none", "host=a,b port=1,2,3", "connect_timeout=soon"} {
		db, err := sql.Open(lifeguard.DriverName, dsn)
		if err != nil {
			t.Errorf("%s: sql.Open says %v; pgx/stdlib leaves that to the first use", dsn, err)
			continue
		}
		plain, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var parse, plainParse *pgconn.ParseConfigError
		isParse, plainIsParse := errors.As(db.PingContext(ctx), &parse), errors.As(plain.PingContext(ctx), &plainParse)
		cancel()
		if isParse != plainIsParse {
			t.Errorf("%s: a ParseConfigError %t, with plain pgx %t", dsn, isParse, plainIsParse)
		}
		_ = db.Close()
		_ = plain.Close()
	}
}
