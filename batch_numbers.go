package lifeguard

import (
	"database/sql/driver"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"unsafe"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/copyenc"
)

// numberAppender writes Go's numbers to int2, int4, int8, float4 and float8; nil for
// another pair.
func numberAppender(kind reflect.Kind, oid uint32) appender {
	switch kind {
	case reflect.Int:
		return intAppender[int](oid)
	case reflect.Int8:
		return intAppender[int8](oid)
	case reflect.Int16:
		return intAppender[int16](oid)
	case reflect.Int32:
		return intAppender[int32](oid)
	case reflect.Int64:
		return intAppender[int64](oid)
	case reflect.Uint:
		return intAppender[uint](oid)
	case reflect.Uint8:
		return intAppender[uint8](oid)
	case reflect.Uint16:
		return intAppender[uint16](oid)
	case reflect.Uint32:
		return intAppender[uint32](oid)
	case reflect.Uint64:
		return intAppender[uint64](oid)
	case reflect.Float32:
		return floatAppender[float32](oid)
	case reflect.Float64:
		return floatAppender[float64](oid)
	default:
		return nil
	}
}

type integer interface {
	int | int8 | int16 | int32 | int64 | uint | uint8 | uint16 | uint32 | uint64
}

func intAppender[I integer](oid uint32) appender {
	switch oid {
	case pgtype.Int2OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			v := *(*I)(p)
			if n := int16(v); I(n) == v && (n < 0) == (v < 0) {
				return copyenc.AppendInt16(buf, n), nil
			}
			return buf, copyenc.ErrRange
		}
	case pgtype.Int4OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			v := *(*I)(p)
			if n := int32(v); I(n) == v && (n < 0) == (v < 0) {
				return copyenc.AppendInt32(buf, n), nil
			}
			return buf, copyenc.ErrRange
		}
	case pgtype.Int8OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			v := *(*I)(p)
			if n := int64(v); I(n) == v && (n < 0) == (v < 0) {
				return copyenc.AppendInt64(buf, n), nil
			}
			return buf, copyenc.ErrRange
		}
	case pgtype.Float8OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendFloat64(buf, float64(*(*I)(p))), nil
		}
	}
	return nil
}

func floatAppender[F float32 | float64](oid uint32) appender {
	switch oid {
	case pgtype.Float4OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendFloat32(buf, float32(*(*F)(p))), nil
		}
	case pgtype.Float8OID:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendFloat64(buf, float64(*(*F)(p))), nil
		}
	}
	return nil
}

// numericAppender writes numeric, pgx's slowest type, from what Go programs have for it;
// decimal types by their Value or String.
func numericAppender(t reflect.Type) appender {
	switch {
	case t == numericType:
		return appendPgNumeric
	case t == bigIntType:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendNumericBig(buf, (*big.Int)(p), 0)
		}
	case t.Implements(valuerType):
		return valuerNumericAppender(t)
	case isValue(t):
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendNumericText(buf, *(*string)(p))
		}
	case reflect.Float32:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendNumericFloat(buf, float64(*(*float32)(p)), 32)
		}
	case reflect.Float64:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return copyenc.AppendNumericFloat(buf, *(*float64)(p), 64)
		}
	case reflect.Int:
		return numericIntAppender[int]()
	case reflect.Int8:
		return numericIntAppender[int8]()
	case reflect.Int16:
		return numericIntAppender[int16]()
	case reflect.Int32:
		return numericIntAppender[int32]()
	case reflect.Int64:
		return numericIntAppender[int64]()
	case reflect.Uint8:
		return numericUintAppender[uint8]()
	case reflect.Uint16:
		return numericUintAppender[uint16]()
	case reflect.Uint32:
		return numericUintAppender[uint32]()
	case reflect.Uint64:
		return numericUintAppender[uint64]()
	case reflect.Uint:
		return numericUintAppender[uint]()
	default:
		return nil
	}
}

func numericIntAppender[I int | int8 | int16 | int32 | int64]() appender {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		return copyenc.AppendNumericInt(buf, int64(*(*I)(p)), 0)
	}
}

func numericUintAppender[I uint | uint8 | uint16 | uint32 | uint64]() appender {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		return copyenc.AppendNumericUint(buf, uint64(*(*I)(p)))
	}
}

func appendPgNumeric(buf []byte, p unsafe.Pointer) ([]byte, error) {
	n := (*pgtype.Numeric)(p)
	switch {
	case !n.Valid:
		return copyenc.AppendNull(buf), nil
	case n.NaN:
		return copyenc.AppendNumericFloat(buf, math.NaN(), 64)
	case n.InfinityModifier != pgtype.Finite:
		return copyenc.AppendNumericFloat(buf, math.Inf(int(n.InfinityModifier)), 64)
	case n.Int == nil:
		return copyenc.AppendNumericInt(buf, 0, n.Exp)
	}
	return copyenc.AppendNumericBig(buf, n.Int, n.Exp)
}

// valuerNumericAppender takes decimal types, whose Value is their text.
func valuerNumericAppender(t reflect.Type) appender {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		v, err := reflect.NewAt(t, p).Interface().(driver.Valuer).Value() //nolint:errcheck // the caller has checked that it is one
		if err != nil {
			return buf, err
		}
		switch v := v.(type) {
		case nil:
			return copyenc.AppendNull(buf), nil
		case string:
			return copyenc.AppendNumericText(buf, v)
		case []byte:
			return copyenc.AppendNumericText(buf, v)
		case int64:
			return copyenc.AppendNumericInt(buf, v, 0)
		case float64:
			return copyenc.AppendNumericFloat(buf, v, 64)
		}
		return buf, fmt.Errorf("a Value of type %T is no numeric", v)
	}
}
