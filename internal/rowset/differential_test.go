package rowset_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const schema = `
	create type mood as enum ('sad', 'happy');
	create type pair_of_things as (n int, t text);
	create type float_range as range (subtype = float8);
	create domain positive as int check (value > 0);
	create domain address as text check (value like '%@%');
	create function nothing() returns void language sql as '';
	create table things (id int primary key, t text, n numeric(12,4), at timestamptz, tags text[], doc jsonb);
	insert into things select i, 'thing ' || i, i * 1.5, '2024-01-01'::timestamptz + i * interval '1 hour', array['a', 'b' || i], jsonb_build_object('i', i) from generate_series(1, 20) i;
	create table nothing_here (a int, b text);
	create table written (a int, b text);
	create table no_columns ();
	insert into no_columns default values;
	insert into no_columns default values;`

// expressions are what every kind of value looks like on the server.
var expressions = []string{
	"true", "false", "null::bool",
	"1::int2", "(-32768)::int2", "null::int2", "2::int4", "2147483647", "null::int4", "3::int8", "(-9223372036854775808)::int8", "null::int8",
	"1.5::float4", "'NaN'::float4", "'-Infinity'::float4", "3.4e38::float4", "null::float4",
	"1e300::float8", "'NaN'::float8", "'Infinity'::float8", "'-Infinity'::float8", "'-0'::float8", "null::float8",
	"123.450::numeric", "123.45::numeric(10,3)", "'NaN'::numeric", "'Infinity'::numeric", "1e100::numeric", "1e-30::numeric", "0::numeric", "null::numeric",
	"'12.34'::money", "null::money",
	"'text'::text", "''::text", "'Grüße, 世界'::text", "repeat('x', 127)", "repeat('y', 128)", "repeat('long ', 10000)", "null::text",
	"'abc'::varchar", "'abc'::varchar(10)", "null::varchar(3)", "'abc'::char(5)", "'abc'::bpchar", `'c'::"char"`, `null::"char"`, "'name'::name",
	`'\x00ff10'::bytea`, `'\x'::bytea`, "null::bytea",
	"'2024-02-29'::date", "'infinity'::date", "'-infinity'::date", "'0044-03-15 BC'::date", "'5874897-12-31'::date", "'4713-01-01 BC'::date", "'0001-12-31 BC'::date", "null::date",
	"'13:14:15.123456'::time", "'24:00:00'::time", "null::time", "'13:14:15+02'::timetz",
	"'2024-02-29 13:14:15.123456'::timestamp", "'infinity'::timestamp", "'-infinity'::timestamp", "'0044-03-15 12:00 BC'::timestamp", "'1969-12-31 23:59:59.999999'::timestamp", "'294276-12-31 23:59:59'::timestamp", "null::timestamp",
	"'2024-02-29 13:14:15.123456+02'::timestamptz", "'infinity'::timestamptz", "'-infinity'::timestamptz", "'0044-03-15 12:00+00 BC'::timestamptz", "'1900-01-01 00:00+00:19:32'::timestamptz", "null::timestamptz",
	"'1 year 2 mons 3 days 04:05:06.7'::interval", "'-1 day'::interval", "null::interval",
	"'11111111-2222-3333-4444-555555555555'::uuid", "null::uuid",
	"'10.1.2.3/8'::inet", "'::1'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr", "'08:00:2b:01:02:03:04:05'::macaddr8", "null::inet",
	`'{"b": 1, "a": [null, "x"]}'::json`, `'{"b": 1, "a": [null, "x"]}'::jsonb`, "'null'::json", "'null'::jsonb", "null::json", "null::jsonb", `'$.a[*]'::jsonpath`,
	"'{1,2,null}'::int4[]", "'{}'::int8[]", "'{{1,2},{3,4}}'::int8[]", "'[2:3]={1,2}'::int4[]", `'{a,"b c",null}'::text[]`, "'{t,f}'::bool[]", "'{2024-01-01,infinity}'::date[]", "'{NaN,1.50}'::numeric[]", `array['\x00'::bytea]`, "null::text[]", "null::int4[]",
	"'[1,5)'::int4range", "'empty'::int8range", "'(,2024-01-01]'::daterange", "'[1.5,2.5]'::numrange", "null::tsrange", "'[1,2)'::float_range", "'{[1,2),[5,6)}'::int4multirange", "null::int4multirange",
	"row(1, 'x')::pair_of_things", "row(null, null)::pair_of_things", "null::pair_of_things", "array[row(1,'x')::pair_of_things]",
	"'sad'::mood", "null::mood", "'{sad,happy}'::mood[]", "7::positive", "null::positive", "'a@b'::address", "array[7::positive]",
	"B'1010'::bit(4)", "B'101'::varbit", "B'101'::varbit(8)", "null::varbit",
	"'<a>1</a>'::xml", "null::xml", "42::oid", "4294967295::oid", "null::oid", "'42'::xid", "null::xid", "'42'::cid", "'42'::xid8", "'(0,1)'::tid", "'pg_class'::regclass", "'int4'::regtype", "'0/16B3748'::pg_lsn", "pg_current_snapshot() is null",
	"'(1,2)'::point", "null::point", "'((0,0),(1,1))'::box", "'<(0,0),1>'::circle", "'{1,2,3}'::line", "'[(0,0),(1,1)]'::lseg", "'((0,0),(1,1))'::path", "'((0,0),(1,1),(2,0))'::polygon",
	"'fat cat'::tsvector", "'fat & rat'::tsquery", "'{1,2}'::int2vector", "'1 2'::oidvector",
	"row(1, 'two', null)", "row()", "nothing()", "null", "'unknown literal'", "1", "1.5", "current_setting('server_version_num')::int > 0",
}

