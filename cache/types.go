package cache

import (
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgtype"
)

// argumentType is what a key has to know of a Go type. Types are told apart by identity
// and not by name: two packages may have a type, or a slice of one, of the same name.
type argumentType struct {
	number  uint64
	encodes bool
}

//nolint:gochecknoglobals // facts about Go types, which are the same for everybody
var (
	argumentTypes sync.Map // from reflect.Type to *argumentType
	lastType      atomic.Uint64
)

func typeOf(t reflect.Type) *argumentType {
	if known, ok := argumentTypes.Load(t); ok {
		return known.(*argumentType) //nolint:errcheck,forcetypeassert // nothing else is in there
	}
	known, _ := argumentTypes.LoadOrStore(t, &argumentType{number: lastType.Add(1), encodes: Encodes(t)})
	return known.(*argumentType) //nolint:errcheck,forcetypeassert // as above
}

// encoders are the interfaces by which a value tells pgx what to send. Whoever implements
// one may say something else each time, the time of day for instance.
//
//nolint:gochecknoglobals // a constant
var encoders = []reflect.Type{
	reflect.TypeFor[pgtype.ArrayGetter](), reflect.TypeFor[pgtype.BitsValuer](), reflect.TypeFor[pgtype.BoolValuer](),
	reflect.TypeFor[pgtype.BoxValuer](), reflect.TypeFor[pgtype.BytesValuer](), reflect.TypeFor[pgtype.CircleValuer](),
	reflect.TypeFor[pgtype.CompositeIndexGetter](), reflect.TypeFor[pgtype.DateValuer](), reflect.TypeFor[pgtype.Float64Valuer](),
	reflect.TypeFor[pgtype.HstoreValuer](), reflect.TypeFor[pgtype.NetipPrefixValuer](), reflect.TypeFor[pgtype.Int64Valuer](),
	reflect.TypeFor[pgtype.IntervalValuer](), reflect.TypeFor[pgtype.LineValuer](), reflect.TypeFor[pgtype.LsegValuer](),
	reflect.TypeFor[pgtype.MultirangeGetter](), reflect.TypeFor[pgtype.NumericValuer](), reflect.TypeFor[pgtype.PathValuer](),
	reflect.TypeFor[pgtype.PointValuer](), reflect.TypeFor[pgtype.PolygonValuer](), reflect.TypeFor[pgtype.RangeValuer](),
	reflect.TypeFor[pgtype.TextValuer](), reflect.TypeFor[pgtype.TIDValuer](), reflect.TypeFor[pgtype.TimeValuer](),
	reflect.TypeFor[pgtype.TimestampValuer](), reflect.TypeFor[pgtype.TimestamptzValuer](), reflect.TypeFor[pgtype.TSVectorValuer](),
	reflect.TypeFor[pgtype.Uint32Valuer](), reflect.TypeFor[pgtype.Uint64Valuer](), reflect.TypeFor[pgtype.UUIDValuer](),
	reflect.TypeFor[json.Marshaler](),
}

// asks are the interfaces of values that are asked for what to send where they are
// arguments themselves (see the caller's key), and not where they are within one.
//
//nolint:gochecknoglobals // a constant
var asks = []reflect.Type{reflect.TypeFor[driver.Valuer](), reflect.TypeFor[fmt.Stringer]()}

// honest are the packages whose types say what they hold.
//
//nolint:gochecknoglobals // a constant
var honest = []string{
	"github.com/jackc/pgx/v5/pgtype", "time", "net", "net/netip", "database/sql", "encoding/json",
	"github.com/google/uuid", "github.com/gofrs/uuid", "github.com/gofrs/uuid/v5", "github.com/shopspring/decimal",
}

// Encodes reports whether a type, or one that its values hold, implements an interface by
// which pgx asks a value what to send. A driver.Valuer or a fmt.Stringer does not count if
// it is the argument itself. The types of pgx itself, of the standard library, and of the
// libraries that everybody uses for UUIDs and decimals do not count: they say what they hold.
func Encodes(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		return tells(t, false) || encodesWithin(t.Elem(), false, 1)
	}
	return encodesWithin(t, false, 0)
}

// tells reports whether a value of this very type may say something else than it holds.
func tells(t reflect.Type, nested bool) bool {
	from := t
	if t.Kind() == reflect.Pointer {
		from = t.Elem()
	}
	if slices.Contains(honest, from.PkgPath()) {
		return false
	}
	return slices.ContainsFunc(encoders, t.Implements) || nested && slices.ContainsFunc(asks, t.Implements) ||
		t.Implements(textMarshaler) && (nested || !t.Implements(asks[0]))
}

// maxDepth is how deep types may be nested; those that contain themselves end there.
const maxDepth = 8

func encodesWithin(t reflect.Type, nested bool, depth int) bool {
	if depth > maxDepth {
		return true
	}
	if tells(t, nested) {
		return true
	}
	switch t.Kind() { //nolint:exhaustive // the others hold no other type
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return encodesWithin(t.Elem(), true, depth+1)
	case reflect.Struct:
		for i := range t.NumField() {
			if encodesWithin(t.Field(i).Type, true, depth+1) {
				return true
			}
		}
	}
	return false
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]() //nolint:gochecknoglobals // a constant
