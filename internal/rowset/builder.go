package rowset

import (
	"encoding/binary"
	"math/bits"

	"github.com/jackc/pgx/v5/pgconn"
)

// Builder records the rows of one result.
type Builder struct {
	columns  *Columns
	arena    []byte
	rows     int
	maxRows  int
	maxBytes int
}

// NewBuilder starts a recording of at most maxRows rows that take at most maxBytes of
// memory with their columns, not counting how the allocator rounds (up to an eighth
// more). A limit of zero admits no row.
func NewBuilder(columns *Columns, maxRows, maxBytes int) *Builder {
	return &Builder{columns: columns, maxRows: min(maxRows, maxSet), maxBytes: min(maxBytes, maxSet)}
}

// maxSet is how many rows, or bytes, a Set may have, whatever the limits say.
const maxSet = 1 << 30

// Add copies one row of raw values, nil for NULL. It reports false if the row would go
// over a limit; the row is then not part of the recording, and what was recorded before
// it still is. It also refuses a row that has not one value for each column.
func (b *Builder) Add(raw [][]byte) bool {
	if b.rows >= b.maxRows || len(raw) != len(b.columns.fields) {
		return false
	}
	length := 0
	for _, value := range raw {
		length++
		if value != nil {
			length += uvarintLen(len(value)+1) - 1 + len(value)
		}
	}
	if setSize+b.columns.size+len(b.arena)+uvarintLen(length)+length > b.maxBytes {
		return false
	}
	if b.arena == nil {
		b.arena = make([]byte, 0, max(512, 8*length)) // most results are short
	}
	arena := appendUvarint(b.arena, length)
	for _, value := range raw {
		if value == nil {
			arena = append(arena, 0)
			continue
		}
		arena = appendUvarint(arena, len(value)+1)
		arena = append(arena, value...)
	}
	b.arena = arena
	b.rows++
	return true
}

// Set is everything that was added. tag is what the server said at the end; the zero tag,
// of a result that was not read to its end, counts as a SELECT of these rows.
func (b *Builder) Set(tag pgconn.CommandTag) *Set {
	s := new(Set)
	newSet(s, b.columns, "", b.arena, b.rows, tag.String())
	return s
}

// SetUnder is Set in a place of the caller's, and with a copy of its key that lies in
// memory before the rows: who has compared the one is not far from the other.
func (b *Builder) SetUnder(key string, s *Set, tag pgconn.CommandTag) string {
	return newSet(s, b.columns, key, b.arena, b.rows, tag.String())
}

// appendUvarint is inlined for the one byte that nearly every length takes.
func appendUvarint(b []byte, n int) []byte {
	if n < 0x80 {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(b, uint64(n))
}

// uvarintLen is the length of n as a uvarint.
func uvarintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }
