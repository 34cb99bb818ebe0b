package lifeguard

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/copyenc"
)

// compiler makes the appenders of one column. What it does not know itself, pgx's type
// map encodes, with an allocation or more per value.
type compiler struct {
	types  *pgtype.Map // its users hold the lock of the batch
	oid    uint32
	binary bool
}

//nolint:gochecknoglobals // constants
var (
	timeType    = reflect.TypeFor[time.Time]()
	uuidType    = reflect.TypeFor[[16]byte]()
	bigIntType  = reflect.TypeFor[big.Int]()
	numericType = reflect.TypeFor[pgtype.Numeric]()
	rawJSONType = reflect.TypeFor[json.RawMessage]()
)

func (c compiler) null(buf []byte) []byte {
	if c.binary {
		return copyenc.AppendNull(buf)
	}
	return append(buf, `\N`...)
}

// compile returns the appender for values of type t.
func (c compiler) compile(t reflect.Type) appender {
	if t.Kind() == reflect.Pointer && (!t.Implements(valuerType) || t.Elem().Implements(valuerType) || t.Elem() == bigIntType) {
		return c.pointer(t)
	}
	if t.Kind() == reflect.Interface && t.NumMethod() == 0 {
		return c.dynamic()
	}
	if a := c.nullable(t); a != nil {
		return a
	}
	if !c.binary {
		return c.text(t)
	}
	if a := c.direct(t); a != nil {
		return a
	}
	return c.byPgx(t)
}

// pointer writes what a pointer points to; nil is NULL.
func (c compiler) pointer(t reflect.Type) appender {
	inner := c.compile(t.Elem())
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		p = *(*unsafe.Pointer)(p)
		if p == nil {
			return c.null(buf), nil
		}
		return inner(buf, p)
	}
}

func (c compiler) dynamic() appender {
	e := &anyEncoder{comp: c}
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return e.append(buf, *(*any)(p)) }
}

// nullable knows the structs of a value and Valid: database/sql's and pgtype's.
func (c compiler) nullable(t reflect.Type) appender {
	if t.Kind() != reflect.Struct || t.NumField() != 2 || t.Field(1).Name != "Valid" {
		return nil
	}
	switch {
	case t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null"):
	case t.PkgPath() == numericType.PkgPath():
		switch t.Name() {
		case "Bool", "Float4", "Float8", "Int2", "Int4", "Int8", "Text", "UUID":
		default:
			return nil
		}
	default:
		return nil
	}
	inner, valid := c.compile(t.Field(0).Type), t.Field(1).Offset
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		if !*(*bool)(unsafe.Add(p, valid)) {
			return c.null(buf), nil
		}
		return inner(buf, p)
	}
}

// direct returns an appender without allocations, or nil.
func (c compiler) direct(t reflect.Type) appender {
	switch {
	case c.oid == pgtype.NumericOID:
		return numericAppender(t)
	case t == timeType:
		return timeAppender(c.oid)
	case c.oid == pgtype.UUIDOID && t.Kind() == reflect.Array && t.ConvertibleTo(uuidType):
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendUUID(buf, (*[16]byte)(p)), nil
		}
	case t == rawJSONType && c.oid == pgtype.JSONOID, t == rawJSONType && c.oid == pgtype.JSONBOID:
	case isValue(t):
		return nil
	}
	switch kind := t.Kind(); kind {
	case reflect.String:
		return c.stringAppender(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return c.bytesAppender(t)
		}
	case reflect.Bool:
		if c.oid == pgtype.BoolOID {
			return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return copyenc.AppendBool(buf, *(*bool)(p)), nil }
		}
	default:
		return numberAppender(kind, c.oid)
	}
	return nil
}

func timeAppender(oid uint32) appender {
	switch oid {
	case pgtype.TimestamptzOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendTimestamptz(buf, *(*time.Time)(p))
		}
	case pgtype.TimestampOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendTimestamp(buf, *(*time.Time)(p))
		}
	case pgtype.DateOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return copyenc.AppendDate(buf, *(*time.Time)(p)) }
	}
	return nil
}

