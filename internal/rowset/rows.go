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

	// Where in the arena: the values of the current row, the one of column, and the row
	// after it. A hit makes one of these Rows, so they are small; see maxSet.
	row, read, rest int32
	column          int32
	passed          int32 // rows, the current one among them
	closed          bool
	lasting         bool // the values will be kept: none may lie in these Rows

	named bool // see Columns
	few   [3]string
	many  *[]string // if few are too few
	box   int64     // the first whole number of the result; see boxed
}

// Rows starts a replay, which must be closed, as database/sql does.
func (s *Set) Rows(maps *Maps) *Rows {
	return &Rows{set: s, maps: maps}
}

// Next implements driver.Rows.
func (r *Rows) Next(dest []driver.Value) error {
	if r.set.made != nil {
		return r.nextReady(dest)
	}
	if err := r.advance(); err != nil {
		return err
	}
	var copies *texts
	var place *int64
	switch {
	case len(r.set.arena) > maxShared:
		copies = &r.workspace().texts
	case r.passed == 1 && !r.lasting: // whoever keeps the number keeps the arena in memory, as with a text
		place = &r.box
	}
	row := r.set.arena[r.row:r.rest]
	fields := r.set.columns.fields
	for i := range fields {
		f := &fields[i]
		var src []byte
		src, row = cut(row)
		if v, ok := f.plain(src, copies, &place); ok {
			dest[i] = v
			continue
		}
		var err error
		if dest[i], err = r.workspace().value(f, i, src); err != nil {
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
	if int(r.rest) == len(r.set.arena) || r.closed {
		return io.EOF
	}
	length, n := binary.Uvarint(r.set.arena[r.rest:])
	r.row = r.rest + int32(n)      //nolint:gosec // see maxSet
	r.rest = r.row + int32(length) //nolint:gosec // as above
	r.read, r.column = r.row, 0
	r.passed++
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
