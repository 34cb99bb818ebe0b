package cache

import (
	"encoding/json"
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

// Encodes reports whether a type, or one that its values hold, implements an interface by
// which pgx asks a value what to send, other than driver.Valuer and fmt.Stringer. The
// types of pgx itself and of the standard library do not count: they say what they hold.
func Encodes(t reflect.Type) bool { return encodesWithin(t, 0) }

// maxDepth is how deep types may be nested; those that contain themselves end there.
const maxDepth = 8

func encodesWithin(t reflect.Type, depth int) bool {
	if depth > maxDepth {
		return true
	}
	switch t.PkgPath() {
	case "github.com/jackc/pgx/v5/pgtype", "time", "net/netip", "database/sql":
	default:
		if slices.ContainsFunc(encoders, t.Implements) {
			return true
		}
	}
	switch t.Kind() { //nolint:exhaustive // the others hold no other type
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return encodesWithin(t.Elem(), depth+1)
	case reflect.Struct:
		for i := range t.NumField() {
			if encodesWithin(t.Field(i).Type, depth+1) {
				return true
			}
		}
	}
	return false
}
