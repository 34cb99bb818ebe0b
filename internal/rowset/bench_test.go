package rowset_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

func BenchmarkRecord20x5(b *testing.B) {
	of := five()
	b.ReportAllocs()
	for b.Loop() {
		rec := rowset.NewBuilder(rowset.NewColumns(of.fields), 1000, 1<<20)
		for range 20 {
			rec.Add(of.row)
		}
		rec.Set(pgconn.NewCommandTag("SELECT 20"))
	}
}

// The driver's part of a query: what database/sql asks of driver.Rows.
func BenchmarkReplay(b *testing.B) {
	for _, c := range []struct {
		name string
		of   shape
		rows int
	}{
		{"1x1", one(pgtype.Int8OID, 1, []byte{0, 0, 0, 0, 0, 1, 2, 3}), 1},
		{"1x5", five(), 1},
		{"20x5", five(), 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			set := c.of.set(b, c.rows)
			var maps rowset.Maps
			dest := make([]driver.Value, len(c.of.fields))
			query := func() driver.Rows { return set.Rows(&maps) } // on the heap, as in a driver
			query = wrapped(query)
			b.ReportAllocs()
			for b.Loop() {
				rows := query()
				_ = rows.Columns()
				var err error
				for err == nil {
					err = rows.Next(dest)
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				_ = rows.Close()
			}
		})
	}
}

func BenchmarkEncoding20x5(b *testing.B) {
	set := five().set(b, 20)
	encoded := set.AppendBinary(nil)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encoded = set.AppendBinary(encoded[:0])
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rowset.Parse(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Through database/sql, over a driver that does nothing but replay.
func BenchmarkQueryRow(b *testing.B) {
	for _, c := range []struct {
		name string
		of   shape
	}{{"1x1", one(pgtype.Int8OID, 1, []byte{0, 0, 0, 0, 0, 1, 2, 3})}, {"1x5", five()}} {
		b.Run(c.name, func(b *testing.B) {
			set := c.of.set(b, 1)
			var maps rowset.Maps
			db := sql.OpenDB(memory{func() driver.Rows { return set.Rows(&maps) }})
			defer db.Close()
			var id int64
			var email, balance string
			var at, active any
			dest := []any{&id, &email, &balance, &at, &active}[:len(c.of.fields)]
			b.ReportAllocs()
			for b.Loop() {
				if err := db.QueryRowContext(b.Context(), "q").Scan(dest...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// memory is a driver whose every query has the same answer.
type memory struct{ rows func() driver.Rows }

func (m memory) Connect(context.Context) (driver.Conn, error) { return m, nil }
func (m memory) Driver() driver.Driver                        { return nil }
func (m memory) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (m memory) Close() error                                 { return nil }
func (m memory) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

func (m memory) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return m.rows(), nil
}

//go:noinline
func wrapped(query func() driver.Rows) func() driver.Rows { return query }
