package cdc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SnapshotSQL asks for a snapshot that [ParseSnapshot] reads.
const SnapshotSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text`

// A Snapshot says which transactions a statement of the server sees, by their 64-bit
// numbers. What one snapshot of a server sees, every later one sees too.
type Snapshot struct {
	xmin, xmax uint64
	running    []uint64 // between them, sorted
}

// ParseSnapshot reads the text of a pg_snapshot: xmin:xmax:xip,xip and so on.
func ParseSnapshot(text string) (Snapshot, error) {
	bad := &protocolError{fmt.Sprintf("%.60q is no snapshot", text)}
	low, rest, found := strings.Cut(text, ":")
	high, list, found2 := strings.Cut(rest, ":")
	if !found || !found2 {
		return Snapshot{}, bad
	}
	var s Snapshot
	var err, err2 error
	s.xmin, err = strconv.ParseUint(low, 10, 64)
	s.xmax, err2 = strconv.ParseUint(high, 10, 64)
	if err != nil || err2 != nil || s.xmin > s.xmax {
		return Snapshot{}, bad
	}
	if list == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		xid, err := strconv.ParseUint(part, 10, 64)
		if err != nil || xid < s.xmin || xid >= s.xmax {
			return Snapshot{}, bad
		}
		s.running = append(s.running, xid)
	}
	slices.Sort(s.running)
	return s, nil
}

// sees reports whether a transaction that has committed is visible; as
// pg_visible_in_snapshot.
func (s *Snapshot) sees(xid uint64) bool {
	if xid < s.xmin {
		return true
	}
	if xid >= s.xmax {
		return false
	}
	_, running := slices.BinarySearch(s.running, xid)
	return !running
}

// widen gives a 32-bit number of the log its epoch: the one that brings it next to a
// number of about the same time. The server keeps all that matter within 2³¹ of each other.
func widen(near uint64, xid uint32) uint64 {
	return near + uint64(int64(int32(xid-uint32(near)))) //nolint:gosec // the wrap is meant
}
