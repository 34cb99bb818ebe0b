package lifeguard

import (
	"io"
	"slices"
	"sync"
	"time"
	"unsafe"
)

// chunk is what one transaction writes, unless rows of it are refused. It has one owner
// at a time: the batch's lock while it is filled, then a worker.
type chunk struct {
	first int64    // index of its first row
	buf   []byte   // header and rows; the trailer is added by what reads it
	ends  []uint32 // where each row ends in buf; MaxBytes is at most 1 GiB
	start int      // where the first begins

	kept     any // *[]T, for OnRowError
	keptSize int
	counted  int     // of size, in PendingBytes
	args     [][]any // instead of buf on another driver's *sql.DB

	timer *time.Timer // flushes the chunk when FlushInterval has passed
	watch flushWatch
}

func (c *chunk) rows() int {
	if c.args != nil {
		return len(c.args)
	}
	return len(c.ends)
}

// size is what the chunk counts against MaxPendingBytes.
func (c *chunk) size() int { return len(c.buf) + c.keptSize }

// keepRow remembers a row for OnRowError.
func keepRow[T any](c *chunk, row T) {
	rows, _ := c.kept.(*[]T)
	if rows == nil {
		rows = new([]T)
		c.kept = rows
	}
	*rows = append(*rows, row)
	c.keptSize += int(unsafe.Sizeof(row))
}

// row returns the bytes of one row.
func (c *chunk) row(i int) []byte {
	begin := c.start
	if i > 0 {
		begin = int(c.ends[i-1])
	}
	return c.buf[begin:c.ends[i]]
}

// bytes returns the rows of a span, which lie side by side.
func (c *chunk) bytes(s span) []byte {
	begin := c.start
	if s.from > 0 {
		begin = int(c.ends[s.from-1])
	}
	return c.buf[begin:c.ends[s.to-1]]
}

// span is the rows from ≤ i < to of a chunk; never empty.
type span struct{ from, to int }

// part is some rows of a chunk, in their order: what is sent at once. It is never
// changed, only replaced.
type part []span

func whole(n int) part { return part{{0, n}} }

func (p part) rows() int {
	n := 0
	for _, s := range p {
		n += s.to - s.from
	}
	return n
}

// at returns which row of the chunk is the n-th of the part, counted from 0.
func (p part) at(n int) int {
	for _, s := range p {
		if n < s.to-s.from {
			return s.from + n
		}
		n -= s.to - s.from
	}
	return -1
}

// cut splits the part before its n-th row. Either side may be empty.
func (p part) cut(n int) (before, after part) {
	for i, s := range p {
		size := s.to - s.from
		if n >= size {
			n -= size
			continue
		}
		before = slices.Clone(p[:i])
		if n > 0 {
			before = append(before, span{s.from, s.from + n})
		}
		after = append(part{{s.from + n, s.to}}, p[i+1:]...)
		return before, after
	}
	return p, nil
}

// without leaves the n-th row out.
func (p part) without(n int) part {
	before, after := p.cut(n)
	_, after = after.cut(1)
	return append(before, after...)
}

// all calls f with each row of the part.
func (p part) all(f func(row int)) {
	for _, s := range p {
		for i := s.from; i < s.to; i++ {
			f(i)
		}
	}
}

// chunkReader hands the bytes of a part to COPY. pgconn reads it in a goroutine that may
// outlive the call of CopyFrom when the connection breaks, so the chunk is taken away
// from it by end, before anybody else may use the buffer.
type chunkReader struct {
	mu     sync.Mutex // guards the rest
	pieces [][]byte
	ended  bool
	eof    bool // everything was handed over, so that COMMIT may have been reached
}

// newChunkReader reads header, rows and trailer.
func newChunkReader(c *chunk, p part, header, trailer string) *chunkReader {
	r := &chunkReader{}
	if len(p) > 0 && p[0].from == 0 {
		header = "" // the buffer has it, before its first row
	}
	if header != "" {
		r.pieces = append(r.pieces, []byte(header))
	}
	for _, s := range p {
		rows := c.bytes(s)
		if s.from == 0 {
			rows = c.buf[:c.ends[s.to-1]]
		}
		r.pieces = append(r.pieces, rows)
	}
	if trailer != "" {
		r.pieces = append(r.pieces, []byte(trailer))
	}
	return r
}

// Read implements io.Reader. It fills b as far as there is something, for each Read
// becomes one message.
func (r *chunkReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return 0, io.ErrClosedPipe
	}
	n := 0
	for n < len(b) && len(r.pieces) > 0 {
		copied := copy(b[n:], r.pieces[0])
		n += copied
		if r.pieces[0] = r.pieces[0][copied:]; len(r.pieces[0]) == 0 {
			r.pieces = r.pieces[1:]
		}
	}
	if n == 0 {
		r.eof = true
		return 0, io.EOF
	}
	return n, nil
}

// end takes the chunk away, and reports whether all of it had been read.
func (r *chunkReader) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.pieces = true, nil
	return r.eof
}
