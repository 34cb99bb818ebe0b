package lifeguard

import (
	"database/sql/driver"
	"reflect"
	"slices"
)

// cloneArguments copies arguments with what they point to, as far as a key may have it
// (see cache.AppendArguments): a flight may encode them when its caller is gone.
func cloneArguments(args []driver.NamedValue) []driver.NamedValue {
	args = slices.Clone(args)
	for i := range args {
		args[i].Value = cloneArgument(args[i].Value)
	}
	return args
}

func cloneArgument(value any) any {
	switch v := value.(type) {
	case nil, bool, int64, int, int32, float64, string:
		return value
	case []byte:
		return slices.Clone(v)
	}
	v := reflect.ValueOf(value)
	switch v.Kind() { //nolint:exhaustive // the others are copied by assignment
	case reflect.Slice:
		if v.IsNil() {
			return value
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		return c.Interface()
	case reflect.Pointer:
		if v.IsNil() {
			return value
		}
		c := reflect.New(v.Type().Elem())
		if elem := cloneArgument(v.Elem().Interface()); elem != nil {
			c.Elem().Set(reflect.ValueOf(elem))
		}
		return c.Convert(v.Type()).Interface()
	}
	return value
}
