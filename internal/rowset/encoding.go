package rowset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// version is the first byte of an encoded set. A change of the encoding, or of what the
// bytes mean, takes the next number: processes of two versions may share one store.
const version = 1

// AppendBinary appends the encoded set to b:
//
//	byte(version)
//	uvarint(rows)
//	string(tag)                                      empty for "SELECT <rows>"
//	uvarint(columns) { string(name) oid:4 modifier:4 format:1 }*
//	string(arena)
//
// where a string is uvarint(length) byte*, and numbers are big endian.
func (s *Set) AppendBinary(b []byte) []byte {
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(s.Len()))
	b = appendString(b, s.tag)
	b = binary.AppendUvarint(b, uint64(len(s.columns.fields)))
	for i := range s.columns.fields {
		f := &s.columns.fields[i]
		b = appendString(b, f.name)
		b = binary.BigEndian.AppendUint32(b, f.oid)
		b = binary.BigEndian.AppendUint32(b, uint32(f.modifier))
		b = append(b, byte(f.format))
	}
	return appendString(b, s.arena)
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Parse is the inverse of AppendBinary. It keeps nothing of b. It checks everything that
// a replay relies on, so that no content of b makes Rows panic or go on for ever; the
// values themselves are checked when they are decoded.
func Parse(b []byte) (*Set, error) {
	if len(b) == 0 || b[0] != version {
		return nil, fmt.Errorf("rowset: not an encoded set of version %d", version)
	}
	p := parser{rest: b[1:]}
	rows := p.number(maxSet)
	tag := string(p.bytes())
	fields := make([]pgconn.FieldDescription, p.number(len(p.rest)/fieldLen))
	for i := range fields {
		fields[i] = pgconn.FieldDescription{
			Name:         string(p.bytes()),
			DataTypeOID:  p.uint32(),
			TypeModifier: int32(p.uint32()),
			Format:       int16(p.number(pgtype.BinaryFormatCode)),
		}
	}
	arena := p.bytes()
	if p.failed || len(p.rest) > 0 || len(arena) > maxSet {
		return nil, errors.New("rowset: an encoded set is cut off, or has bytes too many")
	}
	if err := checkArena(arena, rows, len(fields)); err != nil {
		return nil, err
	}
	if tag == "" {
		tag = selectTag(rows)
	}
	s := new(Set)
	newSet(s, NewColumns(fields), "", arena, rows, tag)
	return s, nil
}

// fieldLen is the least length of an encoded column.
const fieldLen = 1 + 4 + 4 + 1

func checkArena(arena []byte, rows, columns int) error {
	all := parser{rest: arena}
	for n := range rows {
		if len(all.rest) == 0 {
			return fmt.Errorf("rowset: an encoded set has %d rows and says %d", n, rows)
		}
		row := parser{rest: all.bytes()}
		for range columns {
			row.value()
		}
		if all.failed || row.failed || len(row.rest) > 0 {
			return fmt.Errorf("rowset: row %d of an encoded set is not %d values", n, columns)
		}
	}
	if len(all.rest) > 0 {
		return fmt.Errorf("rowset: an encoded set has more rows than the %d it says", rows)
	}
	return nil
}

// parser reads from the front of rest. Once failed, it gives zeros.
type parser struct {
	rest   []byte
	failed bool
}

// number reads a number that is at most limit.
func (p *parser) number(limit int) int {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 || v > uint64(limit) {
		p.fail()
		return 0
	}
	p.rest = p.rest[n:]
	return int(v)
}

func (p *parser) bytes() []byte {
	return p.take(p.number(len(p.rest)))
}

func (p *parser) value() {
	if n := p.number(math.MaxInt); n > 0 {
		p.take(n - 1)
	}
}

func (p *parser) uint32() uint32 {
	b := p.take(4)
	if p.failed {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (p *parser) take(n int) []byte {
	if p.failed || n > len(p.rest) {
		p.fail()
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) fail() { p.failed, p.rest = true, nil }
