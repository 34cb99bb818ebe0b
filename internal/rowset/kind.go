package rowset

import (
	"github.com/jackc/pgx/v5/pgtype"
)

// kind is how stdlib turns a column into a driver.Value.
type kind uint8

const (
	kindString  kind = iota // the bytes are the string
	kindPlanned             // a string, through a plan: a binary format that was asked for
	kindBool
	kindBytea
	kindCID
	kindDate
	kindFloat4
	kindFloat8
	kindInt2
	kindInt4
	kindInt8
	kindJSON
	kindJSONB
	kindOID
	kindTimestamp
	kindTimestamptz
	kindXID
	kindXML
	kinds
)

func kindOf(oid uint32, format int16) kind {
	switch oid {
	case pgtype.BoolOID:
		return kindBool
	case pgtype.ByteaOID:
		return kindBytea
	case pgtype.CIDOID:
		return kindCID
	case pgtype.DateOID:
		return kindDate
	case pgtype.Float4OID:
		return kindFloat4
	case pgtype.Float8OID:
		return kindFloat8
	case pgtype.Int2OID:
		return kindInt2
	case pgtype.Int4OID:
		return kindInt4
	case pgtype.Int8OID:
		return kindInt8
	case pgtype.JSONOID:
		return kindJSON
	case pgtype.JSONBOID:
		return kindJSONB
	case pgtype.OIDOID:
		return kindOID
	case pgtype.TimestampOID:
		return kindTimestamp
	case pgtype.TimestamptzOID:
		return kindTimestamptz
	case pgtype.XIDOID:
		return kindXID
	case pgtype.XMLOID:
		return kindXML
	}
	// A text reads into a string as it is, before any type is asked.
	isText := oid == pgtype.TextOID || oid == pgtype.VarcharOID
	if format == pgtype.TextFormatCode || format == pgtype.BinaryFormatCode && isText {
		return kindString
	}
	return kindPlanned
}

// way is how a column is decoded without a plan of pgx, from the one format in which it
// usually comes.
type way uint8

const (
	wayPlan way = iota // not at all
	wayText            // the bytes are the text
	wayBool
	wayInt2
	wayInt4
	wayInt8
	wayFloat8
	wayTimestamp
	wayTimestamptz
)

func wayOf(k kind, format int16) way {
	if k == kindString {
		return wayText
	}
	if format != pgtype.BinaryFormatCode {
		return wayPlan
	}
	switch k { //nolint:exhaustive // the others need a plan
	case kindBool:
		return wayBool
	case kindInt2:
		return wayInt2
	case kindInt4:
		return wayInt4
	case kindInt8:
		return wayInt8
	case kindFloat8:
		return wayFloat8
	case kindTimestamp:
		return wayTimestamp
	case kindTimestamptz:
		return wayTimestamptz
	}
	return wayPlan
}

// Formats are the result formats that stdlib asks for, by type: what is not in it comes
// as text. Who records a result must ask for these, as a pgx.QueryResultFormatsByOID
// before the arguments: pgx reads only some of the binary formats into the strings that
// stdlib makes of most types.
func Formats() map[uint32]int16 {
	return map[uint32]int16{
		pgtype.BoolOID:        pgtype.BinaryFormatCode,
		pgtype.ByteaOID:       pgtype.BinaryFormatCode,
		pgtype.CIDOID:         pgtype.BinaryFormatCode,
		pgtype.DateOID:        pgtype.BinaryFormatCode,
		pgtype.Float4OID:      pgtype.BinaryFormatCode,
		pgtype.Float8OID:      pgtype.BinaryFormatCode,
		pgtype.Int2OID:        pgtype.BinaryFormatCode,
		pgtype.Int4OID:        pgtype.BinaryFormatCode,
		pgtype.Int8OID:        pgtype.BinaryFormatCode,
		pgtype.OIDOID:         pgtype.BinaryFormatCode,
		pgtype.TimestampOID:   pgtype.BinaryFormatCode,
		pgtype.TimestamptzOID: pgtype.BinaryFormatCode,
		pgtype.XIDOID:         pgtype.BinaryFormatCode,
	}
}
