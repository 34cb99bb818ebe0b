package rowset

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Columns implements driver.Rows. database/sql asks for it at the first row, and hands the
// slice to the application, which may write into it; so it is these Rows' own, always the
// same, and usually a part of them.
func (r *Rows) Columns() []string {
	fields := r.set.columns.fields
	names := r.few[:]
	if len(fields) > len(names) {
		if r.many == nil {
			r.many = new([]string)
			*r.many = make([]string, len(fields))
		}
		names = *r.many
	}
	names = names[:len(fields):len(fields)]
	if !r.named {
		for i := range fields {
			names[i] = fields[i].name
		}
		r.named = true
	}
	return names
}

// ColumnTypeDatabaseTypeName is the type's name in upper case, or its OID if pgx does
// not know the type.
func (r *Rows) ColumnTypeDatabaseTypeName(index int) string {
	oid := r.set.columns.fields[index].oid
	if t, ok := r.workspace().types.TypeForOID(oid); ok {
		return strings.ToUpper(t.Name)
	}
	return strconv.FormatUint(uint64(oid), 10)
}

// headerSize is by how much the type modifier of a varying type exceeds its length.
const headerSize = 4

// ColumnTypeLength is the greatest length, of the types that vary in length.
func (r *Rows) ColumnTypeLength(index int) (length int64, ok bool) {
	f := &r.set.columns.fields[index]
	switch f.oid {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return int64(f.modifier - headerSize), true
	case pgtype.VarbitOID:
		return int64(f.modifier), true
	}
	return 0, false
}

// ColumnTypePrecisionScale are those of a numeric.
func (r *Rows) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	f := &r.set.columns.fields[index]
	if f.oid != pgtype.NumericOID {
		return 0, 0, false
	}
	packed := f.modifier - headerSize
	return int64(packed >> 16 & 0xffff), int64(packed & 0xffff), true
}

// ColumnTypeScanType is the Go type that stdlib proposes to scan into.
func (r *Rows) ColumnTypeScanType(index int) reflect.Type {
	switch r.set.columns.fields[index].oid {
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int8OID:
		return reflect.TypeFor[int64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Float8OID, pgtype.NumericOID:
		return reflect.TypeFor[float64]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	case pgtype.ByteaOID:
		return reflect.TypeFor[[]byte]()
	}
	return reflect.TypeFor[string]()
}
