package cache

import (
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"
)

// Rows is a result in the store. It is immutable: many read it at once.
type Rows interface {
	// Size is what it takes of the heap, in bytes.
	Size() int
}

// Entry is what a Store keeps.
type Entry struct {
	Rows     Rows
	Snapshot Snapshot
	Stored   time.Duration // on the clock of whoever stores it
	Proof    string        // by which a tier that processes share knows it; empty without one
}

// Store keeps entries by key. It may forget any of them at any time. All methods may be
// called concurrently. A Get returns an entry that was Set under exactly that key, or
// none; whether it may be served, its snapshot says.
type Store interface {
	Get(key string) (*Entry, bool)
	Set(key string, e *Entry)
	Delete(key string)
	// Sweep deletes the entries that dead reports.
	Sweep(dead func(*Entry) bool)
	Usage() Usage
}

// Usage is what a store holds now, and what it has evicted for want of room.
type Usage struct {
	Entries   int
	Bytes     int64
	Evictions uint64
}

// Memory is a Store in this process, bounded by bytes, with W-TinyLFU as its policy
// (G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission
// Policy", ACM ToS 13(4), 2017): a burst of results that nobody asks for again does not
// push out those that are in use.
type Memory struct {
	cache     *otter.Cache[string, *Entry]
	evictions atomic.Uint64
}

var _ Store = (*Memory)(nil)

// entryOverhead is what an entry costs beside its rows and the text of its key:
// otter's node and its place in the table, and the Entry. Measured.
const entryOverhead = 176

// NewMemory returns a store of about that many bytes of heap, keys and administration
// included.
func NewMemory(bytes int64) (*Memory, error) {
	m := &Memory{}
	cache, err := otter.New(&otter.Options[string, *Entry]{
		MaximumWeight: uint64(max(bytes, 1)), //nolint:gosec // positive
		Weigher:       func(key string, e *Entry) uint32 { return weight(key, e) },
		OnAtomicDeletion: func(e otter.DeletionEvent[string, *Entry]) {
			if e.WasEvicted() {
				m.evictions.Add(1)
			}
		},
		// In the goroutine that sets: no other is started, and nothing is left when the
		// last reference goes.
		Executor: func(f func()) { f() },
	})
	if err != nil {
		return nil, err
	}
	m.cache = cache
	return m, nil
}

func weight(key string, e *Entry) uint32 {
	const most = 1<<32 - 1
	return uint32(min(len(key)+len(e.Proof)+e.Rows.Size()+entryOverhead, most)) //nolint:gosec // bounded
}

// Get implements Store.
func (m *Memory) Get(key string) (*Entry, bool) { return m.cache.GetIfPresent(key) }

// Find is Get for a key in a buffer of the caller's, of which nothing is kept. tell says
// whether the policy hears of it, which should be for a few, by chance: telling it means to
// move the entry in a list, whose neighbours are somewhere in memory, and that costs more
// than the look-up. What is read often is told often, so the policy sees the same picture
// with fewer points.
func (m *Memory) Find(key []byte, tell bool) (*Entry, bool) {
	name := unsafe.String(unsafe.SliceData(key), len(key))
	if tell {
		return m.cache.GetIfPresent(name)
	}
	e, ok := m.cache.GetEntryQuietly(name)
	return e.Value, ok
}

// Set implements Store. An entry that is there leaves first: otter would go on with its
// key, and that lies in one piece of memory with rows that are gone.
func (m *Memory) Set(key string, e *Entry) {
	if _, ok := m.cache.GetEntryQuietly(key); ok {
		m.cache.Invalidate(key)
	}
	m.cache.Set(key, e)
}

// Replace puts an entry in the place of another one, if that is still there. Of the key
// nothing is kept.
func (m *Memory) Replace(key []byte, old, e *Entry) {
	at, ok := m.cache.GetEntryQuietly(unsafe.String(unsafe.SliceData(key), len(key)))
	if !ok {
		return
	}
	m.cache.ComputeIfPresent(at.Key, func(now *Entry) (*Entry, otter.ComputeOp) {
		if now == old {
			return e, otter.WriteOp
		}
		return now, otter.CancelOp
	})
}

// Delete implements Store.
func (m *Memory) Delete(key string) { m.cache.Invalidate(key) }

// Sweep implements Store.
func (m *Memory) Sweep(dead func(*Entry) bool) {
	for key, e := range m.cache.All() {
		if dead(e) {
			m.cache.ComputeIfPresent(key, func(now *Entry) (*Entry, otter.ComputeOp) {
				if now == e {
					return nil, otter.InvalidateOp
				}
				return now, otter.CancelOp // a new one took its place
			})
		}
	}
}

// Under says what the entries take whose keys begin so. It looks at all.
func (m *Memory) Under(prefix string) Usage {
	var u Usage
	for key, e := range m.cache.All() {
		if strings.HasPrefix(key, prefix) {
			u.Entries++
			u.Bytes += int64(weight(key, e))
		}
	}
	return u
}

// Usage implements Store.
func (m *Memory) Usage() Usage {
	return Usage{
		Entries:   m.cache.EstimatedSize(),
		Bytes:     int64(m.cache.WeightedSize()), //nolint:gosec // bounded by an int64
		Evictions: m.evictions.Load(),
	}
}
