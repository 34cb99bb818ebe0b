package cache

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"time"
)

// A key is the whole question: the statement's part, in which the driver puts the text
// and the session's settings that change results, and the arguments, each with its
// Go type. Keys are compared in full, never by a hash alone: two questions must
// not share an answer.

// AppendArguments appends the arguments to the statement's part of a key. It reports
// false if one of them is of a type of which it cannot be said that equal values are
// encoded as equal parameters; then the statement is not cached.
//
// Taken are: nil, booleans, all integers and floats, string, []byte, time.Time, and types
// derived from these and structs of them that have neither pointers nor slices inside, so
// that their value says everything about them and assigning it copies it; slices and
// arrays of strings and of numbers; and pointers to all of these, as NULL or what they
// point to. Not taken are types that tell pgx by methods of their own what they are: see
// [Encodes]. What a driver.Valuer or a fmt.Stringer makes of itself is the caller's to ask.
//
// A type's number is this process's: keys are no use to another one, unless the arguments
// are [Portable].
func AppendArguments(key []byte, args []driver.NamedValue) ([]byte, bool) {
	for i := range args {
		if args[i].Name != "" {
			return nil, false // pgx refuses it, with an error of its own
		}
		var ok bool
		if key, ok = appendValue(key, args[i].Value); !ok {
			return nil, false
		}
	}
	return key, true
}

// Portable reports whether every process gives these arguments the same key: none of them
// is named by the number of its type.
func Portable(args []driver.NamedValue) bool {
	for i := range args {
		switch args[i].Value.(type) {
		case nil, bool, int64, int, int32, float64, string, []byte, time.Time:
		default:
			return false
		}
	}
	return true
}

// The tags of the values that are not named by their type.
const (
	tagNil byte = iota
	tagBool
	tagInt64
	tagInt
	tagInt32
	tagFloat64
	tagString
	tagBytes
	tagTime
	tagOther // then the type's number, and its kind's value
)

func appendValue(b []byte, value any) ([]byte, bool) {
	if b, ok := AppendPlain(b, value); ok {
		return b, true
	}
	if v, ok := value.([]byte); ok {
		if v == nil { // pgx sends NULL for it
			return append(b, tagBytes, 0), true
		}
		return appendString(append(b, tagBytes, 1), string(v)), true
	}
	return appendOther(append(b, tagOther), reflect.ValueOf(value))
}

// AppendPlain appends an argument without a name, if it is of a type that most are: one that
// has no methods by which it could say anything else. Otherwise it appends nothing, and
// [AppendArguments] has to be asked.
func AppendPlain(b []byte, value any) ([]byte, bool) {
	switch v := value.(type) {
	case int64:
		return binary.BigEndian.AppendUint64(append(b, tagInt64), uint64(v)), true //nolint:gosec // the same bits
	case string:
		return appendString(append(b, tagString), v), true
	case nil:
		return append(b, tagNil), true
	case bool:
		return appendBool(append(b, tagBool), v), true
	case int:
		return binary.BigEndian.AppendUint64(append(b, tagInt), uint64(v)), true //nolint:gosec // the same bits
	case int32:
		return binary.BigEndian.AppendUint32(append(b, tagInt32), uint32(v)), true //nolint:gosec // the same bits
	case float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat64), math.Float64bits(v)), true
	case time.Time:
		return appendTime(append(b, tagTime), v), true
	}
	return b, false
}

func appendOther(b []byte, v reflect.Value) ([]byte, bool) {
	t := typeOf(v.Type())
	if t.encodes {
		return nil, false
	}
	b = binary.AppendUvarint(b, t.number)
	if v.Kind() == reflect.Pointer {
		return appendPointer(b, v)
	}
	return appendKind(b, v)
}

