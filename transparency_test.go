package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

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

// A way is one of the ways that lead from a *sql.DB to the server.
type way struct {
	name       string
	everywhere bool // in every mode and with every argument; the others differ from these in their checkout only
	run        func(ctx context.Context, db *sql.DB, query string, args ...any) string
}

type rowQuerier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

var waysToQuery = []way{
	{"DB.Query", true, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		return queryTranscript(ctx, db, query, args)
	}},
	{"DB.QueryRow", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		var v any
		err := db.QueryRowContext(ctx, query, args...).Scan(&v)
		return show(v) + " " + showError(err)
	}},
	{"DB.Exec", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		return showResult(db.ExecContext(ctx, query, args...))
	}},
	{"DB.Prepare", true, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		st, err := db.PrepareContext(ctx, query)
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		return stmtTranscript(ctx, st, args) + showResult(st.ExecContext(ctx, args...)) + showError(st.Close())
	}},
	{"Tx", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return showError(err)
		}
		defer tx.Rollback()
		return queryTranscript(ctx, tx, query, args) + showResult(tx.ExecContext(ctx, query, args...)) + showError(tx.Commit())
	}},
	{"Conn", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return queryTranscript(ctx, conn, query, args) + showResult(conn.ExecContext(ctx, query, args...)) + showError(conn.Close())
	}},
	{"Tx.Stmt", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		st, err := db.PrepareContext(ctx, query)
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return showError(err)
		}
		defer tx.Rollback()
		bound := tx.StmtContext(ctx, st)
		defer bound.Close()
		return stmtTranscript(ctx, bound, args) + showError(tx.Rollback())
	}},
}

func queryTranscript(ctx context.Context, q rowQuerier, query string, args []any) string {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return showError(err)
	}
	return rowsTranscript(rows)
}

func stmtTranscript(ctx context.Context, st *sql.Stmt, args []any) string {
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return showError(err)
	}
	return rowsTranscript(rows)
}

// destinations are what a value is read into. That a megabyte is no number says database/sql,
// in an error that quotes it: those are for short ones.
var destinations = []struct {
	into  func() any
	short bool
}{
	{into: func() any { return new(any) }},
	{into: func() any { return new(string) }},
	{into: func() any { return new([]byte) }},
	{into: func() any { return new(int64) }, short: true},
	{into: func() any { return new(float64) }, short: true},
	{into: func() any { return new(bool) }, short: true},
	{into: func() any { return new(time.Time) }, short: true},
	{into: func() any { return new(sql.NullString) }},
	{into: func() any { return new(*int32) }, short: true},
	{into: func() any { return new([]int64) }, short: true},
	{into: func() any { return new(pgtype.Text) }},
	{into: func() any { return new(sql.RawBytes) }}, // the last: database/sql allows no Scan after it
}

// rowsTranscript reads everything that database/sql offers about a result.
func rowsTranscript(rows *sql.Rows) string {
	defer rows.Close()
	var b strings.Builder
	columns, err := rows.Columns()
	fmt.Fprintf(&b, "columns %q %s", columns, showError(err))
	types, err := rows.ColumnTypes()
	fmt.Fprint(&b, showError(err))
	for _, ct := range types {
		length, hasLength := ct.Length()
		nullable, knowsNullable := ct.Nullable()
		precision, scale, isDecimal := ct.DecimalSize()
		fmt.Fprintf(&b, "[%s %s length %d,%t nullable %t,%t decimal %d,%d,%t scan %v]", ct.Name(), ct.DatabaseTypeName(),
			length, hasLength, nullable, knowsNullable, precision, scale, isDecimal, ct.ScanType())
	}
	for n := 0; rows.Next(); n++ {
		b.WriteString("\n  ")
		if n >= 3 || len(columns) > 100 { // enough of every destination
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			fmt.Fprint(&b, showError(rows.Scan(values...)))
			for _, v := range values {
				fmt.Fprintf(&b, "(%s)", show(v))
			}
			continue
		}
		long := false
		for _, d := range destinations {
			if long && d.short {
				continue
			}
			values := make([]any, len(columns))
			for i := range values {
				values[i] = d.into()
			}
			err := rows.Scan(values...)
			if err != nil {
				fmt.Fprintf(&b, "(%T: %s)", d.into(), showError(err))
				continue
			}
			for _, v := range values {
				if s, ok := v.(*string); ok && len(*s) > 100_000 {
					long = true
				}
				fmt.Fprintf(&b, "(%s)", show(v))
			}
		}
	}
	fmt.Fprintf(&b, "\n  next result %t %s %s", rows.NextResultSet(), showError(rows.Err()), showError(rows.Close()))
	return b.String()
}

