package rowset

import (
	"encoding/binary"
	"time"
)

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