// appendPointer appends what a pointer to a value points to. A pointer's own methods could
// tell nil pointers apart, so a type that has any is not taken.
func appendPointer(b []byte, v reflect.Value) ([]byte, bool) {
	if v.Type().NumMethod() > v.Type().Elem().NumMethod() {
		return nil, false
	}
	if v.IsNil() {
		return append(b, 0), true
	}
	return appendValue(append(b, 1), v.Elem().Interface())
}

func appendKind(b []byte, v reflect.Value) ([]byte, bool) {
	switch v.Kind() {
	case reflect.Bool:
		return appendBool(b, v.Bool()), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.BigEndian.AppendUint64(b, uint64(v.Int())), true //nolint:gosec // the same bits
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.BigEndian.AppendUint64(b, v.Uint()), true
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float())), true
	case reflect.String:
		return appendString(b, v.String()), true
	case reflect.Array:
		return appendElements(b, v)
	case reflect.Slice:
		if v.IsNil() {
			return append(b, 0), true
		}
		return appendElements(append(b, 1), v)
	case reflect.Struct:
		return appendFields(b, v)
	default:
		return nil, false
	}
}

// appendFields appends a struct of plain fields, as sql.NullString and pgtype.Text are.
func appendFields(b []byte, v reflect.Value) ([]byte, bool) {
	ok := true
	for i := 0; i < v.NumField() && ok; i++ {
		field := v.Field(i)
		switch {
		case field.Type() == timeType:
			if !field.CanInterface() {
				return nil, false
			}
			b = appendTime(b, field.Interface().(time.Time)) //nolint:errcheck,forcetypeassert // it is one
		case field.Kind() == reflect.Slice: // whoever copies the struct shares it
			return nil, false
		default:
			b, ok = appendKind(b, field)
		}
	}
	return b, ok
}

var timeType = reflect.TypeFor[time.Time]() //nolint:gochecknoglobals // a constant

// appendElements appends an array or slice of plain elements. Slices of slices are left
// out: what pgx makes of them depends on more than their values.
func appendElements(b []byte, v reflect.Value) ([]byte, bool) {
	switch v.Type().Elem().Kind() {
	case reflect.Slice, reflect.Array, reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Map:
		return nil, false
	default:
	}
	b = binary.BigEndian.AppendUint32(b, uint32(v.Len())) //nolint:gosec // more does not fit into a message
	ok := true
	for i := 0; i < v.Len() && ok; i++ {
		b, ok = appendKind(b, v.Index(i))
	}
	return b, ok
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // more does not fit into a message
	return append(b, s...)
}

// appendTime appends the moment and what a clock on the wall shows: pgx sends the one
// for timestamptz, and the other for timestamp and date.
func appendTime(b []byte, t time.Time) []byte {
	name, offset := t.Zone()
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))       //nolint:gosec // the same bits
	b = binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond())) //nolint:gosec // below 1e9
	b = binary.BigEndian.AppendUint32(b, uint32(offset))         //nolint:gosec // the same bits
	return appendString(b, name)
}

// HasText reports whether one of the texts that an argument of a key holds is of a kind:
// the argument itself, its fields, its elements, each by itself. Bytes count as a text.
func HasText(value any, is func(string) bool) bool {
	switch v := value.(type) {
	case nil, bool, int64, int, int32, float64, time.Time:
		return false
	case string:
		return is(v)
	case []byte:
		return is(string(v))
	}
	return hasText(reflect.ValueOf(value), is)
}

func hasText(v reflect.Value, is func(string) bool) bool {
	switch v.Kind() { //nolint:exhaustive // the others hold no text, or are in no key
	case reflect.String:
		return is(v.String())
	case reflect.Pointer:
		return !v.IsNil() && hasText(v.Elem(), is)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			var text strings.Builder
			for i := range v.Len() {
				text.WriteByte(byte(v.Index(i).Uint())) //nolint:gosec // it is one
			}
			return is(text.String())
		}
		for i := range v.Len() {
			if hasText(v.Index(i), is) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if hasText(v.Field(i), is) {
				return true
			}
		}
	}
	return false
}
