package lifeguard

import (
	"database/sql/driver"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/copyenc"
)

// appender writes the field that p points to. It leaves no pointer to it behind.
type appender func(buf []byte, p unsafe.Pointer) ([]byte, error)

// columnEncoder writes one column of a row: from a struct's field, or from an any.
type columnEncoder struct {
	column *batchColumn
	typ    reflect.Type // of the field; nil for []any
	offset uintptr
	append appender
	any    *anyEncoder
}

func (c *columnEncoder) goType(values []any, i int) string {
	if c.typ != nil {
		return c.typ.String()
	}
	return fmt.Sprintf("%T", values[i])
}

// A ColumnError says which column cannot take a row's value. Its text does not tell the
// value; the wrapped error may.
type ColumnError struct {
	Column string
	PgType string // of the column
	GoType string // of the value
	Err    error
}

func (e *ColumnError) Error() string {
	return fmt.Sprintf("lifeguard: column %q of type %s does not take this %s", e.Column, e.PgType, e.GoType)
}

func (e *ColumnError) Unwrap() error { return e.Err }

// rowPlan is how rows of a shape become bytes for a table: resolved once.
type rowPlan struct {
	shape   *rowShape
	table   *batchTable
	columns []columnEncoder
	names   []string
	binary  bool
}

func newRowPlan(shape *rowShape, table *batchTable, columns []*batchColumn, binary bool) (*rowPlan, error) {
	p := &rowPlan{shape: shape, table: table, binary: binary}
	for _, c := range columns {
		p.names = append(p.names, c.name)
		enc := columnEncoder{column: c}
		comp := compiler{types: table.types, oid: c.oid, binary: binary}
		if shape.slice {
			enc.any = &anyEncoder{comp: comp}
		} else {
			field, err := shape.field(c.name)
			if err != nil {
				return nil, err
			}
			enc.typ, enc.offset, enc.append = field.typ, field.offset, comp.compile(field.typ)
		}
		p.columns = append(p.columns, enc)
	}
	return p, nil
}

func (p *rowPlan) encode(buf []byte, row unsafe.Pointer) ([]byte, error) {
	if p.binary {
		return p.shape.encode(copyenc.AppendRow(buf, len(p.columns)), p.columns, row, false)
	}
	buf, err := p.shape.encode(buf, p.columns, row, true)
	return append(buf, '\n'), err
}

func (p *rowPlan) header() string {
	if p.binary {
		return copyenc.Header
	}
	return ""
}

func (p *rowPlan) trailer() string {
	if p.binary {
		return copyenc.Trailer
	}
	return ""
}

// copySQL is COPY into a table of these columns.
func (p *rowPlan) copySQL(table string) string {
	format := "text"
	if p.binary {
		format = "binary"
	}
	return "copy " + table + " (" + quoteColumns(p.names) + ") from stdin (format " + format + ")"
}

// anyEncoder writes values whose type is only known when they come. It remembers an
// appender for each type it has seen, with a place of its own to copy the value to.
type anyEncoder struct {
	comp compiler
	last *anyType
	seen map[reflect.Type]*anyType
}

type anyType struct {
	typ    reflect.Type
	place  reflect.Value
	append appender
}

func (e *anyEncoder) append(buf []byte, v any) ([]byte, error) {
	if v == nil {
		return e.comp.null(buf), nil
	}
	typ := reflect.TypeOf(v)
	if e.last == nil || e.last.typ != typ {
		known := e.seen[typ]
		if known == nil {
			known = &anyType{typ: typ, place: reflect.New(typ), append: e.comp.compile(typ)}
			if e.seen == nil {
				e.seen = make(map[reflect.Type]*anyType)
			}
			e.seen[typ] = known
		}
		e.last = known
	}
	e.last.place.Elem().Set(reflect.ValueOf(v))
	return e.last.append(buf, e.last.place.UnsafePointer())
}

// Types that say themselves what they are as a value.
//
//nolint:gochecknoglobals // constants
var (
	valuerType   = reflect.TypeFor[driver.Valuer]()
	valuingTypes = []reflect.Type{
		valuerType,
		reflect.TypeFor[pgtype.BoolValuer](),
		reflect.TypeFor[pgtype.BytesValuer](),
		reflect.TypeFor[pgtype.Float64Valuer](),
		reflect.TypeFor[pgtype.Int64Valuer](),
		reflect.TypeFor[pgtype.NumericValuer](),
		reflect.TypeFor[pgtype.TextValuer](),
		reflect.TypeFor[pgtype.UUIDValuer](),
	}
)

// isValue reports whether values of type t, or pointers to them, are values of a column
// although t may be a struct.
func isValue(t reflect.Type) bool {
	if t == timeType {
		return true
	}
	for _, valuing := range valuingTypes {
		if t.Implements(valuing) || reflect.PointerTo(t).Implements(valuing) {
			return true
		}
	}
	return false
}