func showResult(result sql.Result, err error) string {
	if err != nil {
		return showError(err)
	}
	n, err := result.RowsAffected()
	_, noID := result.LastInsertId()
	return fmt.Sprintf("{%d rows %s id %s}", n, showError(err), showError(noID))
}

// brief stands for a long text by its length and checksum.
func brief[T string | []byte](text T) string {
	if len(text) > 500 {
		return fmt.Sprintf("%d bytes, %x", len(text), crc32.ChecksumIEEE([]byte(text)))
	}
	return strconv.Quote(string(text))
}

// show prints a value with its Go type; a pointer is followed.
func show(v any) string {
	switch v := v.(type) {
	case *any:
		return show(*v)
	case *[]byte:
		return fmt.Sprintf("[]byte %t %s", *v == nil, brief(*v))
	case []byte:
		return fmt.Sprintf("[]byte %t %s", v == nil, brief(v))
	case *sql.RawBytes:
		return "RawBytes " + brief([]byte(*v))
	case **int32:
		if *v == nil {
			return "*int32 nil"
		}
		return fmt.Sprintf("*int32 %d", **v)
	case *time.Time:
		return show(*v)
	case time.Time:
		return fmt.Sprintf("time %s in %s", v.Format(time.RFC3339Nano), v.Location())
	case float64:
		return fmt.Sprintf("float64 %x", math.Float64bits(v))
	case *float64:
		return show(*v)
	case *string:
		return "string " + brief(*v)
	case string:
		return "string " + brief(v)
	case *sql.NullString:
		return fmt.Sprintf("NullString %t %s", v.Valid, brief(v.String))
	case *pgtype.Text:
		return fmt.Sprintf("Text %t %s", v.Valid, brief(v.String))
	case *bool:
		return fmt.Sprintf("bool %t", *v)
	case *int64:
		return fmt.Sprintf("int64 %d", *v)
	}
	return fmt.Sprintf("%T %v", v, v)
}

// showError prints everything by which an application can tell errors apart.
func showError(err error) string {
	if err == nil {
		return "ok;"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "error %s is", brief(err.Error()))
	for _, target := range []error{
		driver.ErrBadConn, sql.ErrTxDone, sql.ErrConnDone, sql.ErrNoRows, context.Canceled, context.DeadlineExceeded,
		pgx.ErrTxCommitRollback, pgx.ErrTxClosed, io.EOF,
	} {
		if errors.Is(err, target) {
			fmt.Fprintf(&b, "<%v>", target)
		}
	}
	fmt.Fprintf(&b, " timeout %t retry %t", pgconn.Timeout(err), pgconn.SafeToRetry(err))
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&b, " %T", e)
	}
	if pgErr, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // GORM and golang-migrate assert like this
		fmt.Fprintf(&b, " bare %+v", *pgErr)
	}
	return b.String() + ";"
}

type argumentCase struct {
	query string
	args  []any
}

type structArgument struct {
	A int    `json:"a"`
	B string `json:"b"`
}

type namedInt int32

type namedString string

type centsValuer int

func (c centsValuer) Value() (driver.Value, error) {
	return fmt.Sprintf("%d.%02d", int(c)/100, int(c)%100), nil
}

type failingValuer struct{}

func (failingValuer) Value() (driver.Value, error) { return nil, errors.New("no value today") }

