package lifeguard

import (
	"runtime"
	"sync/atomic"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// Results are kept as they came from the server, and each replay decodes them again: that
// takes the least memory, and nothing that the garbage collector has to follow. But then a
// replay of many rows costs several times what database/sql does by itself. So a result that
// is read again is replaced by one whose values are made, as long as there is room for
// such: half of it for whatever is read, and the other half for what is in a sample of the
// hits (see hitCounts.add), which is what is read often.
const (
	readyValues = 16 // a result of fewer is decoded about as fast as it is copied
	readyPart   = 4  // one in how many bytes of the cache such results may take
)

// makeReady replaces an entry by one whose values are made, if there is room. It returns
// what is to be replayed.
func (q *queryCache) makeReady(key []byte, e *cache.Entry, sampled bool) *rowset.Set {
	set, room := rowsOf(e.Rows), int64(q.core.cfg.CacheSize)/readyPart
	if !sampled {
		room /= 2
	}
	if q.readyBytes.Load() >= room {
		return set
	}
	k := new(kept)
	if !set.Ready(&k.set, &q.maps) {
		return set
	}
	k.entry = cache.Entry{Rows: &k.set, Snapshot: e.Snapshot, Stored: e.Stored, Proof: e.Proof}
	size := int64(k.set.Size())
	q.readyBytes.Add(size)
	runtime.AddCleanup(k, func(of *atomic.Int64) { of.Add(-size) }, &q.readyBytes)
	q.store.Replace(key, e, &k.entry)
	return &k.set
}
