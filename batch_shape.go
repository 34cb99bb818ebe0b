package lifeguard

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// rowShape is how rows of a Go type are taken apart, before the table is known.
type rowShape struct {
	typ     reflect.Type // of T
	pointer bool         // T points to the struct
	slice   bool         // T is []any
	fields  []rowField   // of the struct
}

type rowField struct {
	column  string
	typ     reflect.Type
	offset  uintptr
	omitted bool // tagged ,default
}

var errNilRow = errors.New("lifeguard: the row is nil")

// shapeOf takes T apart.
func shapeOf(t reflect.Type, columns []string) (*rowShape, error) {
	s := &rowShape{typ: t}
	if t == reflect.TypeFor[[]any]() {
		if len(columns) == 0 {
			return nil, errors.New("lifeguard: rows of []any need BatchConfig.Columns")
		}
		s.slice = true
		return s, nil
	}
	structType := t
	if t.Kind() == reflect.Pointer {
		s.pointer, structType = true, t.Elem()
	}
	if structType.Kind() != reflect.Struct {
		return nil, fmt.Errorf("lifeguard: a row is a struct, a pointer to one, or []any, not %v", t)
	}
	if err := s.addFields(structType, 0); err != nil {
		return nil, err
	}
	if len(s.fields) == 0 {
		return nil, fmt.Errorf("lifeguard: %v has no fields that are columns", t)
	}
	return s, nil
}

func (s *rowShape) addFields(t reflect.Type, base uintptr) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("db")
		name, option, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct && !isValue(f.Type) {
			if err := s.addFields(f.Type, base+f.Offset); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if option != "" && option != "default" {
			return fmt.Errorf("lifeguard: field %s.%s: the tag's option is %q; only default is known", t, f.Name, option)
		}
		if name == "" {
			name = snakeCase(f.Name)
		}
		for _, other := range s.fields {
			if other.column == name {
				return fmt.Errorf("lifeguard: %v has two fields for column %q", s.typ, name)
			}
		}
		s.fields = append(s.fields, rowField{column: name, typ: f.Type, offset: base + f.Offset, omitted: option == "default"})
	}
	return nil
}

// offered are the columns that the rows have values for.
func (s *rowShape) offered() []string {
	var names []string
	for _, f := range s.fields {
		if !f.omitted {
			names = append(names, f.column)
		}
	}
	return names
}

func (s *rowShape) field(column string) (rowField, error) {
	for _, f := range s.fields {
		if f.column == column {
			return f, nil
		}
	}
	return rowField{}, fmt.Errorf("lifeguard: %v has no field for column %q", s.typ, column)
}

// structAt returns where the struct begins, given where a T is.
func (s *rowShape) structAt(p unsafe.Pointer) (unsafe.Pointer, error) {
	if !s.pointer {
		return p, nil
	}
	p = *(*unsafe.Pointer)(p)
	if p == nil {
		return nil, errNilRow
	}
	return p, nil
}

// encode appends one row's fields by the plan's columns, which have the shape's fields'
// offsets, or are those of []any in order.
func (s *rowShape) encode(buf []byte, columns []columnEncoder, p unsafe.Pointer, separator bool) ([]byte, error) {
	var values []any
	var err error
	if s.slice {
		values = *(*[]any)(p)
		if len(values) != len(columns) {
			return buf, fmt.Errorf("lifeguard: the row has %d values for %d columns", len(values), len(columns))
		}
	} else if p, err = s.structAt(p); err != nil {
		return buf, err
	}
	for i := range columns {
		c := &columns[i]
		if separator && i > 0 {
			buf = append(buf, '\t')
		}
		if s.slice {
			buf, err = c.any.append(buf, values[i])
		} else {
			buf, err = c.append(buf, unsafe.Add(p, c.offset))
		}
		if err != nil {
			return buf, &ColumnError{Column: c.column.name, PgType: c.column.typname, GoType: c.goType(values, i), Err: err}
		}
	}
	return buf, nil
}