// argumentCases are the arguments that Go programs pass, as round trips.
func argumentCases() map[string]argumentCase {
	at := time.Date(2024, 2, 29, 13, 14, 15, 123456000, time.FixedZone("there", 2*3600))
	n, text := 42, "pointed at"
	var nilInt *int
	var nilTime *time.Time
	var nilValuer *centsValuer
	values := []struct {
		as    string
		value any
	}{
		{"int2", int8(-7)},
		{"int2", int16(300)},
		{"int2", 70000},
		{"int4", int32(5)},
		{"int4", 5},
		{"int8", int64(math.MinInt64)},
		{"int8", 9},
		{"int4", uint8(7)},
		{"int4", uint16(7)},
		{"int8", uint32(math.MaxUint32)},
		{"int8", uint64(7)},
		{"int8", uint64(math.MaxUint64)},
		{"int4", uint(3)},
		{"int4", namedInt(3)},
		{"text", namedString("named")},
		{"int4", "12"},
		{"int4", "not a number"},
		{"text", 12},
		{"float4", float32(1.5)},
		{"float8", 1.5},
		{"float8", math.NaN()},
		{"float8", math.Inf(-1)},
		{"float8", 3},
		{"numeric", 1.25},
		{"numeric", "123.456"},
		{"numeric", 7},
		{"numeric", pgtype.Numeric{Int: big.NewInt(12345), Exp: -2, Valid: true}},
		{"numeric", pgtype.Numeric{NaN: true, Valid: true}},
		{"money", "3.50"},
		{"text", "plain"},
		{"text", ""},
		{"text", "it's \\ \"quoted\" $1 世界"},
		{"text", []byte("bytes")},
		{"varchar", "v"},
		{`"char"`, "x"},
		{"name", "n"},
		{"bytea", []byte{0, 255, 16}},
		{"bytea", []byte{}},
		{"bytea", []byte(nil)},
		{"bytea", "as text"},
		{"text", "zero\x00byte"},
		{"bool", true},
		{"bool", false},
		{"bool", "t"},
		{"bool", 1},
		{"date", at},
		{"date", "2024-02-29"},
		{"timestamp", at},
		{"timestamptz", at},
		{"timestamptz", at.UTC()},
		{"timestamptz", time.Time{}},
		{"timestamptz", "2024-02-29 13:00+02"},
		{"date", pgtype.Date{InfinityModifier: pgtype.Infinity, Valid: true}},
		{"timestamptz", pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}},
		{"time", pgtype.Time{Microseconds: 1234567, Valid: true}},
		{"time", "12:34:56"},
		{"interval", pgtype.Interval{Days: 3, Months: 1, Valid: true}},
		{"interval", 90 * time.Minute},
		{"interval", "1 day"},
		{"uuid", "11111111-2222-3333-4444-555555555555"},
		{"uuid", [16]byte{1, 2, 3}},
		{"uuid", pgtype.UUID{Bytes: [16]byte{9}, Valid: true}},
		{"inet", netip.MustParseAddr("10.1.2.3")},
		{"inet", netip.MustParsePrefix("10.0.0.0/8")},
		{"cidr", netip.MustParsePrefix("10.0.0.0/8")},
		{"inet", "::1"},
		{"json", structArgument{1, "x"}},
		{"jsonb", structArgument{1, "x"}},
		{"jsonb", &structArgument{2, "y"}},
		{"jsonb", map[string]any{"k": []int{1, 2}}},
		{"jsonb", []any{1, "a", nil}},
		{"jsonb", json.RawMessage(`{"raw": true}`)},
		{"json", json.RawMessage(`[1, 2]`)},
		{"jsonb", `"text"`},
		{"jsonb", []byte(`{"b": 1}`)},
		{"jsonb", "not json"},
		{"jsonb", nil},
		{"text", structArgument{1, "x"}},
		{"text[]", []string{"a", "b c", ""}},
		{"text[]", []string{}},
		{"text[]", []string(nil)},
		{"int8[]", []int64{1, 2, 3}},
		{"int4[]", []int32{1}},
		{"int4[]", [3]int{1, 2, 3}},
		{"int8[]", []int{7}},
		{"float8[]", []float64{1.5}},
		{"bool[]", []bool{true}},
		{"timestamptz[]", []time.Time{at}},
		{"text[]", []*string{&text, nil}},
		{"int4[]", [][]int32{{1, 2}, {3, 4}}},
		{"text[]", "{a,b}"},
		{"int4[]", []string{"1"}},
		{"int4", &n},
		{"text", &text},
		{"int4", nilInt},
		{"timestamptz", nilTime},
		{"numeric", nilValuer},
		{"text", nil},
		{"int4", nil},
		{"text", sql.NullString{String: "s", Valid: true}},
		{"text", sql.NullString{}},
		{"int8", sql.NullInt64{Int64: 8, Valid: true}},
		{"int4", sql.NullInt32{}},
		{"float8", sql.NullFloat64{Float64: 2.5, Valid: true}},
		{"bool", sql.NullBool{Bool: true, Valid: true}},
		{"timestamptz", sql.NullTime{Time: at, Valid: true}},
		{"int4", sql.Null[int32]{V: 4, Valid: true}},
		{"int4", sql.Null[int32]{}},
		{"int2", sql.NullInt16{Int16: 1, Valid: true}},
		{"numeric", centsValuer(1234)},
		{"text", centsValuer(5)},
		{"text", failingValuer{}},
		{"int4range", pgtype.Range[pgtype.Int4]{Lower: pgtype.Int4{Int32: 1, Valid: true}, Upper: pgtype.Int4{Int32: 5, Valid: true}, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}},
		{"int4range", "[1,3]"},
		{"point", pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}},
		{"int4", pgtype.Int4{Int32: 4, Valid: true}},
		{"int4", pgtype.Int4{}},
		{"text", pgtype.Text{String: "t", Valid: true}},
		{"bit(3)", pgtype.Bits{Bytes: []byte{0xa0}, Len: 3, Valid: true}},
		{"varbit", "101"},
		{"mood", "sad"},
		{"mood", "unheard of"},
		{"mood", namedString("happy")},
		{"positive", 3},
		{"positive", -3},
		{"pair_of_things", "(1,x)"},
		{"pair_of_things", structArgument{1, "x"}},
		{"oid", uint32(16)},
		{"oid", 16},
		{"xid", uint32(16)},
		{"xml", "<a/>"},
		{"tsvector", "fat cat"},
		{"pg_lsn", "0/1"},
		{"text", make(chan int)},
		{"text", func() {}},
		{"int4", complex(1, 2)},
		{"text", big.NewInt(5)},
		{"numeric", big.NewInt(5)},
		{"hstore_is_not_here", "x"},
		{"bytea", bytes.Repeat([]byte("x"), 1<<20)},
		{"text", strings.Repeat("y", 1<<20)},
	}
	cases := map[string]argumentCase{
		"two arguments":       {"select $1::int + $2::int", []any{1, 2}},
		"one used twice":      {"select $1::text || $1::text", []any{"x"}},
		"no type given":       {"select $1", []any{"x"}},
		"too few":             {"select $1::int, $2::int", []any{1}},
		"too many":            {"select $1::int", []any{1, 2}},
		"one for none":        {"select 1", []any{1}},
		"none for one":        {"select $1::int", nil},
		"any over ints":       {"select count(*) from things where id = any($1)", []any{[]int{1, 2, 30}}},
		"in, like":            {"select id from things where t like $1 order by id limit $2", []any{"thing 1%", 3}},
		"an insert":           {"insert into written values ($1, $2) on conflict (id) do update set t = excluded.t", []any{1, "one"}},
		"an insert returning": {"insert into written values ($1, $2) on conflict (id) do update set t = excluded.t returning id, t", []any{2, "two"}},
		"an update of many":   {"update things set doc = doc where id <= $1", []any{7}},
		"a delete of none":    {"delete from written where id = $1", []any{-1}},
		"named":               {"select @a::int + @b::int, @a::text", []any{pgx.NamedArgs{"a": 5, "b": 6}}},
		"strictly named":      {"select @a::int", []any{pgx.StrictNamedArgs{"a": 5, "b": 6}}},
		"sql.Named":           {"select $1::int", []any{sql.Named("a", 1)}},
		"text results":        {"select $1::int4, now() is not null", []any{pgx.QueryResultFormats{pgx.TextFormatCode, pgx.TextFormatCode}, 4}},
		"binary results":      {"select $1::int4", []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}, 4}},
		"results by type":     {"select $1::int4, 'x'::text", []any{pgx.QueryResultFormatsByOID{pgtype.Int4OID: pgx.TextFormatCode}, 4}},
		"an array or a list":  {"select * from unnest($1::int[], $2::text[]) as u(a, b)", []any{[]int{1, 2}, []string{"a", "b"}}},
		"a big batch":         {"select count(*), sum(x) from unnest($1::int8[]) x", []any{make([]int64, 10000)}},
	}
	for i, v := range values {
		cases[fmt.Sprintf("%03d %T as %s", i, v.value, v.as)] = argumentCase{"select $1::" + v.as, []any{v.value}}
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		for name, more := range map[string][]any{
			"int": {7}, "text": {"seven"}, "nil": {nil}, "ints": {[]int{1}}, "time": {at}, "formats and int": {pgx.QueryResultFormats{0}, 7}, "bytes": {[]byte("b")}, "valuer": {centsValuer(3)},
		} {
			as := map[string]string{"int": "int4", "formats and int": "int4", "ints": "int4[]", "time": "timestamptz", "bytes": "bytea", "valuer": "numeric"}[name]
			if as == "" {
				as = "text"
			}
			cases[fmt.Sprintf("leading %v, %s", mode, name)] = argumentCase{"select $1::" + as, append([]any{mode}, more...)}
		}
		cases[fmt.Sprintf("leading %v, named", mode)] = argumentCase{"select @x::int4", []any{mode, pgx.NamedArgs{"x": 1}}}
		cases[fmt.Sprintf("leading %v alone", mode)] = argumentCase{"select 1::int4", []any{mode}}
	}
	return cases
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

