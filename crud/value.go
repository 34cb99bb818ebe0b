package crud

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"reflect"

	"github.com/uptrace/bun/schema"
)

// A value is what goes into a column, or is compared with it. If it has the type of the
// model's field, it is written as Bun writes that field, so arrays, JSON and what else
// the field's tag says are right.
type value struct {
	field *schema.Field
	v     reflect.Value
}

// newValue takes the value out of an interface. A nil one is NULL.
func newValue(field *schema.Field, v any) value {
	return value{field: field, v: reflect.ValueOf(v)}
}

// AppendQuery implements schema.QueryAppender.
func (v value) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	switch {
	case !v.v.IsValid():
		return append(b, "NULL"...), nil
	case v.v.Type().AssignableTo(v.field.StructField.Type):
		row := reflect.New(v.field.Table.Type).Elem()
		v.field.Value(row).Set(v.v)
		return v.field.AppendValue(gen, b, row), nil
	case v.isSlice() && v.field.StructField.Type.Kind() == reflect.Slice:
		return nil, fmt.Errorf("crud: column %s takes a %v, not a %v", v.field.Name, v.field.StructField.Type, v.v.Type())
	}
	return gen.AppendValue(b, v.v), nil
}

// isNull reports whether v is written as NULL: nil, a nil pointer, a Valuer of nil.
func (v value) isNull() (bool, error) {
	b, err := v.AppendQuery(models().QueryGen(), nil)
	return bytes.Equal(b, []byte("NULL")), err
}

// isList reports whether v is several values rather than one that is a slice.
func (v value) isList() bool {
	if !v.isSlice() || v.v.Type().AssignableTo(v.field.StructField.Type) {
		return false
	}
	element := v.v.Type().Elem().Kind()
	return v.field.StructField.Type.Kind() != reflect.Slice || element == reflect.Slice || element == reflect.Interface
}

// isSlice reports whether v is a slice that is neither bytes nor knows its own value.
func (v value) isSlice() bool {
	return v.v.IsValid() && v.v.Kind() == reflect.Slice && v.v.Type().Elem().Kind() != reflect.Uint8 &&
		!v.v.Type().Implements(reflect.TypeFor[driver.Valuer]())
}

// list are the elements of v, separated by commas.
type list struct{ value }

// AppendQuery implements schema.QueryAppender.
func (l list) AppendQuery(gen schema.QueryGen, b []byte) (_ []byte, err error) {
	for i := range l.v.Len() {
		if i > 0 {
			b = append(b, ", "...)
		}
		element := l.v.Index(i)
		if element.Kind() == reflect.Interface {
			element = element.Elem()
		}
		if b, err = (value{l.field, element}).AppendQuery(gen, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}
