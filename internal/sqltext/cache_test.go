package sqltext

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestACachedStatementIsTheOneAnalyzed(t *testing.T) {
	t.Parallel()
	c := NewCache(CacheConfig{})
	for _, statements := range corpus(t) {
		for _, sql := range statements {
			first, second := c.Analyze(sql), c.Analyze(strings.Clone(sql))
			if first != second {
				t.Errorf("%q was read twice", sql)
			}
			if *first != *Analyze(sql) {
				t.Errorf("%q is another statement in the cache", sql)
			}
		}
	}
}

func TestACacheHitAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	c := NewCache(CacheConfig{})
	c.Analyze(shortText)
	sql := strings.Clone(shortText)
	if allocs := testing.AllocsPerRun(100, func() { c.Analyze(sql) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestAnalyzeAllocatesTheStatementItsTextsAndOneScratch(t *testing.T) { //nolint:paralleltest // counts allocations
	if allocs := testing.AllocsPerRun(100, func() { Analyze(shortText) }); allocs > 4 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestTheCacheIsBoundedByEntries(t *testing.T) {
	t.Parallel()
	c := NewCache(CacheConfig{Entries: 100})
	for i := range 10000 {
		c.Analyze(fmt.Sprintf("SELECT %d", i))
		if n := c.Len(); n > 100 {
			t.Fatalf("%d entries", n)
		}
	}
	if n := c.Len(); n < 50 {
		t.Errorf("only %d entries", n)
	}
}

func TestTheCacheIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	c := NewCache(CacheConfig{Bytes: limit})
	for i := range 2000 {
		c.Analyze(fmt.Sprintf("SELECT %d, '%s'", i, strings.Repeat("x", 8000)))
		if n := c.young.Load().bytes.Load() + c.old.Load().bytes.Load(); n > limit {
			t.Fatalf("%d bytes", n)
		}
	}
}

func TestALongTextIsNotKept(t *testing.T) {
	t.Parallel()
	c := NewCache(CacheConfig{TextBytes: 1000, Bytes: 20000})
	c.Analyze("SELECT '" + strings.Repeat("x", 1000) + "'")
	if n := c.Len(); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestWhatIsAskedForOftenSurvivesWhatIsAskedForOnce(t *testing.T) {
	t.Parallel()
	c := NewCache(CacheConfig{Entries: 100})
	want := c.Analyze(shortText)
	for i := range 10000 {
		c.Analyze(fmt.Sprintf("SELECT %d", i))
		if i%20 == 0 && c.Analyze(shortText) != want {
			t.Fatalf("lost after %d texts", i)
		}
	}
}

func TestTheCacheServesManyGoroutines(t *testing.T) {
	t.Parallel()
	c := NewCache(CacheConfig{Entries: 64})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				table := fmt.Sprintf("t%d", (g+i)%100)
				if got := c.Analyze("SELECT * FROM " + table).Summary; got != "SELECT "+table {
					t.Errorf("%s: %s", table, got)
				}
			}
		})
	}
	wg.Wait()
	// Writers that race may exceed the bound by one entry each.
	if n := c.Len(); n > 64+2*8 {
		t.Errorf("%d entries", n)
	}
}