// Histories are more than one call; each is told as a transcript.
func TestTransparencyOfHistories(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	for _, mode := range execModes {
		t.Run(mode, func(t *testing.T) {
			s := openSides(t, dsn, "default_query_exec_mode="+mode)
			ctx := context.WithValue(t.Context(), lookout{}, observer(t, dsn))
			for name, history := range histories {
				s.same(t, name, func(db *sql.DB) string {
					if _, err := db.ExecContext(ctx, "delete from written"); err != nil {
						return showError(err)
					}
					return history(ctx, db)
				})
			}
		})
	}
}

var histories = map[string]func(context.Context, *sql.DB) string{
	"a transaction commits": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", 1)) + showError(tx.Commit()) + showError(tx.Commit()) + showError(tx.Rollback()) +
				showResult(tx.ExecContext(ctx, "select 1")) + queryTranscript(ctx, tx, "select 1", nil)
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a transaction rolls back": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", 1)) + showError(tx.Rollback()) + showError(tx.Rollback()) + showError(tx.Commit())
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a failed transaction commits": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values (1, 'x'), ($1, 'y')", 1)) + showResult(tx.ExecContext(ctx, "select 1")) +
				queryTranscript(ctx, tx, "select $1::int", []any{1}) + showError(tx.Commit()) + showError(tx.Rollback())
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a savepoint": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "savepoint s")) + showResult(tx.ExecContext(ctx, "select 1/0")) + showResult(tx.ExecContext(ctx, "rollback to s")) +
				queryTranscript(ctx, tx, "select 1", nil) + showError(tx.Commit())
		})
	},
	"isolation": func(ctx context.Context, db *sql.DB) string {
		var b strings.Builder
		for level := sql.LevelDefault; level <= sql.LevelLinearizable+1; level++ {
			for _, readOnly := range []bool{false, true} {
				b.WriteString(inTx(ctx, db, &sql.TxOptions{Isolation: level, ReadOnly: readOnly}, func(tx *sql.Tx) string {
					return queryTranscript(ctx, tx, "show transaction_isolation", nil) + queryTranscript(ctx, tx, "show transaction_read_only", nil) +
						showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", level)) + showError(tx.Commit())
				}))
			}
		}
		return b.String()
	},
	"a context ends before": func(ctx context.Context, db *sql.DB) string {
		done, cancel := context.WithCancel(ctx)
		cancel()
		_, prepareErr := db.PrepareContext(done, "select 1")
		_, connErr := db.Conn(done)
		return queryTranscript(done, db, "select 1", nil) + showResult(db.ExecContext(done, "select 1")) + inTx(done, db, nil, func(*sql.Tx) string { return "began" }) +
			showError(db.PingContext(done)) + showError(prepareErr) + showError(connErr)
	},
	"a deadline passes during": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return showResult(db.ExecContext(short, "select pg_sleep(5)")) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a deadline passes during a query": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return queryTranscript(short, db, "select pg_sleep(5), $1::int", []any{1}) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a cancellation arrives during": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.Canceled)
		defer stop()
		return showResult(db.ExecContext(short, "select pg_sleep($1)", 5)) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a context ends in a transaction's statement": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			short, stop := endingAsleep(ctx, context.DeadlineExceeded)
			defer stop()
			return showResult(tx.ExecContext(short, "select pg_sleep(5)")) + showResult(tx.ExecContext(ctx, "select 1")) + queryTranscript(ctx, tx, "select 1", nil) + showError(tx.Commit())
		})
	},
	"a context ends in a transaction's statement, rollback": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			short, stop := endingAsleep(ctx, context.DeadlineExceeded)
			defer stop()
			return showResult(tx.ExecContext(short, "select pg_sleep(5)")) + showError(tx.Rollback())
		})
	},
	"a context ends on a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return showResult(conn.ExecContext(short, "select pg_sleep(5)")) + showResult(conn.ExecContext(ctx, "select 1")) + showResult(conn.ExecContext(ctx, "select 1")) + showError(conn.Close())
	},
	"the server cancels": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "set local statement_timeout = 20")) + showResult(tx.ExecContext(ctx, "select pg_sleep(5)")) + showError(tx.Rollback())
		})
	},
	"the server ends the session": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return showResult(conn.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid())")) + showResult(conn.ExecContext(ctx, "select 1")) +
			showResult(conn.ExecContext(ctx, "select 1")) + showError(conn.Close()) + queryTranscript(ctx, db, "select 1", nil)
	},
	"the server ends the session in a transaction": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid())")) + showResult(tx.ExecContext(ctx, "select 1")) + showError(tx.Commit()) + showError(tx.Rollback())
		})
	},
	"the server ends the session under rows": func(ctx context.Context, db *sql.DB) string {
		rows, err := db.QueryContext(ctx, "select case when n = 3000 then pg_terminate_backend(pg_backend_pid()) end from generate_series(1, 1000000) n")
		if err != nil {
			return showError(err)
		}
		defer rows.Close()
		for rows.Next() {
			continue
		}
		return showError(rows.Err()) + showError(rows.Close()) + queryTranscript(ctx, db, "select 1", nil)
	},
	"rows are open in a transaction": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			rows, err := tx.QueryContext(ctx, "select generate_series(1, 3)")
			if err != nil {
				return showError(err)
			}
			defer rows.Close()
			rows.Next()
			busy := showResult(tx.ExecContext(ctx, "select 1")) + showResult(tx.ExecContext(ctx, "select $1::int", 1))
			_, prepareErr := tx.PrepareContext(ctx, "select 2")
			n := 1
			for rows.Next() {
				n++
			}
			return busy + fmt.Sprint(n, " rows ") + showError(prepareErr) + showError(rows.Err()) + showError(rows.Close()) + showResult(tx.ExecContext(ctx, "select 1")) + showError(tx.Commit())
		})
	},
	"a statement outlives": func(ctx context.Context, db *sql.DB) string {
		st, err := db.PrepareContext(ctx, "select $1::int")
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		first := stmtTranscript(ctx, st, []any{1}) + stmtTranscript(ctx, st, nil) + stmtTranscript(ctx, st, []any{1, 2}) + stmtTranscript(ctx, st, []any{"x"}) +
			stmtTranscript(ctx, st, []any{pgx.QueryExecModeSimpleProtocol, 1})
		_ = st.Close()
		return first + stmtTranscript(ctx, st, []any{1}) + showError(st.Close())
	},
	"preparing what cannot be": func(ctx context.Context, db *sql.DB) string {
		var b strings.Builder
		for _, query := range []string{"selec 1", "select nope", "select 1; select 2", "", "create table passing (n int); drop table passing", "select $1", "select $3::int"} {
			st, err := db.PrepareContext(ctx, query)
			b.WriteString(showError(err))
			if err == nil {
				b.WriteString(stmtTranscript(ctx, st, nil) + showError(st.Close()))
			}
		}
		return b.String()
	},
	"statements of a transaction end with it": func(ctx context.Context, db *sql.DB) string {
		var st *sql.Stmt
		told := inTx(ctx, db, nil, func(tx *sql.Tx) string {
			var err error
			if st, err = tx.PrepareContext(ctx, "select $1::int"); err != nil {
				return showError(err)
			}
			return stmtTranscript(ctx, st, []any{1}) + showError(tx.Commit()) + stmtTranscript(ctx, st, []any{1})
		})
		return told + showError(st.Close())
	},
	"a statement of a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		st, err := conn.PrepareContext(ctx, "select $1::text")
		if err != nil {
			return showError(err)
		}
		told := stmtTranscript(ctx, st, []any{"x"})
		return told + showError(st.Close()) + showError(conn.Close()) + stmtTranscript(ctx, st, []any{"x"}) + showError(conn.PingContext(ctx)) + showError(conn.Close())
	},
	"a temporary table in a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return showResult(conn.ExecContext(ctx, "create temp table scratch (n int)")) + showResult(conn.ExecContext(ctx, "insert into scratch values ($1)", 1)) +
			queryTranscript(ctx, conn, "select * from scratch", nil) + showResult(conn.ExecContext(ctx, "drop table scratch")) + showError(conn.Close())
	},
	"a transaction on a conn, then more": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			return showError(err)
		}
		return endNested(ctx, conn) + queryTranscript(ctx, tx, "show transaction_isolation", nil) + showError(tx.Commit()) + queryTranscript(ctx, conn, "show transaction_isolation", nil) + showError(conn.Close())
	},
	"a transaction begun by hand": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, "begin")
		told := showError(err) + showResult(conn.ExecContext(ctx, "insert into written values (5, 'x')"))
		return told + endNested(ctx, conn) + showError(conn.Close()) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"many statements in one exec": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "insert into written values (1, 'a'); insert into written values (2, 'b'), (3, 'c'); update written set t = 'z' where id > 1")) +
			showResult(db.ExecContext(ctx, "insert into written values (4, 'a'); insert into written values (1, 'twice')")) + queryTranscript(ctx, db, "select * from written order by id", nil)
	},
	"a query is closed early": func(ctx context.Context, db *sql.DB) string {
		rows, err := db.QueryContext(ctx, "select 1/(n - 50000) from generate_series(1, 100000) n")
		if err != nil {
			return showError(err)
		}
		rows.Next()
		return showError(rows.Close()) + showError(rows.Err()) + showError(rows.Close())
	},
	"a raised notice inside a function": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "create or replace function noisy() returns int language plpgsql as 'begin raise warning ''hm''; return 1; end'")) +
			queryTranscript(ctx, db, "select noisy()", nil)
	},
	"serialization fails": func(ctx context.Context, db *sql.DB) string {
		repeatable := &sql.TxOptions{Isolation: sql.LevelRepeatableRead}
		return showResult(db.ExecContext(ctx, "insert into written values (1, 'a')")) + inTx(ctx, db, repeatable, func(a *sql.Tx) string {
			return queryTranscript(ctx, a, "select t from written", nil) + showResult(db.ExecContext(ctx, "update written set t = 'b'")) +
				showResult(a.ExecContext(ctx, "update written set t = $1", "c")) + showError(a.Commit())
		})
	},
	"errors that name things": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "insert into things (id) values ($1)", 1)) + showResult(db.ExecContext(ctx, "insert into things (id, t) values ($1, $2)", nil, "x")) +
			queryTranscript(ctx, db, "select id from things where id = $1", []any{"not a number"})
	},
}

