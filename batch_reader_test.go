package lifeguard

import (
	"errors"
	"io"
	"testing"
)

func testChunk(rows ...string) *chunk {
	ch := &chunk{buf: []byte("H"), start: 1}
	for _, row := range rows {
		ch.buf = append(ch.buf, row...)
		ch.ends = append(ch.ends, uint32(len(ch.buf)))
	}
	return ch
}

func TestAPartIsReadWithHeaderAndTrailer(t *testing.T) {
	ch := testChunk("aa", "b", "ccc", "d")
	all := whole(4)
	for want, p := range map[string]part{
		"HaabcccdT": all, "HbcccdT": all.without(0), "HaacccdT": all.without(1), "HaabcccT": all.without(3),
		"HbdT": all.without(0).without(1),
	} {
		got, err := io.ReadAll(newChunkReader(ch, p, "H", "T"))
		if err != nil || string(got) != want {
			t.Errorf("%q, %v, not %q", got, err, want)
		}
	}
	for n := range 5 {
		before, after := all.cut(n)
		if before.rows() != n || after.rows() != 4-n || n < 4 && after.at(0) != n {
			t.Errorf("cut before %d: %v, %v", n, before, after)
		}
	}
}

// pgconn's goroutine may read on when CopyFrom has returned: it must find neither the
// rows, whose buffer has a new owner, nor an end that would let COMMIT follow.
func TestAReaderThatWasEndedHandsNothingOver(t *testing.T) {
	ch := testChunk("aa", "b")
	r := newChunkReader(ch, whole(2), "H", "T")
	b := make([]byte, 2)
	if n, err := r.Read(b); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if r.end() {
		t.Error("COMMIT is said to be reached before the rows were read")
	}
	if n, err := r.Read(b); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}

	r = newChunkReader(ch, whole(2), "H", "T")
	if _, err := io.ReadAll(r); err != nil || !r.end() {
		t.Error("COMMIT is said not to be reached when all was read")
	}
}
