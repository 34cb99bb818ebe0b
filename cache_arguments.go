package lifeguard

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
)

// inOrder puts the values of named arguments in the text's order, if somebody has to know
// what is sent. A prepared text has no names.
func (c *Conn) inOrder(ctx context.Context, x *call) error {
	if len(x.args) == 0 || isPlain(x.args[0].Value) || x.prepared || c.core.guarding() == nil {
		return nil
	}
	text, values, err := namedToOrdinal(ctx, x.query, x.args)
	if err != nil {
		return err
	}
	if text != x.query {
		_, x.known = c.statement(text)
	}
	x.query, x.args = text, values
	return nil
}

// namedToOrdinal does at once what pgx would do with pgx.NamedArgs and
// pgx.StrictNamedArgs (and with pgx.StructArgs, which makes them): it puts the names'
// values in the text's order. So the text that is looked at is the one that is sent. Any
// other rewriter is left alone: it is given the connection, and may do anything.
func namedToOrdinal(ctx context.Context, query string, args []driver.NamedValue) (string, []driver.NamedValue, error) {
	var names pgx.QueryRewriter
	var ordinal []driver.NamedValue // the options, then the values
options:
	for i := range args {
		switch v := args[i].Value.(type) {
		case pgx.NamedArgs:
			names = v
		case pgx.StrictNamedArgs:
			names = v
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			ordinal = append(ordinal, args[i])
		case pgx.QueryRewriter:
			return query, args, nil
		default:
			break options // pgx looks no further
		}
	}
	if names == nil {
		return query, args, nil
	}
	text, values, err := names.RewriteQuery(ctx, nil, query, nil)
	if err != nil {
		return "", nil, fmt.Errorf("rewrite query failed: %w", err) // pgx's words
	}
	for _, v := range values {
		if isOption(v) {
			return query, args, nil
		}
		ordinal = append(ordinal, driver.NamedValue{Ordinal: len(ordinal) + 1, Value: v})
	}
	return text, ordinal, nil
}

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
