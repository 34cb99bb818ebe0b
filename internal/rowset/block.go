package rowset

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"time"
	"unsafe"
)

// block is room for the values of some rows that follow each other. A value in an
// interface needs a place in memory, and an allocation for each is most of what a replay
// of many rows costs. So the values of a block lie in one piece of memory for each of
// their Go types, and the interfaces point into it. The bytes of texts are copied into
// pieces that blocks share.
//
// Each piece stays as long as one of its values is kept. So all are small: see maxBlock
// and maxShared.
type block struct {
	end int // of its rows, in the arena

	// Indexes say what is taken: to make the slices shorter would be to write pointers,
	// which is dear while the garbage collector is at work.
	texts                       []string
	numbers                     []int64
	times                       []time.Time
	textsIn, numbersIn, timesIn int

	shares bool // texts point into the arena
	copied []byte
}

const (
	// maxShared is how large an arena, or else a copy of texts, may be for texts to point
	// into it: each that the application has makes all of it stay in memory.
	maxShared = 1 << 10

	maxBlock     = 2 << 10 // bytes of the rows of a block, if they are several
	maxBlockRows = 32
)

// start makes room for the row between two offsets, and as many of those behind it as fit.
func (b *block) start(s *Set, at, end int) {
	rows := 1
	b.end = end
	for rows < maxBlockRows && b.end < len(s.arena) {
		length, n := binary.Uvarint(s.arena[b.end:])
		if b.end+n+int(length)-at > maxBlock {
			break
		}
		b.end += n + int(length)
		rows++
	}
	columns := s.columns
	b.shares = len(s.arena) <= maxShared
	if columns.texts > 0 {
		b.texts, b.textsIn = make([]string, rows*columns.texts), 0
	}
	if columns.numbers > 0 {
		b.numbers, b.numbersIn = make([]int64, rows*columns.numbers), 0
	}
	if columns.times > 0 {
		b.times, b.timesIn = make([]time.Time, rows*columns.times), 0
	}
}

// nextOfMany puts the values of the row that advance has found into dest.
func (r *Rows) nextOfMany(dest []driver.Value) error {
	if r.block == nil {
		r.block = new(block)
	}
	b := r.block
	if r.row >= b.end {
		b.start(r.set, r.row, r.rest)
	}
	row, at := r.set.arena[r.row:r.rest], 0
	fields := r.set.columns.fields
	for i := range fields {
		length := uint64(row[at])
		at++
		if length >= 0x80 {
			var n int
			length, n = binary.Uvarint(row[at-1:])
			at += n - 1
		}
		if length == 0 {
			dest[i] = nil // NULL
			continue
		}
		end := at + int(length) - 1
		src := row[at:end:end]
		at = end
		if v, ok := b.plain(&fields[i], src); ok {
			dest[i] = v
			continue
		}
		var err error
		if dest[i], err = r.workspace().value(&fields[i], i, src); err != nil {
			return err
		}
	}
	return nil
}

// plain is field.plain with the block's room.
func (b *block) plain(f *field, src []byte) (driver.Value, bool) {
	switch f.way {
	case wayText:
		return b.text(src), true
	case wayBool:
		if len(src) == 1 {
			return src[0] == 1, true
		}
	case wayInt2:
		if len(src) == 2 {
			return b.number(int64(int16(binary.BigEndian.Uint16(src)))), true //nolint:gosec // the same bits
		}
	case wayInt4:
		if len(src) == 4 {
			return b.number(int64(int32(binary.BigEndian.Uint32(src)))), true //nolint:gosec // as above
		}
	case wayInt8:
		if len(src) == 8 {
			return b.number(int64(binary.BigEndian.Uint64(src))), true //nolint:gosec // as above
		}
	case wayFloat8:
		if len(src) == 8 {
			return b.float(math.Float64frombits(binary.BigEndian.Uint64(src))), true
		}
	case wayTimestamp, wayTimestamptz:
		if t, ok := moment(src, f.way == wayTimestamp); ok {
			return b.time(t), true
		}
	case wayPlan:
	}
	return nil, false
}

// A place of a block is written once, and before anybody knows of it.

func (b *block) text(src []byte) driver.Value {
	p := &b.texts[b.textsIn]
	b.textsIn++
	switch {
	case b.shares:
		*p = textOf(src)
	case len(src) > maxShared/4:
		*p = string(src)
	default:
		*p = b.copyOf(src)
	}
	return boxed(driver.Value(""), unsafe.Pointer(p))
}

func (b *block) copyOf(src []byte) string {
	if cap(b.copied)-len(b.copied) < len(src) {
		b.copied = make([]byte, 0, maxShared)
	}
	from := len(b.copied)
	b.copied = append(b.copied, src...)
	return textOf(b.copied[from:])
}

func (b *block) number(v int64) driver.Value {
	p := &b.numbers[b.numbersIn]
	b.numbersIn++
	*p = v
	return boxed(driver.Value(int64(0)), unsafe.Pointer(p))
}

func (b *block) float(v float64) driver.Value {
	p := (*float64)(unsafe.Pointer(&b.numbers[b.numbersIn]))
	b.numbersIn++
	*p = v
	return boxed(driver.Value(float64(0)), unsafe.Pointer(p))
}

func (b *block) time(v time.Time) driver.Value {
	p := &b.times[b.timesIn]
	b.timesIn++
	*p = v
	return boxed(driver.Value(time.Time{}), unsafe.Pointer(p))
}

// boxed is what like would be if it held the value at p, of its type. Go has no other way
// to make an interface of a value without a copy of it. An interface is two words, of
// which the second points to the value unless its type is itself one pointer; the tests
// would show if a version of Go did it otherwise. The garbage collector does not mind
// pointers into the middle of what was allocated.
func boxed(like driver.Value, p unsafe.Pointer) driver.Value {
	(*[2]unsafe.Pointer)(unsafe.Pointer(&like))[1] = p
	return like
}

// The times that moment takes are so many microseconds from the year 2000 at most: some
// 4,500 years, all of which pgx takes too. Farther ones, and infinity, are pgx's to judge.
const (
	maxMoment = 1 << 57
	year2000  = 946_684_800 // in seconds of Unix
)

// moment is a timestamp in its binary format.
func moment(src []byte, utc bool) (time.Time, bool) {
	if len(src) != 8 {
		return time.Time{}, false
	}
	n := int64(binary.BigEndian.Uint64(src)) //nolint:gosec // the same bits
	if n < -maxMoment || n > maxMoment {
		return time.Time{}, false
	}
	t := time.Unix(year2000+n/1e6, n%1e6*1e3)
	if utc {
		t = t.UTC()
	}
	return t, true
}
