package rowset_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// tenColumns is a result of ten columns, whose values differ from row to row.
func tenColumns(t testing.TB, rows int) *rowset.Set {
	t.Helper()
	var fields []pgconn.FieldDescription
	for _, oid := range []uint32{
		pgtype.Int4OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Int8OID, pgtype.TextOID,
		pgtype.TextOID, pgtype.Float8OID, pgtype.BoolOID, pgtype.TimestamptzOID, pgtype.Int4OID,
	} {
		f := pgconn.FieldDescription{Name: "c", DataTypeOID: oid, TypeModifier: -1, Format: pgtype.BinaryFormatCode}
		if oid == pgtype.TextOID {
			f.Format = pgtype.TextFormatCode
		}
		fields = append(fields, f)
	}
	int4 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	int8 := func(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	b := rowset.NewBuilder(rowset.NewColumns(fields), rows, 1<<30)
	for i := range rows {
		if !b.Add([][]byte{
			int4(i), int4(0), int8(i), int8(-i), fmt.Appendf(nil, "text %d", i), fmt.Appendf(nil, "more text %d", i),
			int8(int(math.Float64bits(float64(i) / 3))),
			{byte(i % 2)},
			int8(820_454_400_000_000 + i*60_000_000), int4(i % 10),
		}) {
			t.Fatal("a row is refused")
		}
	}
	return b.Set(pgconn.CommandTag{})
}

// prepared returns rows that are there already: what database/sql itself costs.
type prepared struct {
	names  []string
	values [][]driver.Value
}

func (r *prepared) Columns() []string { return r.names }
func (r *prepared) Close() error      { return nil }

func (r *prepared) Next(dest []driver.Value) error {
	if len(r.values) == 0 {
		return io.EOF
	}
	copy(dest, r.values[0])
	r.values = r.values[1:]
	return nil
}

// A result of 1,000 rows of 10 columns through database/sql, beside one whose values are
// there already.
func BenchmarkManyRows(b *testing.B) {
	set := tenColumns(b, 1000)
	var maps rowset.Maps
	var all prepared
	rows := set.Rows(&maps)
	all.names = rows.Columns()
	for {
		row := make([]driver.Value, len(all.names))
		if rows.Next(row) != nil {
			break
		}
		all.values = append(all.values, row)
	}
	made := ready(b, set)
	for _, c := range []struct {
		name string
		rows func() driver.Rows
	}{
		{"none", func() driver.Rows { return &prepared{names: all.names, values: all.values} }},
		{"replay", func() driver.Rows { return set.Rows(&maps) }},
		{"replay of ready values", func() driver.Rows { return made.Rows(&maps) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			db := sql.OpenDB(memory{c.rows})
			defer db.Close()
			values, into := make([]any, len(all.names)), make([]any, len(all.names))
			for i := range values {
				into[i] = &values[i]
			}
			b.ReportAllocs()
			for b.Loop() {
				if n, err := scanAll(b.Context(), db, into); err != nil || n != 1000 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func scanAll(ctx context.Context, db *sql.DB, into []any) (n int, err error) {
	rows, err := db.QueryContext(ctx, "q")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}
