package rowset_test

import (
	"database/sql/driver"
	"encoding/binary"
	"io"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// Numbers stay what they are when the rows go on, are closed, and are gone: also the first
// one, which lies in its Rows.
func TestANumberOutlivesItsRows(t *testing.T) {
	t.Parallel()
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) } //nolint:gosec // the same bits
	field := pgconn.FieldDescription{Name: "n", DataTypeOID: pgtype.Int8OID, TypeModifier: -1, Format: pgtype.BinaryFormatCode}
	b := rowset.NewBuilder(rowset.NewColumns([]pgconn.FieldDescription{field, field, field}), 10, 1<<20)
	want := [][]int64{{7, -1, 1 << 40}, {255, 256, 257}, {1000, 1001, -1 << 60}}
	for _, row := range want {
		var values [][]byte
		for _, n := range row {
			values = append(values, number(n))
		}
		if row[0] == 7 {
			values[0] = nil
		}
		b.Add(values)
	}
	set := b.Set(pgconn.NewCommandTag("SELECT 3"))
	var maps rowset.Maps
	var got [][]driver.Value
	for range 2 {
		rows := set.Rows(&maps)
		for {
			dest := make([]driver.Value, 3)
			if err := rows.Next(dest); err == io.EOF { //nolint:errorlint // as database/sql does
				break
			}
			got = append(got, dest)
		}
		_ = rows.Close()
	}
	runtime.GC()
	for i, row := range got {
		for j, v := range row {
			if n := want[i%3][j]; v != driver.Value(n) && (n != 7 || v != nil) {
				t.Errorf("row %d, column %d: %v, not %d", i, j, v, n)
			}
		}
	}
}

// A row with a number takes one allocation, that of its Rows.
func TestANumberTakesNoAllocation(t *testing.T) { //nolint:paralleltest // counts allocations
	set := one(pgtype.Int8OID, pgtype.BinaryFormatCode, []byte{0, 0, 0, 0, 0, 1, 2, 3}).set(t, 1)
	var maps rowset.Maps
	dest := make([]driver.Value, 1)
	n := testing.AllocsPerRun(100, func() {
		rows := set.Rows(&maps)
		if err := rows.Next(dest); err != nil || dest[0] != driver.Value(int64(66051)) {
			t.Fatal(dest[0], err)
		}
		_ = rows.Close()
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}
