package lifeguard

import (
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/jackc/pgx/v5/pgtype"
)

// scanTargets returns what rows.Scan writes the columns of a row into: row itself, or
// fields of the struct that it points to.
func scanTargets[T any](row *T, columns []string) ([]any, error) {
	v := reflect.ValueOf(row).Elem()
	if v.Kind() != reflect.Struct || isValue(v.Type()) {
		if len(columns) != 1 {
			return nil, fmt.Errorf("lifeguard: a %v takes one column, and the query has %d: %s",
				v.Type(), len(columns), strings.Join(columns, ", "))
		}
		return []any{scanTarget(v)}, nil
	}
	shape, err := shapeOf(v.Type(), nil)
	if err != nil {
		return nil, err
	}
	targets := make([]any, len(columns))
	for i, column := range columns {
		if slices.Contains(columns[:i], column) {
			return nil, fmt.Errorf("lifeguard: the query has two columns %q", column)
		}
		field, err := shape.field(column)
		if err != nil {
			return nil, fmt.Errorf("%w; it has %s", err, shape.columnList())
		}
		targets[i] = scanTarget(reflect.NewAt(field.typ, fieldPointer(v, field)).Elem())
	}
	return targets, nil
}

// scanTarget returns what Scan takes to write into v.
func scanTarget(v reflect.Value) any {
	p := v.Addr().Interface()
	if _, ok := p.(sql.Scanner); ok || v.Kind() != reflect.Slice {
		return p
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		// Of []byte types, json.RawMessage for one, Scan knows only []byte.
		return v.Addr().Convert(reflect.TypeFor[*[]byte]()).Interface()
	}
	return pgtype.NewMap().SQLScanner(p)
}

// fieldPointer returns where a field of the struct v is.
func fieldPointer(v reflect.Value, field rowField) unsafe.Pointer {
	return unsafe.Add(v.Addr().UnsafePointer(), field.offset)
}

func (s *rowShape) columnList() string {
	var names []string
	for _, f := range s.fields {
		names = append(names, f.column)
	}
	return strings.Join(names, ", ")
}
