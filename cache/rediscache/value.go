package rediscache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

// A value in Redis is, behind its proof and a line feed, which are the scripts':
//
//	byte(formatVersion) byte(flags) crc32c:4     of the two and of all that follows
//	captured:8                                    Redis' clock before its query was sent, in ms
//	uvarint(length) key                           the whole question, compared in full
//	payload                                       by s2 if flags say so
//
// Numbers are big endian.
const (
	formatVersion = 1
	flagS2        = 1
	headLen       = 1 + 1 + 4
	compressFrom  = 1 << 10
)

//nolint:gochecknoglobals // constants
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errDamaged = errors.New("rediscache: a damaged value")
	errFormat  = errors.New("rediscache: a value of another format")
	errOther   = errors.New("rediscache: a value of another question")
)

func appendValue(b, key, payload []byte, captured int64) []byte {
	flags := byte(0)
	if len(payload) > compressFrom {
		if packed := s2.Encode(nil, payload); len(packed) < len(payload) {
			flags, payload = flagS2, packed
		}
	}
	start := len(b)
	b = append(b, formatVersion, flags, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(captured)) //nolint:gosec // after 1970
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(append(b, key...), payload...)
	binary.BigEndian.PutUint32(b[start+2:], checksum(b[start:]))
	return b
}

// checksum is of a value from its first byte on, but for itself.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:2], castagnoli), castagnoli, b[headLen:])
}

// parseValue returns the payload, in memory of its own if it was compressed.
func parseValue(b, key []byte, most int) (payload []byte, captured int64, err error) {
	if len(b) < headLen {
		return nil, 0, errDamaged
	}
	if b[0] != formatVersion || b[1]&^flagS2 != 0 {
		return nil, 0, errFormat
	}
	flags, sum, rest := b[1], binary.BigEndian.Uint32(b[2:]), b[headLen:]
	if checksum(b) != sum || len(rest) < 8 {
		return nil, 0, errDamaged
	}
	captured = int64(binary.BigEndian.Uint64(rest)) //nolint:gosec // checked by its age
	length, n := binary.Uvarint(rest[8:])
	rest = rest[min(8+max(n, 0), len(rest)):]
	if n <= 0 || length > uint64(len(rest)) {
		return nil, 0, errDamaged
	}
	if !bytes.Equal(rest[:length], key) {
		return nil, 0, errOther
	}
	payload = rest[length:]
	if flags&flagS2 == 0 {
		if len(payload) > most {
			return nil, 0, errDamaged
		}
		return payload, captured, nil
	}
	if size, err := s2.DecodedLen(payload); err != nil || size > most {
		return nil, 0, errDamaged
	}
	if payload, err = s2.Decode(nil, payload); err != nil {
		return nil, 0, errDamaged
	}
	return payload, captured, nil
}
