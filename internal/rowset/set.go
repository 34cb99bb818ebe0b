package rowset

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// Set is the recorded rows of one result. It is immutable: any number of goroutines may
// replay it.
type Set struct {
	fields []field
	arena  []byte // the package's documentation draws it
	tag    string // "" stands for "SELECT <rows>", what nearly every result has
	rows   int
	size   int
}

// field is a column: what decoding and the column methods of database/sql need to know.
type field struct {
	name     string // a piece of one string with all names
	oid      uint32
	modifier int32
	format   int16
	kind     kind
}

// newFields copies the descriptions, which belong to the connection. The second result
// is what the copy takes of the heap.
func newFields(descriptions []pgconn.FieldDescription) ([]field, int) {
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
		rest = rest[len(d.Name):]
	}
	return fields, cap(fields)*int(unsafe.Sizeof(field{})) + blockSize(names.Cap())
}

// newSet copies arena to a place of its own; fields take fieldsSize bytes of the heap.
func newSet(fields []field, fieldsSize int, arena []byte, rows int, tag string) *Set {
	s := &Set{fields: fields, rows: rows}
	if tag != selectTag(rows) {
		s.tag = strings.Clone(tag)
	}
	// append rounds the capacity up to what the allocator would give anyway, which makes
	// the capacity the true size.
	s.arena = append([]byte(nil), arena...)
	s.size = setSize + fieldsSize + blockSize(cap(s.arena)) + blockSize((len(s.tag)+7)&^7)
	return s
}

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

// Size is what the set takes of the heap, in bytes.
func (s *Set) Size() int { return s.size }

// Tag is what the server said at the end of the result.
func (s *Set) Tag() pgconn.CommandTag {
	if s.tag == "" {
		return pgconn.NewCommandTag(selectTag(s.rows))
	}
	return pgconn.NewCommandTag(s.tag)
}