// isText reports whether the binary form of the type is its text.
func (c compiler) isText() bool {
	switch c.oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID:
		return true
	}
	typ, ok := c.types.TypeForOID(c.oid)
	if !ok {
		return false
	}
	switch typ.Codec.(type) {
	case pgtype.TextCodec, *pgtype.TextCodec, *pgtype.EnumCodec:
		return true
	}
	return false
}

func (c compiler) stringAppender(t reflect.Type) appender {
	plain := t == reflect.TypeFor[string]()
	switch {
	case c.isText(), plain && c.oid == pgtype.JSONOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendString(buf, *(*string)(p)), nil
		}
	case plain && c.oid == pgtype.JSONBOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendJSONB(buf, *(*string)(p)), nil
		}
	case c.oid == pgtype.UUIDOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendUUIDText(buf, *(*string)(p))
		}
	}
	return nil
}

func (c compiler) bytesAppender(t reflect.Type) appender {
	raw := t == reflect.TypeFor[[]byte]() || t == rawJSONType
	switch {
	case c.oid == pgtype.ByteaOID, c.isText(), raw && c.oid == pgtype.JSONOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			if v := *(*[]byte)(p); v != nil {
				return copyenc.AppendBytes(buf, v), nil
			}
			return copyenc.AppendNull(buf), nil
		}
	case raw && c.oid == pgtype.JSONBOID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			if v := *(*[]byte)(p); v != nil {
				return copyenc.AppendJSONB(buf, v), nil
			}
			return copyenc.AppendNull(buf), nil
		}
	}
	return nil
}

// byPgx encodes with pgx's type map.
func (c compiler) byPgx(t reflect.Type) appender {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		start := len(buf)
		v := reflect.NewAt(t, p).Elem().Interface()
		buf = copyenc.AppendNull(buf)
		out, err := c.types.Encode(c.oid, pgtype.BinaryFormatCode, v, buf)
		if err != nil {
			var again error
			if out, again = c.readThenEncode(v, buf); again != nil {
				return buf[:start], err
			}
		}
		if out == nil {
			return buf, nil // NULL
		}
		return out, copyenc.SetLen(out, start)
	}
}

// readThenEncode takes the text of a value, reads it as the column's type and encodes
// that, as pgx.CopyFrom does: '2026-01-02' for a date, say.
func (c compiler) readThenEncode(v any, buf []byte) ([]byte, error) {
	if valuer, ok := v.(driver.Valuer); ok {
		var err error
		if v, err = valuer.Value(); err != nil {
			return nil, err
		}
	}
	text, ok := v.(string)
	if !ok {
		return nil, errors.New("not a text")
	}
	typ, ok := c.types.TypeForOID(c.oid)
	if !ok {
		return nil, errors.New("type without a codec")
	}
	if _, ok := typ.Codec.(*pgtype.ArrayCodec); ok {
		var array pgtype.Array[any] // keeps the dimensions
		if err := c.types.Scan(c.oid, pgtype.TextFormatCode, []byte(text), &array); err == nil {
			return c.types.Encode(c.oid, pgtype.BinaryFormatCode, array, buf)
		}
	}
	var value any
	if err := c.types.Scan(c.oid, pgtype.TextFormatCode, []byte(text), &value); err != nil {
		return nil, err
	}
	return c.types.Encode(c.oid, pgtype.BinaryFormatCode, value, buf)
}

// text writes COPY's text format.
func (c compiler) text(t reflect.Type) appender {
	scratch := make([]byte, 0, 64)
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		var v any
		switch {
		case t == bigIntType:
			v = (*big.Int)(p).String()
		case c.oid == pgtype.NumericOID && t.Kind() == reflect.Float32:
			v = strconv.FormatFloat(float64(*(*float32)(p)), 'g', -1, 32)
		case c.oid == pgtype.UUIDOID && t.Kind() == reflect.Array && t.ConvertibleTo(uuidType):
			v = *(*[16]byte)(p)
		default:
			v = reflect.NewAt(t, p).Elem().Interface()
		}
		if s, ok := v.(string); ok {
			return copyenc.AppendText(buf, s), nil
		}
		out, err := c.types.Encode(c.oid, pgtype.TextFormatCode, v, scratch[:0])
		if err != nil {
			return buf, err
		}
		if out == nil {
			return c.null(buf), nil
		}
		scratch = out
		return copyenc.AppendText(buf, out), nil
	}
}