// queries are results of every shape.
var queries = []string{
	"select * from things order by id",
	"select * from nothing_here", "select a, b as a from nothing_here", "select 1 where false",
	"select * from no_columns", "select", "select where false",
	`select 1 as "", 2 as "Grüße", 3 as "a""b", 4 as a, 5 as a`,
	"select i, nullif(i % 2, 0), repeat('x', i * 37), case when i % 3 = 0 then null else i::text end from generate_series(1, 300) i",
	"select null::int, null::text, null::bytea, null::timestamptz, null::numeric, null::int[], null from generate_series(1, 3)",
	"show server_version", "explain select 1", "values (1, 'x'), (2, null)", "table things",
	"select 'broken", "select 1 / 0", "select nothing_of_the_kind", "select 10 / (3 - i) from generate_series(1, 5) i",
	"insert into written select i, 'x' from generate_series(1, 3) i returning a, b", "delete from written", // by several at once
}

// wide is the widest result that there is.
func wide() string {
	columns := make([]string, 1664)
	for i := range columns {
		columns[i] = fmt.Sprintf("%d as c%d", i, i)
	}
	return "select " + strings.Join(columns, ", ") + " from generate_series(1, 2)"
}

// formats are asked for in the place of stdlib's: nothing, and each of the two for
// everything, which an application can do with an argument of its own.
var formats = map[string][]any{
	"stdlib": nil,
	"text":   {pgx.QueryResultFormatsByOID{}},
	"binary": {everythingBinary()},
}

func everythingBinary() pgx.QueryResultFormatsByOID {
	all := make(pgx.QueryResultFormatsByOID)
	for oid := range uint32(17_000) { // the types of the schema begin at 16384
		all[oid] = pgx.BinaryFormatCode
	}
	return all
}

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

