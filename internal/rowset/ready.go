package rowset

import (
	"bytes"
	"database/sql/driver"
	"io"
	"math"
	"time"
)

// Ready puts a Set of the same rows, with their values made, in a place of the caller's: a
// replay of it copies two words for each value, and allocates nothing but for bytes.
// Numbers, texts and times cannot be changed, so all replays share them. It is for results
// that are replayed often: it takes three to five times the memory, which the garbage
// collector has to follow, too. The two Sets share the arena.
//
// It reports false if a value cannot be decoded: that is an error of each replay.
func (s *Set) Ready(ready *Set, maps *Maps) bool {
	rows := s.Rows(maps)
	defer rows.Close()
	rows.lasting = true
	n := len(s.columns.fields)
	values := append([]driver.Value(nil), make([]driver.Value, n*s.Len())...) // see newSet
	size := madeSize + cap(values)*valueSize
	for at := 0; at < len(values); at += n {
		if err := rows.Next(values[at : at+n]); err != nil {
			return false
		}
	}
	for _, v := range values {
		size += boxSize(v)
	}
	size += rows.workspace().texts.size
	*ready = *s
	ready.made = &made{values: values, size: size}
	return true
}

// made is what a Set has beside its arena if it is ready.
type made struct {
	values []driver.Value // of all rows
	size   int            // of the heap, with this struct
}

// IsReady reports whether the values are made.
func (s *Set) IsReady() bool { return s.made != nil }

// Values is how many there are, of all rows.
func (s *Set) Values() int { return s.Len() * len(s.columns.fields) }

const (
	valueSize = 16 // of an interface
	sliceSize = 24
	madeSize  = 32
)

// boxSize is what an interface's value takes of the heap, beside the bytes of a text: none
// if it is one of those that the runtime has once for all.
func boxSize(v driver.Value) int {
	switch v := v.(type) {
	case int64:
		return wordSize(uint64(v)) //nolint:gosec // the same bits
	case float64:
		return wordSize(math.Float64bits(v))
	case string:
		return 16
	case time.Time:
		return 24
	case []byte:
		return sliceSize + blockSize(cap(v))
	}
	return 0
}

func wordSize(bits uint64) int {
	if bits < 256 {
		return 0
	}
	return 8
}

// nextReady copies the values of the next row.
func (r *Rows) nextReady(dest []driver.Value) error {
	if r.closed || r.passed == r.set.rows {
		return io.EOF
	}
	r.passed++
	copy(dest, r.ready())
	if r.set.columns.bytes {
		for i, v := range dest {
			dest[i] = owned(v)
		}
	}
	return nil
}

// ready is the values of the current row.
func (r *Rows) ready() []driver.Value {
	n, passed := len(r.set.columns.fields), int(r.passed)
	return r.set.made.values[(passed-1)*n : passed*n]
}

// owned is a value that the caller may change.
func owned(v driver.Value) driver.Value {
	if b, ok := v.([]byte); ok {
		return bytes.Clone(b)
	}
	return v
}

// texts copies texts of several rows into pieces that they share. Each stays as long as one
// of its texts is kept, so they are small.
type texts struct {
	piece []byte
	size  int // of all pieces
}

// maxShared is how large an arena, or else a copy of texts, may be for texts to point
// into it: each that the application has makes all of it stay in memory.
const maxShared = 1 << 10

func (t *texts) copyOf(src []byte) string {
	if len(src) > maxShared/4 {
		t.size += blockSize(len(src))
		return string(src)
	}
	if cap(t.piece)-len(t.piece) < len(src) {
		t.piece = make([]byte, 0, maxShared)
		t.size += maxShared
	}
	from := len(t.piece)
	t.piece = append(t.piece, src...)
	return textOf(t.piece[from:])
}
