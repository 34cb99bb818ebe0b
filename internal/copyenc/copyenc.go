// Package copyenc writes the payload of COPY … FROM STDIN: the fields of rows in
// PostgreSQL's binary format, and the escaping of its text format. It knows bytes only:
// which function fits a column is its caller's business.
//
// A field is four bytes of length and the value; the Append functions write both to the
// end of buf and return it, as append does. They do not allocate but for growing buf.
package copyenc

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

const (
	// Header begins a payload in the binary format: signature, flags, no extension.
	Header = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// Trailer ends a payload in the binary format.
	Trailer = "\xff\xff"
)

// ErrRange reports a value that the column's type cannot hold. It says nothing more,
// for values do not belong into messages.
var ErrRange = errors.New("value out of range")

// ErrSyntax reports a text that is no value of the column's type.
var ErrSyntax = errors.New("text is not a value of the type")

// AppendRow begins a row of n fields.
func AppendRow(buf []byte, n int) []byte {
	return binary.BigEndian.AppendUint16(buf, uint16(n))
}

// AppendNull writes NULL.
func AppendNull(buf []byte) []byte { return append(buf, 0xff, 0xff, 0xff, 0xff) }

// AppendBool writes a bool.
func AppendBool(buf []byte, v bool) []byte {
	if v {
		return append(buf, 0, 0, 0, 1, 1)
	}
	return append(buf, 0, 0, 0, 1, 0)
}

// AppendInt16 writes an int2.
func AppendInt16(buf []byte, v int16) []byte {
	return append(buf, 0, 0, 0, 2, byte(v>>8), byte(v))
}

// AppendInt32 writes an int4.
func AppendInt32(buf []byte, v int32) []byte {
	return append(buf, 0, 0, 0, 4, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// AppendInt64 writes an int8.
func AppendInt64(buf []byte, v int64) []byte {
	return append(buf, 0, 0, 0, 8,
		byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// AppendFloat32 writes a float4.
func AppendFloat32(buf []byte, v float32) []byte {
	return AppendInt32(buf, int32(math.Float32bits(v)))
}

// AppendFloat64 writes a float8.
func AppendFloat64(buf []byte, v float64) []byte {
	return AppendInt64(buf, int64(math.Float64bits(v)))
}

// AppendString writes a value whose binary form is its text: text, varchar, json, enums.
func AppendString(buf []byte, v string) []byte {
	return append(appendLen(buf, len(v)), v...)
}

// AppendBytes writes a bytea, or a text given as bytes.
func AppendBytes(buf, v []byte) []byte {
	return append(appendLen(buf, len(v)), v...)
}

// AppendJSONB writes a jsonb, which is a version and the text.
func AppendJSONB[S ~string | ~[]byte](buf []byte, v S) []byte {
	return append(append(appendLen(buf, len(v)+1), 1), v...)
}

// AppendUUID writes a uuid.
func AppendUUID(buf []byte, v *[16]byte) []byte {
	return append(append(buf, 0, 0, 0, 16), v[:]...)
}

func appendLen(buf []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(buf, uint32(n))
}

// SetLen writes the length of a field whose four bytes of length are at start and whose
// value is the rest of buf.
func SetLen(buf []byte, start int) error {
	n := len(buf) - start - 4
	if n > math.MaxInt32 {
		return ErrRange
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(n))
	return nil
}

// PostgreSQL counts from 2000-01-01, and holds 4713 BC to AD 294276.
const (
	epoch        = 946684800 // 2000-01-01 as Unix time
	minTimestamp = -210866803200
	endTimestamp = 9224318016000
	day          = 86400
	minDate      = -2451545
	endDate      = 2145031949
)

// AppendTimestamptz writes the instant t in microseconds, the rest cut off.
func AppendTimestamptz(buf []byte, t time.Time) ([]byte, error) {
	return appendMicros(buf, t.Unix(), t.Nanosecond())
}

// AppendTimestamp writes what t's clock shows in t's location, in microseconds, the rest
// cut off.
func AppendTimestamp(buf []byte, t time.Time) ([]byte, error) {
	_, offset := t.Zone()
	return appendMicros(buf, t.Unix()+int64(offset), t.Nanosecond())
}

func appendMicros(buf []byte, unix int64, nanos int) ([]byte, error) {
	if unix < minTimestamp || unix >= endTimestamp {
		return buf, ErrRange
	}
	return AppendInt64(buf, (unix-epoch)*1_000_000+int64(nanos/1000)), nil
}

// AppendDate writes the day that t's calendar shows in t's location.
func AppendDate(buf []byte, t time.Time) ([]byte, error) {
	_, offset := t.Zone()
	secs := t.Unix() + int64(offset) - epoch
	days := secs / day
	if secs%day < 0 {
		days--
	}
	if days < minDate || days >= endDate {
		return buf, ErrRange
	}
	return AppendInt32(buf, int32(days)), nil
}

// AppendUUIDText writes a uuid given as 32 hexadecimal digits, with or without hyphens.
func AppendUUIDText(buf []byte, s string) ([]byte, error) {
	var id [16]byte
	n := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		case c == '-' && n > 0 && n%4 == 0:
			continue
		default:
			return buf, ErrSyntax
		}
		if n == 32 {
			return buf, ErrSyntax
		}
		id[n/2] = id[n/2]<<4 | c
		n++
	}
	if n != 32 {
		return buf, ErrSyntax
	}
	return AppendUUID(buf, &id), nil
}

// AppendText writes a field of the text format, escaped. The separators between fields
// and the newline after a row are the caller's, and so is NULL, which is \N.
func AppendText[S ~string | ~[]byte](buf []byte, v S) []byte {
	done := 0
	for i := range len(v) {
		var as byte
		switch v[i] {
		case '\\':
			as = '\\'
		case '\n':
			as = 'n'
		case '\r':
			as = 'r'
		case '\t':
			as = 't'
		default:
			continue
		}
		buf = append(buf, v[done:i]...)
		buf = append(buf, '\\', as)
		done = i + 1
	}
	return append(buf, v[done:]...)
}
