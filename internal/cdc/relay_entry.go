package cdc

import (
	"encoding/binary"
	"hash/crc32"
)

// An entry of the relay is
//
//	version  1 byte, entryVersion
//	flags    1 byte, lastEntry or 0
//	position 8 bytes: the leader has read the log so far
//	commits  each: its transaction's number, 4 bytes; commitSchema or 0, 1 byte;
//	         how many relations, 4 bytes; their OIDs, leaves, 4 bytes each
//	checksum 4 bytes, CRC-32C of the epoch's number, its nonce, the entry's number and all before
//
// with the most significant byte first.
type entry struct {
	position uint64
	last     bool // the leader leaves
	commits  []byte
}

const (
	entryVersion = 1
	lastEntry    = 1
	commitSchema = 1
	entryHead    = 1 + 1 + 8
	commitHead   = 4 + 1 + 4
)

//nolint:gochecknoglobals // a constant
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (e epoch) checksum(seq uint64, b []byte) uint32 {
	which := binary.BigEndian.AppendUint64(nil, e.number)
	which = append(which, e.nonce...)
	which = binary.BigEndian.AppendUint64(which, seq)
	return crc32.Update(crc32.Checksum(which, castagnoli), castagnoli, b)
}

func appendEntry(b []byte, en entry, e epoch, seq uint64) []byte {
	flags := byte(0)
	if en.last {
		flags = lastEntry
	}
	b = append(b, entryVersion, flags)
	b = binary.BigEndian.AppendUint64(b, en.position)
	b = append(b, en.commits...)
	return binary.BigEndian.AppendUint32(b, e.checksum(seq, b))
}

// decodeEntry checks everything, so that each cannot fail.
func decodeEntry(b []byte, e epoch, seq uint64) (entry, error) {
	if len(b) < entryHead+4 || b[0] != entryVersion {
		return entry{}, errRelayGap
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if e.checksum(seq, body) != sum {
		return entry{}, errRelayGap
	}
	en := entry{position: binary.BigEndian.Uint64(body[2:]), last: body[1] == lastEntry, commits: body[entryHead:]}
	for rest := en.commits; len(rest) > 0; {
		if len(rest) < commitHead {
			return entry{}, errRelayGap
		}
		n := uint64(binary.BigEndian.Uint32(rest[5:])) * 4
		if n > uint64(len(rest)-commitHead) {
			return entry{}, errRelayGap
		}
		rest = rest[commitHead+n:]
	}
	return en, nil
}

// each tells of the commits, in order.
func (en *entry) each(tell func(xid uint32, schema bool, leaves []byte)) {
	for rest := en.commits; len(rest) > 0; {
		end := commitHead + 4*int(binary.BigEndian.Uint32(rest[5:]))
		tell(binary.BigEndian.Uint32(rest), rest[4] == commitSchema, rest[commitHead:end])
		rest = rest[end:]
	}
}

func appendCommit(b []byte, xid uint32, schema bool, leaves map[Relation]struct{}) []byte {
	flags := byte(0)
	if schema {
		flags = commitSchema
	}
	b = binary.BigEndian.AppendUint32(b, xid)
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(leaves))) //nolint:gosec // tables of a transaction
	for oid := range leaves {
		b = binary.BigEndian.AppendUint32(b, oid)
	}
	return b
}

// appendBase writes what the publication named when the leader's slot was made, for the
// followers: see loadTables.
func appendBase(b []byte, e *entries) []byte {
	all := byte(0)
	if e.all {
		all = 1
	}
	b = append(b, entryVersion, all)
	b = binary.BigEndian.AppendUint32(b, e.of.oid)
	b = binary.BigEndian.AppendUint32(b, e.of.written)
	for _, namings := range []map[uint32]uint32{e.tables, e.schemas} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(namings))) //nolint:gosec // tables
		for oid, naming := range namings {
			b = binary.BigEndian.AppendUint32(b, oid)
			b = binary.BigEndian.AppendUint32(b, naming)
		}
	}
	return b
}

func decodeBase(b []byte) (entries, error) {
	r := reader{b: b}
	version, all := r.byte(), r.byte()
	e := entries{
		all: all == 1, of: edition{oid: r.uint32(), written: r.uint32()},
		tables: map[Relation]uint32{}, schemas: map[uint32]uint32{},
	}
	for _, into := range []map[uint32]uint32{e.tables, e.schemas} {
		n := r.uint32()
		for range min(n, uint32(len(r.b)/8+1)) { //nolint:gosec // a length
			oid := r.uint32()
			into[oid] = r.uint32()
		}
	}
	if r.short || len(r.b) > 0 || version != entryVersion {
		return entries{}, errRelayGap
	}
	return e, nil
}
