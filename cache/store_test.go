package cache_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/cache/cachetest"
)

func TestMemoryIsAStore(t *testing.T) {
	t.Parallel()
	cachetest.Run(t, func(t *testing.T) cache.Store {
		t.Helper()
		return newMemory(t, 64<<20)
	})
}

func newMemory(t *testing.T, bytes int64) *cache.Memory {
	t.Helper()
	m, err := cache.NewMemory(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// blob is a result that is one piece of memory.
type blob []byte

func (b blob) Size() int { return cap(b) + 24 }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // small
}

// The bound is about the heap that is really used, for results of any size.
func TestTheMemoryStoreUsesTheHeapThatItWasGiven(t *testing.T) { //nolint:paralleltest // looks at the heap
	const bound = 16 << 20
	for _, size := range []int{64, 512, 8 << 10} { //nolint:paralleltest // looks at the heap
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			before := heap()
			m := newMemory(t, bound)
			l := cache.NewLedger(nil)
			d := l.Dependencies([]cache.Relation{1, 2})
			for i := range 3 * bound / (size + 300) {
				s, _ := d.Capture()
				m.Set(fmt.Sprintf("select * from orders where id = $1; %016d", i), &cache.Entry{Rows: blob(make([]byte, size)), Snapshot: s, Stored: time.Second})
			}
			used, u := heap()-before, m.Usage()
			ratio := float64(used) / bound
			t.Logf("%d entries, %d evicted, %.1f MB of %d: %.2f; it says %.1f MB", u.Entries, u.Evictions, float64(used)/(1<<20), bound>>20, ratio, float64(u.Bytes)/(1<<20))
			if ratio < 0.9 || ratio > 1.1 || u.Bytes > bound*101/100 || u.Evictions == 0 {
				t.Errorf("%.2f × the bound is in use; %+v", ratio, u)
			}
			runtime.KeepAlive(m)
		})
	}
}

func TestDeadEntriesAreSwept(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 1<<20)
	l := cache.NewLedger(nil)
	for i := range 100 {
		s, _ := l.Dependencies([]cache.Relation{cache.Relation(i % 2)}).Capture()
		m.Set(fmt.Sprint(i), &cache.Entry{Rows: blob{}, Snapshot: s})
	}
	w := new(cache.Writes)
	w.Add(1)
	l.Raise(w).Bump()
	m.Sweep(func(e *cache.Entry) bool { return !e.Snapshot.Alive() })
	if n := m.Usage().Entries; n != 50 {
		t.Errorf("%d entries are left of 100, of which half died", n)
	}
}
