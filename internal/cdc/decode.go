package cdc

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Relation is a table, by its OID.
type Relation = uint32

// kind is the first byte of a message of pgoutput.
type kind byte

const (
	kindBegin    kind = 'B'
	kindCommit   kind = 'C'
	kindOrigin   kind = 'O'
	kindRelation kind = 'R'
	kindType     kind = 'Y'
	kindInsert   kind = 'I'
	kindUpdate   kind = 'U'
	kindDelete   kind = 'D'
	kindTruncate kind = 'T'
	kindMessage  kind = 'M'
)

// A message is one of pgoutput, protocol version 1, as far as a cache wants to know: of
// rows that they changed, not what they are. What it points to belongs to the input.
type message struct {
	kind      kind
	xid       uint32 // Begin
	lsn       uint64 // Commit: the end of the transaction
	relation  Relation
	shape     []byte // Relation: its columns and its name
	relations []byte // Truncate: see each
	prefix    []byte // Message
	content   []byte
}

// each calls f with the relations of a Truncate.
func (m *message) each(f func(Relation)) {
	for b := m.relations; len(b) >= 4; b = b[4:] {
		f(binary.BigEndian.Uint32(b))
	}
}

// protocolError says that the server sent what this package does not understand.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "cdc: protocol: " + e.what }

// decode reads one message. Whatever it is given, it returns.
func decode(b []byte) (message, error) {
	r := reader{b: b}
	m := message{kind: kind(r.byte())}
	switch m.kind {
	case kindBegin:
		r.skip(8 + 8) // the commit's position, its time
		m.xid = r.uint32()
	case kindCommit:
		r.skip(1 + 8) // flags, the commit's position
		m.lsn = r.uint64()
		r.skip(8) // its time
	case kindRelation:
		m.relation = r.uint32()
		m.shape = r.b
		r.relation()
	case kindInsert, kindUpdate, kindDelete:
		m.relation = r.uint32()
		if len(r.b) == 0 { // a tuple follows; which one does not matter
			r.short = true
		}
		return m, r.err(m.kind)
	case kindTruncate:
		n := r.uint32()
		r.skip(1) // options
		if uint64(n)*4 > uint64(len(r.b)) {
			return m, &protocolError{fmt.Sprintf("TRUNCATE of %d relations in %d bytes", n, len(r.b))}
		}
		m.relations = r.take(int(n) * 4)
	case kindMessage:
		r.skip(1 + 8) // flags, position
		m.prefix = r.string()
		m.content = r.take(int(min(r.uint32(), 1<<31-1)))
	case kindOrigin, kindType:
		return m, nil
	default:
		return m, &protocolError{fmt.Sprintf("a message of kind %q, which was not asked for", byte(m.kind))}
	}
	if len(r.b) > 0 && !r.short {
		return m, &protocolError{fmt.Sprintf("%d bytes behind a message of kind %q", len(r.b), byte(m.kind))}
	}
	return m, r.err(m.kind)
}

// A reader takes values off the front. After the end it gives zeros and remembers it.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) err(k kind) error {
	if r.short {
		return &protocolError{fmt.Sprintf("a message of kind %q is cut off", byte(k))}
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() []byte {
	end := bytes.IndexByte(r.b, 0)
	if end < 0 {
		r.short, r.b = true, nil
		return nil
	}
	s := r.b[:end:end]
	r.b = r.b[end+1:]
	return s
}

// relation checks what follows the OID of a Relation.
func (r *reader) relation() {
	r.string() // schema
	r.string() // name
	r.skip(1)  // replica identity
	n := r.uint16()
	for range n {
		r.skip(1) // flags
		r.string()
		r.skip(4 + 4) // type, its modifier
		if r.short {
			return
		}
	}
}

// What the walsender wraps around them.
const (
	copyData      = 'w'
	copyKeepalive = 'k'
)

// A frame is what one CopyData of the walsender holds.
type frame struct {
	keepalive bool
	position  uint64 // keepalive: up to here everything has been sent
	reply     bool   // keepalive: an answer is wanted at once
	payload   []byte // otherwise
}

func decodeFrame(b []byte) (frame, error) {
	r := reader{b: b}
	switch what := r.byte(); what {
	case copyData:
		r.skip(8 + 8 + 8) // positions, time
		if r.short {
			return frame{}, r.err(copyData)
		}
		return frame{payload: r.b}, nil
	case copyKeepalive:
		f := frame{keepalive: true, position: r.uint64()}
		r.skip(8)
		f.reply = r.byte() == 1
		return f, r.err(copyKeepalive)
	default:
		return frame{}, &protocolError{fmt.Sprintf("a frame of kind %q", what)}
	}
}

// appendStatus is the standby's answer: everything up to position is done with.
func appendStatus(b []byte, position uint64) []byte {
	b = append(b, 'r')
	for range 3 { // written, flushed, applied
		b = binary.BigEndian.AppendUint64(b, position)
	}
	b = binary.BigEndian.AppendUint64(b, 0) // our clock, which nobody needs
	return append(b, 0)                     // no answer wanted
}
