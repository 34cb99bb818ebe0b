package rowset

import (
	"database/sql/driver"
	"io"

	"github.com/jackc/pgx/v5/pgtype"
)

var _ driver.Rows = (*Reader)(nil)

// Live is a result that is still being read. pgx.Rows is one, and so is what
// pgx.RowsFromResultReader makes of a pgconn.ResultReader.
type Live interface {
	Next() bool
	RawValues() [][]byte
	Err() error
	Close()
}

// Reader gives the rows of a result of which a part is recorded: first those, then the
// live ones. An error of the live result comes at the row where it happened.
//
// Everything is decoded by the connection's own map, so a Reader is right for any
// result, also for one that is not [Known].
type Reader struct {
	Rows

	live     Live
	standing bool // live stands on a row that is not in the prefix
	onLive   bool // the prefix is over
}

// NewReader goes on over live behind prefix. standing says that live stands on a row
// that is not part of the prefix: the one that [Builder.Add] refused. types is the map
// of the connection, which belongs to the Reader until its Close.
//
// A result that failed before its first row is not for a Reader: stdlib returns such an
// error from Query.
func NewReader(prefix *Set, live Live, types *pgtype.Map, standing bool) *Reader {
	r := &Reader{Rows: *prefix.Rows(nil), live: live, standing: standing}
	r.work = &workspace{types: types}
	return r
}

// Next implements driver.Rows.
func (r *Reader) Next(dest []driver.Value) error {
	if err := r.advance(); err != nil {
		return err
	}
	if !r.onLive {
		row := r.set.arena[r.row:r.rest]
		for i := range r.set.columns.fields {
			var src []byte
			src, row = cut(row)
			var err error
			if dest[i], err = r.work.value(&r.set.columns.fields[i], i, src); err != nil {
				return err
			}
		}
		return nil
	}
	for i, src := range r.live.RawValues() {
		var err error
		if dest[i], err = r.work.value(&r.set.columns.fields[i], i, src); err != nil {
			return err
		}
	}
	return nil
}

// advance goes to the next row, recorded or live.
func (r *Reader) advance() error {
	if r.closed {
		return io.EOF
	}
	if !r.onLive {
		if err := r.Rows.advance(); err == nil {
			return nil
		}
		r.onLive = true
		if r.standing {
			return nil
		}
	}
	if r.live.Next() {
		return nil
	}
	if err := r.live.Err(); err != nil {
		return err
	}
	return io.EOF
}

// Close closes the live result, and returns its error.
func (r *Reader) Close() error {
	r.closed = true
	r.live.Close()
	return r.live.Err()
}
