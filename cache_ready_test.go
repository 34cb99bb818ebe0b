package lifeguard

import (
	"runtime"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
)

// readable is a cache with room for so much, and results that can be asked for.
func readable(t *testing.T, room ByteSize) (*queryCache, *cache.Ledger, func(i int) (key string, e *cache.Entry)) {
	t.Helper()
	q := &queryCache{maxRows: 1 << 20, maxBytes: 1 << 30, mode: CacheLocal, core: &core{cfg: Config{CacheSize: room}}}
	ledger := cache.NewLedger(nil)
	reads := ledger.Dependencies([]cache.Relation{1, 2})
	var err error
	if q.store, err = cache.NewMemory(int64(room)); err != nil {
		t.Fatal(err)
	}
	shape := memoryShape{name: t.Name(), columns: 5, rows: 20, text: 20}
	return q, ledger, func(i int) (string, *cache.Entry) {
		key := shape.keep(q, reads, i)
		e, ok := q.store.Get(key)
		if !ok {
			t.Fatal("it is not kept")
		}
		return key, e
	}
}

func TestAResultWhoseValuesAreMadeTakesThePlaceOfTheOther(t *testing.T) {
	q, ledger, keep := readable(t, 64<<20)
	key, e := keep(1)
	before := q.store.Usage()
	made := q.makeReady([]byte(key), e, false)
	now, ok := q.store.Get(key)
	if !made.IsReady() || !ok || rowsOf(now.Rows) != made || now.Snapshot != e.Snapshot || now.Stored != e.Stored {
		t.Fatalf("made %t, in memory %t: %+v, not %+v", made.IsReady(), ok, now, e)
	}
	grown := int64(made.Size() - e.Rows.Size())
	if after := q.store.Usage(); after.Entries != before.Entries || after.Bytes != before.Bytes+grown || grown < 2000 {
		t.Errorf("%+v, before %+v, grown by %d", after, before, grown)
	}
	var w cache.Writes
	w.Add(2)
	ledger.Raise(&w).Bump()
	if now.Snapshot.Valid() {
		t.Error("it outlives a commit")
	}

	// What was filled again meanwhile stays.
	_, fresh := keep(1)
	q.makeReady([]byte(key), e, false)
	if now, ok := q.store.Get(key); !ok || now != fresh {
		t.Errorf("the old result came back: %t", ok)
	}
}

func TestResultsWhoseValuesAreMadeHaveTheirPartOfTheCache(t *testing.T) {
	const room = 4 << 20
	q, _, keep := readable(t, room)
	make1 := func(i int, sampled bool) bool {
		key, e := keep(i)
		return q.makeReady([]byte(key), e, sampled).IsReady()
	}
	n := 0
	for make1(n, false) {
		n++
	}
	if took := q.readyBytes.Load(); took < room/8 || took > room/8+16<<10 {
		t.Errorf("hits have made %d bytes of %d", took, room)
	}
	for make1(n, true) {
		n++
	}
	if took := q.readyBytes.Load(); took < room/4 || took > room/4+16<<10 {
		t.Errorf("the sample has made %d bytes of %d", took, room)
	}
	q.store.Sweep(func(*cache.Entry) bool { return true })
	for until := time.Now().Add(time.Minute); q.readyBytes.Load() > 0 && time.Now().Before(until); {
		runtime.GC()
	}
	if !make1(n, false) {
		t.Errorf("%d bytes are counted that are gone", q.readyBytes.Load())
	}
}