func config(t testing.TB, dsn string) *pgx.ConnConfig {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func prepare(t testing.TB, cfg *pgx.ConnConfig) {
	t.Helper()
	if _, err := side(t, cfg, nil).ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
}

// What a replay makes of a value depends on its type, its format and its bytes alone, and
// not on how pgx got them. So every expression is tried in two modes that differ in the
// formats; the others have each fifth, in turns.
func TestAReplayIsWhatStdlibGives(t *testing.T) {
	t.Parallel()
	cfg := config(t, pgtest.DSN(t))
	prepare(t, cfg)
	var cases, undecodable atomic.Int64
	t.Run("modes", func(t *testing.T) {
		for i, mode := range modes {
			every := 5
			if mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeSimpleProtocol {
				every = 1
			}
			cfg := cfg.Copy()
			cfg.DefaultQueryExecMode = mode
			for format, args := range formats {
				if format == "binary" && mode == pgx.QueryExecModeSimpleProtocol {
					continue // it knows text only
				}
				t.Run(fmt.Sprintf("%s, %s formats", mode, format), func(t *testing.T) {
					t.Parallel()
					n, bad := compareReplays(t, cfg, queriesOf(i, every), args)
					cases.Add(n)
					undecodable.Add(bad)
				})
			}
		}
	})
	t.Logf("%d cases, and %d results that pgx cannot decode", cases.Load(), undecodable.Load())
	if cases.Load() < 5_000 || undecodable.Load() < 50 {
		t.Errorf("only %d cases ran, only %d results were undecodable", cases.Load(), undecodable.Load())
	}
}

// queriesOf has each so many-th query and expression, from the first-th on.
func queriesOf(first, every int) []string {
	all := append([]string{wide()}, queries...)
	for i, expression := range expressions {
		all = append(all, "select "+expression+" as v from generate_series(1, 3)")
		if i%2 == 0 { // one row, too
			all = append(all, "select "+expression+" as v")
		}
	}
	var chosen []string
	for i := first % every; i < len(all); i += every {
		chosen = append(chosen, all[i])
	}
	return chosen
}

// compareReplays has all ways to replay a result read beside stdlib.
func compareReplays(t *testing.T, cfg *pgx.ConnConfig, queries []string, args []any) (cases, undecodable int64) {
	t.Helper()
	var maps rowset.Maps
	plain := side(t, cfg, nil)
	ways := map[string]*sql.DB{
		"replay": side(t, cfg, replayed(&maps)), "ready": side(t, cfg, madeReady(&maps)),
		"reader": side(t, cfg, readOn(0)), "reader after two": side(t, cfg, readOn(2)),
	}
	for _, query := range queries {
		want := transcript(t.Context(), plain, query, args...)
		if strings.Contains(want, "cannot scan") {
			undecodable++
		}
		for way, db := range ways {
			cases++
			if got := transcript(t.Context(), db, query, args...); got != want {
				differ(t, fmt.Sprintf("%s: %.100s", way, query), want, got)
			}
		}
	}
	return cases, undecodable
}

func differ(t testing.TB, name, want, got string) {
	t.Helper()
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	at = max(0, at-80)
	t.Errorf("%s\nstdlib: …%.300s\nreplay: …%.300s", name, want[at:], got[at:])
}

// destinations are what is scanned into, one after the other. RawBytes is the last:
// database/sql allows no Scan after it.
var destinations = append([]func() any{
	func() any { return new(any) },
	func() any { return new(string) },
	func() any { return new([]byte) },
	func() any { return new(int64) },
	func() any { return new(int8) },
	func() any { return new(uint32) },
	func() any { return new(float64) },
	func() any { return new(bool) },
	func() any { return new(time.Time) },
	func() any { return new(sql.NullString) },
	func() any { return new(sql.Null[int16]) },
	func() any { return new(*int32) },
	func() any { return new(**time.Time) },
	func() any { return new(pgtype.Text) },
	func() any { return new(pgtype.Numeric) },
	func() any { return new(pgtype.Timestamptz) },
	func() any { return 5 },
	func() any { return nil },
	func() any { return (*int)(nil) },
}, directDestinations...)

// transcript reads everything that database/sql offers about a result.
func transcript(ctx context.Context, db *sql.DB, query string, args ...any) string {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return showError(err)
	}
	defer rows.Close()
	var b strings.Builder
	columns, err := rows.Columns()
	fmt.Fprintf(&b, "columns %q %s", columns, showError(err))
	types, err := rows.ColumnTypes()
	b.WriteString(showError(err))
	for _, ct := range types {
		length, hasLength := ct.Length()
		nullable, knowsNullable := ct.Nullable()
		precision, scale, isDecimal := ct.DecimalSize()
		fmt.Fprintf(&b, "[%s %s length %d,%t nullable %t,%t decimal %d,%d,%t scan %v]", ct.Name(), ct.DatabaseTypeName(),
			length, hasLength, nullable, knowsNullable, precision, scale, isDecimal, ct.ScanType())
	}
	for n := 0; rows.Next(); n++ {
		b.WriteString("\n  ")
		if n == 3 {
			continue // a row that nobody scans
		}
		few := destinations
		if n == 1 || n > 3 || len(columns) > 100 {
			few = destinations[:1]
		}
		hasNull := false
		for i, destination := range few {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = destination()
			}
			if i%2 == 1 && len(columns) > 1 { // not every column alike
				values[0] = new(any)
			}
			err := rows.Scan(values...)
			if i == 0 {
				hasNull = slices.ContainsFunc(values, func(v any) bool { p, ok := v.(*any); return ok && *p == nil })
			}
			if hasNull && pgxGuesses && i >= len(destinations)-len(directDestinations) {
				continue
			}
			fmt.Fprintf(&b, "(%T %s", destination(), showError(err))
			for _, v := range values {
				b.WriteString(show(v) + ",")
			}
		}
		if n == 1 {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(sql.RawBytes)
			}
			fmt.Fprintf(&b, "(raw %s", showError(rows.Scan(values...)))
			for _, v := range values {
				b.WriteString(show(v) + ",")
			}
		}
	}
	fmt.Fprintf(&b, "\n  next result %t %s %s", rows.NextResultSet(), showError(rows.Err()), showError(rows.Close()))
	return b.String()
}

