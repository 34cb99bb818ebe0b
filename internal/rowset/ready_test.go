package rowset_test

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// What is made once is what each replay makes, and stays so when everything else is gone.
// Texts are of all sizes, so that the pieces they share begin and end everywhere.
func TestReadyValuesAreThoseOfAReplay(t *testing.T) {
	t.Parallel()
	var fields []pgconn.FieldDescription
	for _, oid := range []uint32{pgtype.Int8OID, pgtype.TextOID, pgtype.Float8OID, pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.BoolOID, pgtype.Int2OID, pgtype.TextOID, pgtype.ByteaOID, pgtype.DateOID} {
		f := pgconn.FieldDescription{Name: "c", DataTypeOID: oid, TypeModifier: -1, Format: pgtype.BinaryFormatCode}
		if oid == pgtype.TextOID {
			f.Format = pgtype.TextFormatCode
		}
		fields = append(fields, f)
	}
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	row := func(i int) [][]byte {
		r := [][]byte{
			number(int64(i) << 33), []byte(strings.Repeat("x", i*i%3000)), number(int64(math.Float64bits(float64(i) / 3))),
			number(int64(i) * 86_400_000_001), number(int64(-i) * 86_400_000_001),
			{byte(i % 2)},
			{byte(i), 1},
			fmt.Append(nil, i),
			[]byte(strings.Repeat("b", i%4)),
			{0, 0, byte(i), 1},
		}
		if i%3 > 0 {
			r[i%len(r)] = nil
		}
		return r
	}
	for _, rows := range []int{1, 2, 3, 65, 500} {
		columns := rowset.NewColumns(fields)
		many := rowset.NewBuilder(columns, rows, 1<<30)
		var maps rowset.Maps
		var want [][]driver.Value
		for i := range rows {
			alone := rowset.NewBuilder(columns, 1, 1<<30)
			if !many.Add(row(i)) || !alone.Add(row(i)) {
				t.Fatal("a row is refused")
			}
			want = append(want, read(t, alone.Set(pgconn.CommandTag{}).Rows(&maps))...)
		}
		set := many.Set(pgconn.NewCommandTag("FETCH 1"))
		made := ready(t, set)
		got := read(t, made.Rows(&maps))
		for range 3 {
			runtime.GC()
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(read(t, set.Rows(&maps)), want) {
			t.Errorf("%d rows: %v\nare not %v", rows, got, want)
		}
		// Bytes are each replay's own.
		for i := range got {
			if b, ok := got[i][8].([]byte); ok {
				clear(b)
			}
		}
		if !reflect.DeepEqual(read(t, made.Rows(&maps)), want) {
			t.Errorf("%d rows: a change by one is seen by others", rows)
		}
		if !bytes.Equal(made.AppendBinary(nil), set.AppendBinary(nil)) || made.Tag() != set.Tag() {
			t.Errorf("%d rows: something beside the values has changed", rows)
		}
	}
}

// An error of a value is each replay's to meet.
func TestWhatCannotBeDecodedIsNotMade(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	made := new(rowset.Set)
	if one(pgtype.Int8OID, pgtype.BinaryFormatCode, []byte("short")).set(t, 3).Ready(made, &maps) {
		t.Error("it was made")
	}
}

func TestTimesOfAllSizesAreAsPgxHasThem(t *testing.T) {
	t.Parallel()
	types := pgtype.NewMap()
	for _, oid := range []uint32{pgtype.TimestamptzOID, pgtype.TimestampOID} {
		for _, n := range []int64{
			0, 1, -1, 999_999, -999_999, 1e6, -1e6, -1_000_001, 1<<57 - 1, 1 << 57, 1<<57 + 1, -1 << 57, -1<<57 - 1,
			-946_684_800_000_000, -946_684_800_000_001, math.MaxInt64 - 1, math.MinInt64 + 1, math.MaxInt64, math.MinInt64,
			9_223_371_331_200_000_000 - 1, 9_223_371_331_200_000_000, -211_813_488_000_000_000, -211_813_488_000_000_001,
		} {
			raw := binary.BigEndian.AppendUint64(nil, uint64(n))
			var plain driver.Value
			var err error
			if oid == pgtype.TimestampOID {
				var v pgtype.Timestamp
				if err = types.Scan(oid, pgtype.BinaryFormatCode, raw, &v); err == nil {
					plain, err = v.Value()
				}
			} else {
				var v pgtype.Timestamptz
				if err = types.Scan(oid, pgtype.BinaryFormatCode, raw, &v); err == nil {
					plain, err = v.Value()
				}
			}
			for _, rows := range []int{1, 2} {
				var maps rowset.Maps
				got := make([]driver.Value, 1)
				gotErr := one(oid, pgtype.BinaryFormatCode, raw).set(t, rows).Rows(&maps).Next(got)
				if (err == nil) != (gotErr == nil) {
					t.Errorf("%d of type %d: %v, not %v", n, oid, gotErr, err)
				}
				if err == nil && !reflect.DeepEqual(got[0], plain) {
					t.Errorf("%d of type %d: %#v, not %#v", n, oid, got[0], plain)
				}
			}
		}
	}
	if v, ok := firstOf(t, one(pgtype.TimestamptzOID, pgtype.BinaryFormatCode, make([]byte, 8)), 2).(time.Time); !ok || v.Location() != time.Local { //nolint:gosmopolitan // as pgx has it
		t.Errorf("%v", v)
	}
}

// A replay of values that are made allocates nothing for them.
//
//nolint:paralleltest // others would be counted
func TestReadyValuesTakeNoAllocation(t *testing.T) {
	set := ready(t, tenColumns(t, 1000))
	var maps rowset.Maps
	dest := make([]driver.Value, 10)
	n := testing.AllocsPerRun(10, func() {
		rows := set.Rows(&maps)
		for rows.Next(dest) == nil {
		}
		_ = rows.Close()
	})
	if n > 1 { // the Rows
		t.Errorf("%v allocations for 10,000 values", n)
	}
}

// ready is the set with its values made.
func ready(t testing.TB, set *rowset.Set) *rowset.Set {
	t.Helper()
	var maps rowset.Maps
	made := new(rowset.Set)
	if ok := set.Ready(made, &maps); !ok || !made.IsReady() || set.IsReady() || made.Size() <= set.Size() {
		t.Fatalf("made %t, of %d bytes %d", ok, set.Size(), made.Size())
	}
	return made
}

// A hit makes one of them, and the garbage collector has it soon: its time is that of its size.
func TestRowsAreSmall(t *testing.T) {
	t.Parallel()
	if rowset.RowsSize > 112 { // a size that the allocator has
		t.Errorf("%d bytes", rowset.RowsSize)
	}
}

func firstOf(t *testing.T, s shape, rows int) driver.Value {
	t.Helper()
	var maps rowset.Maps
	return read(t, s.set(t, rows).Rows(&maps))[0][0]
}

func read(t *testing.T, rows *rowset.Rows) (all [][]driver.Value) {
	t.Helper()
	defer rows.Close()
	for {
		dest := make([]driver.Value, len(rows.Columns()))
		err := rows.Next(dest)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, dest)
	}
}
