package lifeguard_test

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

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
