package sqltext

import (
	"strings"
	"sync"
	"sync/atomic"
)

// A Cache remembers what [Analyze] said, by the text of the statement. It is
// safe for concurrent use; a hit takes no lock and allocates nothing.
//
// It keeps two generations. A look-up reads both; what it finds in the old one
// moves to the young one. When the young one is full it becomes the old one, and
// the old one goes as a whole. So what is asked for at least once per generation
// stays, what is asked for once leaves, and eviction costs no bookkeeping on a
// hit. That matters when literals are written into the texts and each is new: a
// list in order of use would take its lock for every hit, a clock would walk
// over thousands of dead entries to find room.
//
// The bounds hold for both generations together. Writers that race may exceed
// them by one entry each.
type Cache struct {
	maxEntries int64 // of one generation
	maxBytes   int64 // of one generation
	maxText    int

	young atomic.Pointer[generation]
	old   atomic.Pointer[generation]

	turn sync.Mutex // held to swap generations; never waited for
}

type generation struct {
	statements sync.Map // string → *Statement
	entries    atomic.Int64
	bytes      atomic.Int64
}

// entryOverhead is about what an entry takes beside its texts: the Statement,
// an interface, and a leaf of sync.Map with its share of the inner nodes.
const entryOverhead = 400

// CacheConfig bounds a [Cache]. Zero means the default.
type CacheConfig struct {
	// Entries is how many statements are kept at most; 4096 by default.
	Entries int
	// Bytes is how much memory they take at most, estimated; 8 MiB by default.
	Bytes int
	// TextBytes is the longest text that is kept; longer ones are read anew
	// each time. 16 KiB by default.
	TextBytes int
}

// NewCache returns an empty cache.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Entries <= 0 {
		cfg.Entries = 4096
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = 8 << 20
	}
	if cfg.TextBytes <= 0 {
		cfg.TextBytes = 16 << 10
	}
	c := &Cache{
		maxEntries: int64(max(cfg.Entries/2, 1)),
		maxBytes:   int64(max(cfg.Bytes/2, 1)),
		maxText:    cfg.TextBytes,
	}
	c.young.Store(new(generation))
	c.old.Store(new(generation))
	return c
}

// Analyze returns what the function [Analyze] returns, from memory if it can.
// The same text may give different pointers over time.
func (c *Cache) Analyze(sql string) *Statement {
	if len(sql) > c.maxText {
		return Analyze(sql)
	}
	if st, ok := c.young.Load().get(sql); ok {
		return st
	}
	if st, ok := c.old.Load().get(sql); ok {
		c.add(sql, st)
		return st
	}
	st := Analyze(sql)
	c.add(sql, st)
	return st
}

// Len returns how many statements are kept; one that has just moved from the
// old generation to the young one counts twice.
func (c *Cache) Len() int {
	return int(c.young.Load().entries.Load() + c.old.Load().entries.Load())
}

func (g *generation) get(sql string) (*Statement, bool) {
	v, ok := g.statements.Load(sql)
	if !ok {
		return nil, false
	}
	st, ok := v.(*Statement)
	return st, ok
}

func (c *Cache) add(sql string, st *Statement) {
	size := int64(len(sql)+len(st.Normalized)+len(st.Summary)) + entryOverhead
	if size > c.maxBytes {
		return
	}
	g := c.young.Load()
	if g.entries.Load() >= c.maxEntries || g.bytes.Load()+size > c.maxBytes {
		// Whoever does not get the lock leaves this text out rather than wait.
		if !c.turn.TryLock() {
			return
		}
		if c.young.Load() == g {
			c.old.Store(g)
			c.young.Store(new(generation))
		}
		c.turn.Unlock()
		g = c.young.Load()
	}
	// A copy, since sql may be a small part of a large file.
	if _, loaded := g.statements.LoadOrStore(strings.Clone(sql), st); !loaded {
		g.entries.Add(1)
		g.bytes.Add(size)
	}
}
