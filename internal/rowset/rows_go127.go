//go:build go1.27

package rowset

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// From Go 1.27 database/sql calls NextRow and ScanColumn, and Next no more.
var (
	_ driver.RowsColumnScanner = (*Rows)(nil)
	_ driver.RowsColumnScanner = (*Reader)(nil)
)

// NextRow implements driver.RowsColumnScanner.
func (r *Rows) NextRow() error { return r.advance() }

// NextRow implements driver.RowsColumnScanner.
func (r *Reader) NextRow() error { return r.advance() }

// raw is a value of the current row. It points into the arena. Columns in their order
// are found at once; to go back is to begin again.
func (r *Rows) raw(column int) []byte {
	if column < int(r.column) {
		r.read, r.column = r.row, 0
	}
	for {
		src, rest := cut(r.set.arena[r.read:r.rest])
		r.read = r.rest - int32(len(rest)) //nolint:gosec // see maxSet
		r.column++
		if int(r.column) > column {
			return src
		}
	}
}

// ScanColumn implements driver.RowsColumnScanner.
func (r *Rows) ScanColumn(ctx driver.ScanContext, index int, dest any) error {
	if err := checkDestination(dest); err != nil {
		return err
	}
	f := &r.set.columns.fields[index]
	if scansDirectly(reflect.TypeOf(dest)) {
		// Here, and only here, foreign code sees the raw bytes: a destination may keep
		// them (pgtype.DriverBytes) or write into them.
		return r.workspace().types.Scan(f.oid, f.format, bytes.Clone(r.raw(index)), dest)
	}
	if r.set.made != nil {
		return sql.ConvertAssign(ctx, dest, owned(r.ready()[index]))
	}
	return r.workspace().convert(ctx, f, r.raw(index), dest)
}

// ScanColumn implements driver.RowsColumnScanner.
func (r *Reader) ScanColumn(ctx driver.ScanContext, index int, dest any) error {
	if !r.onLive {
		return r.Rows.ScanColumn(ctx, index, dest)
	}
	if err := checkDestination(dest); err != nil {
		return err
	}
	f, src := &r.set.columns.fields[index], r.live.RawValues()[index]
	if scansDirectly(reflect.TypeOf(dest)) {
		return r.work.types.Scan(f.oid, f.format, src, dest)
	}
	return r.work.convert(ctx, f, src, dest)
}

func checkDestination(dest any) error {
	if dest == nil {
		return errors.New("destination not a pointer")
	}
	if v := reflect.ValueOf(dest); v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("destination pointer is nil")
	}
	return nil
}

// convert goes through the driver.Value, as database/sql does for scalars.
func (w *workspace) convert(ctx driver.ScanContext, f *field, src []byte, dest any) error {
	if src == nil {
		return sql.ConvertAssign(ctx, dest, nil)
	}
	v, err := w.decode(f, src)
	if err != nil {
		return err
	}
	return sql.ConvertAssign(ctx, dest, v)
}

// direct caches the answers of scansDirectly, which cost more than a scan does.
//
//nolint:gochecknoglobals // facts about Go types, which are the same for everybody
var direct sync.Map // from reflect.Type to bool

// scansDirectly reports whether pgx scans into a destination of type t, and not
// database/sql: everything but scalars, times, bytes, and what scans itself.
func scansDirectly(t reflect.Type) bool {
	if known, ok := direct.Load(t); ok {
		return known == true
	}
	answer := !isForDatabaseSQL(t)
	direct.Store(t, answer)
	return answer
}

func isForDatabaseSQL(t reflect.Type) bool {
	var defined []reflect.Type // pointer types with a name: only they can form a circle
	for {
		if t.Implements(reflect.TypeFor[sql.Scanner]()) {
			return true
		}
		// Bytes that pgx fills itself, though they look like a []byte.
		if t.Implements(reflect.TypeFor[pgtype.ArraySetter]()) || t.Implements(reflect.TypeFor[pgtype.BytesScanner]()) {
			return false
		}
		if t.Kind() != reflect.Pointer {
			return isScalar(t)
		}
		if t.Name() != "" {
			if slices.Contains(defined, t) {
				return false
			}
			defined = append(defined, t)
		}
		t = t.Elem()
	}
}

func isScalar(t reflect.Type) bool {
	switch t.Kind() { //nolint:exhaustive // the others are not
	case reflect.Bool, reflect.String, reflect.Interface, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	case reflect.Struct:
		return t.ConvertibleTo(reflect.TypeFor[time.Time]())
	}
	return false
}
