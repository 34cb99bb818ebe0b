package rowset

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"io"
)

var (
	_ driver.Rows                           = (*Rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*Rows)(nil)
	_ driver.RowsColumnTypeLength           = (*Rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*Rows)(nil)
)

// Rows is one replay of a Set. As any driver.Rows, it is for one goroutine.
type Rows struct {
	set  *Set
	maps *Maps      // takes the workspace back; nil if it belongs to these Rows
	work *workspace // nil before the first use and after Close

	names  []string // see Columns
	rest   []byte   // the arena behind the current row
	row    []byte   // the current row's values
	read   []byte   // the current row behind the value at column-1
	column int      // the column at which read begins
	closed bool
}

// Rows starts a replay, which must be closed, as database/sql does.
func (s *Set) Rows(maps *Maps) *Rows {
	return &Rows{set: s, maps: maps, rest: s.arena}
}

// Next implements driver.Rows.
func (r *Rows) Next(dest []driver.Value) error {
	if err := r.advance(); err != nil {
		return err
	}
	work, row := r.workspace(), r.row
	for i := range r.set.fields {
		var src []byte
		src, row = cut(row)
		var err error
		if dest[i], err = work.value(&r.set.fields[i], i, src); err != nil {
			return err
		}
	}
	return nil
}

// value is a column of a row, with the error that stdlib gives.
func (w *workspace) value(f *field, column int, src []byte) (driver.Value, error) {
	if src == nil {
		return nil, nil // NULL
	}
	v, err := w.decode(f, src)
	if err != nil {
		return nil, fmt.Errorf("convert field %d failed: %w", column, err)
	}
	return v, nil
}

// advance goes to the next row, or returns io.EOF.
func (r *Rows) advance() error {
	if len(r.rest) == 0 || r.closed {
		return io.EOF
	}
	length, n := binary.Uvarint(r.rest)
	r.row = r.rest[n : n+int(length)]
	r.rest = r.rest[n+int(length):]
	r.read, r.column = r.row, 0
	return nil
}

// cut splits a row behind its first value, which is nil if it is NULL. The value's
// capacity ends with it, so that nobody can append to the next one.
func cut(row []byte) (value, rest []byte) {
	length, n := uint64(row[0]), 1
	if length >= 0x80 {
		length, n = binary.Uvarint(row)
	}
	if length == 0 {
		return nil, row[n:]
	}
	end := n + int(length) - 1
	return row[n:end:end], row[end:]
}

// Close implements driver.Rows.
func (r *Rows) Close() error {
	r.closed = true
	if r.work != nil && r.maps != nil {
		r.maps.put(r.work)
		r.work = nil
	}
	return nil
}

func (r *Rows) workspace() *workspace {
	if r.work == nil {
		r.work = r.maps.take()
	}
	return r.work
}
