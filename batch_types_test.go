package lifeguard_test

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/copyenc"
)

// decimal is like the decimal types there are: a Valuer of text.
type decimal struct{ s string }

func (d decimal) Value() (driver.Value, error) { return d.s, nil }

// uuid is like the UUID types there are.
type uuid [16]byte

func (u uuid) Value() (driver.Value, error) { return nil, errors.New("slow: not to be called") }

// byPointer is a Valuer only as a pointer.
type byPointer struct{ n int64 }

func (p *byPointer) Value() (driver.Value, error) {
	if p == nil {
		return nil, nil
	}
	return p.n, nil
}

type mood string

type point2 struct {
	X int32
	Y string
}

func TestValuesArriveAsTheyWere(t *testing.T) {
	db := open(t)
	for _, query := range []string{
		"create extension if not exists hstore", "create extension if not exists citext", "create extension if not exists ltree",
		"create type mood as enum ('sad', 'happy')",
		"create type point2 as (x int, y text)",
		"create type span as range (subtype = float8)",
		"create domain positive as int check (value > 0)",
		"create domain moods as mood[]",
	} {
		mustExec(t, db, query)
	}
	when := time.Date(2026, 3, 1, 23, 30, 15, 123456789, time.FixedZone("", 3*3600))
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	var nobody *string
	for _, test := range []struct {
		typ  string
		v    any
		want string // as text; "" is NULL
	}{
		{"int2", int64(-32768), "-32768"},
		{"int4", 7, "7"},
		{"int8", uint64(math.MaxInt64), "9223372036854775807"},
		{"int4", int8(-3), "-3"},
		{"int8", "12", "12"},
		{"positive", 5, "5"},
		{"float4", float32(1.5), "1.5"},
		{"float8", 1e300, "1e+300"},
		{"float8", 3, "3"},
		{"float8", math.Inf(-1), "-Infinity"},
		{"bool", true, "true"},
		{"text", "Ü\\\t\n", "Ü\\\t\n"},
		{"text", []byte("bytes"), "bytes"},
		{"text", mood("x"), "x"},
		{"varchar(3)", "abc", "abc"},
		{"char(3)", "a", "a"},
		{"citext", "Case", "Case"},
		{"bytea", []byte{0, 255}, `\x00ff`},
		{"bytea", []byte(nil), ""},
		{"text", nobody, ""},
		{"text", nil, ""},
		{"text", new("x"), "x"},
		{"text", new(new("x")), "x"},
		{"timestamptz", when, "2026-03-01 20:30:15.123456+00"},
		{"timestamp", when, "2026-03-01 23:30:15.123456"},
		{"date", when, "2026-03-01"},
		{"date", "1999-12-31", "1999-12-31"},
		{"timestamptz", time.Time{}, "0001-01-01 00:00:00+00"},
		{"date", time.Date(-44, 3, 15, 0, 0, 0, 0, time.UTC), "0045-03-15 BC"},
		{"time", "12:34:56", "12:34:56"},
		{"interval", 90 * time.Minute, "01:30:00"},
		{"timestamptz", pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, "infinity"},
		{"uuid", uuid{1, 2, 15: 255}, "01020000-0000-0000-0000-0000000000ff"},
		{"uuid", "01020000-0000-0000-0000-0000000000FF", "01020000-0000-0000-0000-0000000000ff"},
		{"uuid", pgtype.UUID{Bytes: [16]byte{9}, Valid: true}, "09000000-0000-0000-0000-000000000000"},
		{"uuid", [16]byte{}, "00000000-0000-0000-0000-000000000000"},
		{"numeric", decimal{"-12.340"}, "-12.340"},
		{"numeric(10,2)", 1.005, "1.01"},
		{"numeric", 42, "42"},
		{"numeric", uint64(math.MaxUint64), "18446744073709551615"},
		{"numeric", huge, "-123456789012345678901234567890"},
		{"numeric", *huge, "-123456789012345678901234567890"},
		{"numeric", "1e-10", "0.0000000001"},
		{"numeric", pgtype.Numeric{Int: big.NewInt(12345), Exp: -2, Valid: true}, "123.45"},
		{"numeric", pgtype.Numeric{}, ""},
		{"numeric", float32(0.1), "0.1"},
		{"numeric", math.NaN(), "NaN"},
		{"json", `{"b": 1,  "a": 2}`, `{"b": 1,  "a": 2}`},
		{"jsonb", json.RawMessage(`{"b":1}`), `{"b": 1}`},
		{"jsonb", map[string]int{"a": 1}, `{"a": 1}`},
		{"jsonb", []byte("[1]"), "[1]"},
		{"mood", "happy", "happy"},
		{"mood", mood("sad"), "sad"},
		{"mood[]", []string{"sad", "happy"}, "{sad,happy}"},
		{"moods", []mood{"sad"}, "{sad}"},
		{"int4[]", []int32{1, 2}, "{1,2}"},
		{"int4[]", "{{1,2},{3,4}}", "{{1,2},{3,4}}"},
		{"text[]", []string(nil), ""},
		{"int8[]", []*int64{new(int64(1)), nil}, "{1,NULL}"},
		{"point2", point2{1, "a b"}, `(1,"a b")`},
		{"point2[]", []point2{{1, "a"}}, `{"(1,a)"}`},
		{"int4range", pgtype.Range[int32]{Lower: 1, Upper: 5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, "[1,5)"},
		{"span", pgtype.Range[float64]{Lower: 1, Upper: 2.5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, "[1,2.5)"},
		{"inet", netip.MustParseAddr("10.0.0.1"), "10.0.0.1/32"},
		{"hstore", map[string]*string{"a": new("b")}, `"a"=>"b"`},
		{"ltree", "a.b.c", "a.b.c"},
		{"int8", sql.NullInt64{Int64: 4, Valid: true}, "4"},
		{"int8", sql.NullInt64{}, ""},
		{"text", sql.Null[string]{V: "v", Valid: true}, "v"},
		{"timestamptz", sql.NullTime{}, ""},
		{"text", pgtype.Text{String: "t", Valid: true}, "t"},
		{"int4", pgtype.Int4{}, ""},
		{"int8", &byPointer{8}, "8"},
		{"int8", (*byPointer)(nil), ""},
		{"point", pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}, "(1,2)"},
		{"bit(3)", pgtype.Bits{Bytes: []byte{0xa0}, Len: 3, Valid: true}, "101"},
	} {
		for _, format := range []string{"binary", "text"} {
			mustExec(t, db, "set timezone to 'UTC'")
			mustExec(t, db, "drop table if exists v")
			columns := []string{"v", "pad"}
			mustExec(t, db, "create table v (v "+test.typ+", pad "+map[string]string{"binary": "text", "text": "aclitem"}[format]+")")
			b := newInserter[[]any](t, db, "v", lifeguard.BatchConfig{Columns: columns})
			if err := b.Add(t.Context(), []any{test.v, nil}); err != nil {
				cause := err
				for errors.Unwrap(cause) != nil {
					cause = errors.Unwrap(cause)
				}
				t.Errorf("%s, %T, %s: %v: %v", test.typ, test.v, format, err, cause)
				continue
			}
			if _, err := b.Close(t.Context()); err != nil {
				var rowErr *lifeguard.RowError
				errors.As(err, &rowErr)
				t.Errorf("%s, %T, %s: %v: %v", test.typ, test.v, format, err, rowErr)
				continue
			}
			got := one[sql.NullString](t, db, "select case when pg_typeof(v) = 'timestamptz'::regtype then (v::text::timestamptz at time zone 'UTC')::text || case when isfinite(v::text::timestamptz) then '+00' else '' end else v::text end from v")
			if got.String != test.want || got.Valid != (test.want != "") {
				t.Errorf("%s, %T, %s: %q, not %q", test.typ, test.v, format, got.String, test.want)
			}
		}
	}
}

func TestAValueThatTheColumnCannotTakeIsAddsError(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table v (a int2, b uuid, c numeric, d timestamptz, e int4)")
	b := newInserter[[]any](t, db, "v", lifeguard.BatchConfig{Columns: []string{"a", "b", "c", "d", "e"}})
	fits := []any{1, nil, nil, nil, nil}
	addAll(t, b, [][]any{fits})
	for _, test := range []struct {
		column int
		v      any
		want   error
	}{
		{0, 40_000, copyenc.ErrRange},
		{0, uint64(math.MaxUint64), copyenc.ErrRange},
		{1, "secret-but-no-uuid", copyenc.ErrSyntax},
		{2, "12x", copyenc.ErrSyntax},
		{2, "1e200000", copyenc.ErrRange},
		{3, time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), copyenc.ErrRange},
		{4, "secret", nil},
		{4, struct{}{}, nil},
		{4, int64(math.MinInt64), copyenc.ErrRange},
	} {
		row := []any{nil, nil, nil, nil, nil}
		row[test.column] = test.v
		err := b.Add(t.Context(), row)
		var columnErr *lifeguard.ColumnError
		if !errors.As(err, &columnErr) || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%T: %v", test.v, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the value: %v", err)
		}
	}
	if err := b.Add(t.Context(), []any{1}); err == nil {
		t.Error("a row of another length is accepted")
	}
	addAll(t, b, [][]any{fits}) // what failed has left no bytes
	if stats := closed(t, b); stats.Added != 2 || stats.Written != 2 {
		t.Errorf("%+v", stats)
	}
}
