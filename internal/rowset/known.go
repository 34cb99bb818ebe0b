package rowset

import (
	"reflect"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Known reports whether a default type map decodes these columns as m does, which is the
// map of the connection: whether a recording may be replayed without the connection. A
// type that was registered on the connection, in AfterConnect for example, is not known;
// an enum or a domain that nobody registered is.
//
// One difference is left, with Go 1.27 and a NULL only: for a NULL that no plan can scan
// into its destination, pgx tries the types that the map has, in random order. So a NULL
// of a known type may scan into a composite that only a registered type can fill, and
// not in a replay, where it is an error.
func Known(m *pgtype.Map, fields []pgconn.FieldDescription) bool {
	plain := plainMap()
	if !slices.EqualFunc(m.TryWrapScanPlanFuncs, plain.TryWrapScanPlanFuncs, sameFunc) {
		return false
	}
	for i := range fields {
		if !knownType(m, plain, fields[i].DataTypeOID) {
			return false
		}
	}
	return true
}

// Sends reports whether a connection encodes arguments of a type as the default map does.
func Sends(m *pgtype.Map, oid uint32) bool {
	plain := plainMap()
	return knownType(m, plain, oid) && slices.EqualFunc(m.TryWrapEncodePlanFuncs, plain.TryWrapEncodePlanFuncs,
		func(a, b pgtype.TryWrapEncodePlanFunc) bool {
			return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
		})
}

// plainMap is a default map to compare with. Nobody plans with it, so many may look at once.
//
//nolint:gochecknoglobals // a constant
var plainMap = sync.OnceValue(pgtype.NewMap)

// knownType compares identities, which is enough: a map that has no type of its own for
// an OID answers with the shared one.
func knownType(m, plain *pgtype.Map, oid uint32) bool {
	own, ok := m.TypeForOID(oid)
	shared, _ := plain.TypeForOID(oid)
	if own != shared {
		return false
	}
	if !ok {
		return !registersGoTypes(m)
	}
	// These look their elements up in the map.
	switch codec := own.Codec.(type) {
	case *pgtype.ArrayCodec:
		return knownType(m, plain, codec.ElementType.OID)
	case *pgtype.RangeCodec:
		return knownType(m, plain, codec.ElementType.OID)
	case *pgtype.MultirangeCodec:
		return knownType(m, plain, codec.ElementType.OID)
	}
	return true
}

// registersGoTypes reports whether Map.RegisterDefaultPgType was called: then the Go
// type of the destination may decide how a value of an unknown type is read. pgx offers
// no question for it; if the field is gone one day, the answer is yes.
func registersGoTypes(m *pgtype.Map) bool {
	names := reflect.ValueOf(m).Elem().FieldByName("reflectTypeToName")
	return names.Kind() != reflect.Map || names.Len() > 0
}

func sameFunc(a, b pgtype.TryWrapScanPlanFunc) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
