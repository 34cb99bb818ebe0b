package rowset

import (
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// Set is the recorded rows of one result. It is immutable: any number of goroutines may
// replay it.
type Set struct {
	columns *Columns
	arena   []byte // the package's documentation draws it
	tag     string // "" stands for "SELECT <rows>", what nearly every result has
	rows    int
	size    int
}

// Columns describe the results of one statement. They are immutable, and all Sets of the
// statement share them: the next replay finds them in the processor's cache.
type Columns struct {
	fields  []field
	size    int         // of the heap
	texts   int         // columns whose bytes are the text
	numbers int         // columns whose bytes are a number
	times   int         // columns whose bytes are a timestamp
	weighed atomic.Bool // a Set has them in its size
}

// field is a column: what decoding and the column methods of database/sql need to know.
type field struct {
	name     string // a piece of one string with all names
	oid      uint32
	modifier int32
	format   int16
	kind     kind
	way      way
}

// NewColumns copies the descriptions, which belong to the connection.
func NewColumns(descriptions []pgconn.FieldDescription) *Columns {
	length := 0
	for i := range descriptions {
		length += len(descriptions[i].Name)
	}
	var names strings.Builder
	names.Grow(length)
	for i := range descriptions {
		names.WriteString(descriptions[i].Name)
	}
	fields := append([]field(nil), make([]field, len(descriptions))...)
	rest := names.String()
	for i := range descriptions {
		d := &descriptions[i]
		fields[i] = field{
			name:     rest[:len(d.Name)],
			oid:      d.DataTypeOID,
			modifier: d.TypeModifier,
			format:   d.Format,
			kind:     kindOf(d.DataTypeOID, d.Format),
		}
		fields[i].way = wayOf(fields[i].kind, d.Format)
		rest = rest[len(d.Name):]
	}
	size := columnsSize + cap(fields)*int(unsafe.Sizeof(field{})) + blockSize(names.Cap())
	c := &Columns{fields: fields, size: size}
	for i := range fields {
		switch fields[i].way {
		case wayText:
			c.texts++
		case wayInt2, wayInt4, wayInt8, wayFloat8:
			c.numbers++
		case wayTimestamp, wayTimestamptz:
			c.times++
		case wayPlan, wayBool:
		}
	}
	return c
}

// Describe reports whether these are the columns of the descriptions.
func (c *Columns) Describe(descriptions []pgconn.FieldDescription) bool {
	if c == nil || len(c.fields) != len(descriptions) {
		return false
	}
	for i := range descriptions {
		d, f := &descriptions[i], &c.fields[i]
		if d.Name != f.name || d.DataTypeOID != f.oid || d.TypeModifier != f.modifier || d.Format != f.format {
			return false
		}
	}
	return true
}

// newSet makes s a set. It copies arena to a place of its own, behind a copy of prefix, which is returned as
// a text. The size is that of the Set alone.
func newSet(s *Set, columns *Columns, prefix, arena []byte, rows int, tag string) (before string) {
	*s = Set{columns: columns, rows: rows}
	if tag != selectTag(rows) {
		s.tag = strings.Clone(tag)
	}
	// append rounds the capacity up to what the allocator would give anyway, which makes
	// the capacity the true size.
	block := append([]byte(nil), make([]byte, len(prefix)+len(arena))...)
	copy(block, prefix)
	copy(block[len(prefix):], arena)
	s.arena = block[len(prefix):len(block):len(block)]
	s.size = setSize + blockSize(cap(block)) - len(prefix) + blockSize((len(s.tag)+7)&^7)
	if !columns.weighed.Swap(true) {
		s.size += columns.size
	}
	return textOf(block[:len(prefix)])
}

// textOf is the bytes as a text without a copy: nobody writes into them any more.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// columnsSize is what the allocator gives for Columns.
const columnsSize = (int(unsafe.Sizeof(Columns{})) + 15) &^ 15

// setSize is what the allocator gives for a Set: the next multiple of 16.
const setSize = (int(unsafe.Sizeof(Set{})) + 15) &^ 15

// blockSize is what the allocator gives for n bytes, where n is a capacity that it chose:
// bytes of less than a block of 16 share one, but with what does not live as long.
func blockSize(n int) int {
	if n == 0 {
		return 0
	}
	return max(n, 16)
}

func selectTag(rows int) string { return "SELECT " + strconv.Itoa(rows) }

// Len is the number of rows.
func (s *Set) Len() int { return s.rows }

// Size is what the set takes of the heap, in bytes. Columns that are shared count for the
// first Set that has them.
func (s *Set) Size() int { return s.size }

// Tag is what the server said at the end of the result.
func (s *Set) Tag() pgconn.CommandTag {
	if s.tag == "" {
		return pgconn.NewCommandTag(selectTag(s.rows))
	}
	return pgconn.NewCommandTag(s.tag)
}