// lookout is the key of the connection that sees what the server does for a history.
type lookout struct{}

// endingAsleep returns a context that ends with err when the server executes pg_sleep.
// A timer could be faster than the statement on its way there, and that is another
// history.
func endingAsleep(ctx context.Context, err error) (asleep context.Context, stop func()) {
	out := ctx.Value(lookout{}).(*pgx.Conn) //nolint:errcheck // TestTransparencyOfHistories puts it there
	watching, cancel := context.WithCancel(ctx)
	await := func(sleepers int) error {
		for n := -1; n != sleepers; {
			const count = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
			if err := out.QueryRow(watching, count).Scan(&n); err != nil {
				return err // stopped
			}
		}
		return nil
	}
	e := &endingContext{Context: ctx, err: err, done: make(chan struct{})}
	if await(0) != nil { // an earlier history's is cancelled, but not yet gone
		return e, cancel
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if await(1) == nil {
			close(e.done)
		}
	}()
	return e, func() { cancel(); <-watched }
}

// endingContext has a deadline that passes when done is closed.
type endingContext struct {
	context.Context
	err  error
	done chan struct{}
}

func (e *endingContext) Done() <-chan struct{} { return e.done }

func (e *endingContext) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return e.Context.Err()
	}
}

// endNested begins a transaction inside a transaction, which PostgreSQL only warns of.
func endNested(ctx context.Context, conn *sql.Conn) string {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return showError(err)
	}
	return showError(tx.Rollback())
}

func inTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, do func(*sql.Tx) string) string {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return showError(err)
	}
	defer tx.Rollback()
	return do(tx)
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