// show prints a value with the types of everything in it; pointers are followed.
func show(v any) string {
	if v == nil {
		return "nil"
	}
	var b strings.Builder
	dump(&b, reflect.ValueOf(v))
	return b.String()
}

func dump(b *strings.Builder, v reflect.Value) {
	if v.CanInterface() {
		switch v := v.Interface().(type) {
		case time.Time:
			fmt.Fprintf(b, "time %s in %s", v.Format(time.RFC3339Nano), v.Location())
			return
		case big.Int, netip.Prefix:
			fmt.Fprintf(b, "%T %v", v, v)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			fmt.Fprintf(b, "nil %s", v.Type())
			return
		}
		b.WriteString("&")
		dump(b, v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			fmt.Fprintf(b, "nil %t ", v.IsNil())
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%s %q", v.Type(), v.Bytes())
			return
		}
		fmt.Fprintf(b, "%s{", v.Type())
		for i := range v.Len() {
			dump(b, v.Index(i))
			b.WriteString(",")
		}
		b.WriteString("}")
	case reflect.Struct:
		fmt.Fprintf(b, "%s{", v.Type())
		for i := range v.NumField() {
			dump(b, v.Field(i))
			b.WriteString(",")
		}
		b.WriteString("}")
	case reflect.Float32, reflect.Float64:
		fmt.Fprintf(b, "%s %x", v.Type(), math.Float64bits(v.Float()))
	case reflect.String:
		fmt.Fprintf(b, "%s %q", v.Type(), v.String())
	default:
		fmt.Fprintf(b, "%s %v", v.Type(), v)
	}
}

func showError(err error) string {
	if err == nil {
		return "ok;"
	}
	out := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		out += fmt.Sprintf(" %T", e)
	}
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) {
		out += fmt.Sprintf(" %+v", *pgErr)
	}
	return out + ";"
}
