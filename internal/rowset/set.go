package rowset

import (
	"slices"
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
	made    *made  // nil unless it is ready
	rows    int32
	size    int32 // of the heap, without what is made
}

// Columns describe the results of one statement. They are immutable, and all Sets of the
// statement share them: the next replay finds them in the processor's cache.
type Columns struct {
	fields  []field
	size    int         // of the heap
	bytes   bool        // there may be bytes among the values
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
		switch fields[i].kind { //nolint:exhaustive // the others are no bytes
		case kindBytea, kindJSON, kindJSONB, kindXML:
			c.bytes = true
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

// Under is s with other Columns that say the same, so that all sets of a statement share
// them; nil if they do not.
func (s *Set) Under(c *Columns) *Set {
	if c == nil || !slices.Equal(s.columns.fields, c.fields) {
		return nil
	}
	shared := *s
	shared.columns = c
	shared.size -= int32(s.columns.size) //nolint:gosec // of its own, which it was weighed with
	return &shared
}

// newSet makes s a set, with a copy of the arena. The size is that of the Set alone. The key is
// one that lies before the arena.
func newSet(s *Set, columns *Columns, key string, arena []byte, rows int, tag string) string {
	*s = Set{columns: columns, rows: int32(rows)} //nolint:gosec // see maxSet
	if tag != selectTag(rows) {
		s.tag = strings.Clone(tag)
	}
	var block int
	key, s.arena, block = place(key, arena)
	size := setSize + block - len(key) + blockSize((len(s.tag)+7)&^7)
	if !columns.weighed.Swap(true) {
		size += columns.size
	}
	s.size = int32(size) //nolint:gosec // as above
	return key
}

// place copies an arena to a place of its own behind a copy of a key. It tells the size of both.
func place(key string, arena []byte) (string, []byte, int) {
	// append rounds the capacity up to what the allocator would give anyway, which makes
	// the capacity the true size.
	block := append([]byte(nil), make([]byte, len(key)+len(arena))...)
	copy(block, key)
	copy(block[len(key):], arena)
	return textOf(block[:len(key)]), block[len(key):len(block):len(block)], blockSize(cap(block))
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
func (s *Set) Len() int { return int(s.rows) }

// Size is what the set takes of the heap, in bytes. Columns that are shared count for the
// first Set that has them.
func (s *Set) Size() int {
	if s.made != nil {
		return int(s.size) + s.made.size
	}
	return int(s.size)
}

// Tag is what the server said at the end of the result.
func (s *Set) Tag() pgconn.CommandTag {
	if s.tag == "" {
		return pgconn.NewCommandTag(selectTag(s.Len()))
	}
	return pgconn.NewCommandTag(s.tag)
}
