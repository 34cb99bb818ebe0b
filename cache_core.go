package lifeguard

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// queryCache is what a core has for lifeguard_cache: one for all its connections, nil if
// the cache is off. One without a store, of the mode off, only tells the caches of other
// Connectors what is written; see guarding. How reads use it stands in cache_read.go and cache_fill.go, how
// writes do in cache_write.go, and how texts and sessions are learnt in cache_learn.go.
//
// Invariants, beside those of [cache.Ledger]:
//
//  1. Whatever is not understood bypasses the cache if it reads, and fences everything if
//     it may write.
//  2. A result is served only to a session that is known to be equal to the one that
//     filled it, in the same generation of the catalog: both are part of the key.
//  3. A fence ends when the outcome is known, or when the backend that could still
//     decide it is gone.
type queryCache struct {
	mode     CacheMode
	ttl      time.Duration
	maxRows  int
	maxBytes int
	core     *core

	catalog  *catalog.Catalog
	site     atomic.Pointer[site] // where it is connected to; nil before the first connection
	ageing   *cache.Ledger        // in ttl mode: of its own, where nobody's writes count
	missing  sync.Map             // tables of the lists that do not exist, and were reported
	moving   sync.Mutex           // held while site changes
	gone     bool                 // guarded by moving: closed, and without a site
	era      atomic.Uint64        // see watch
	blind    bool                 // sessions may change between two leases, so none is known
	flights  cache.Flights
	store    *cache.Memory
	follower *follower               // nil but in cdc mode
	shares   atomic.Pointer[sharing] // of site; nil without lifeguard_redis
	maps     rowset.Maps

	readyBytes atomic.Int64 // of results whose values are made, until the garbage collector has them

	texts    *textTable
	rulingID atomic.Uint64                // of the latest; an ID is never used again
	home     atomic.Pointer[cacheSession] // of a connection as it is opened; see sessionNow

	mu          sync.Mutex               // guards what follows; never held while blocking
	sessions    map[string]*cacheSession // of sessionsIn, by key
	sessionsIn  uint64                   // a generation of the catalog
	homeKey     string
	incarnation string // of the server
	later       map[*cachedText]struct{}
	closed      bool
	timers      [2]*time.Timer // of the sweeps after a bump, and after the ttl

	waiting    atomic.Int64 // len(later)
	armed      [2]atomic.Bool
	unsettled  unsettled
	unanswered atomic.Pointer[unanswered] // the latest; see refused
	rawTold    sync.Once
	otherTold  sync.Once
	counts     cacheCounts
	rule       worthRule
}

// Which of the timers.
const (
	sweepBumped = iota
	sweepAged
)

// sweepAfter is how long entries may stay in memory that no read can be served any more.
const sweepAfter = 500 * time.Millisecond

func newQueryCache(co *core) (*queryCache, error) {
	cfg := &co.cfg
	if cfg.Cache == CacheOff {
		return nil, nil //nolint:nilnil // off
	}
	store, err := cache.NewMemory(int64(cfg.CacheSize))
	if err != nil {
		return nil, err
	}
	q := &queryCache{
		mode: cfg.Cache, ttl: cfg.CacheTTL, maxRows: cfg.CacheMaxRows, maxBytes: int(min(cfg.CacheMaxBytes, cfg.CacheSize)),
		core: co, catalog: catalog.New(), store: store, texts: newTextTable(&co.top), counts: newCacheCounts(),
	}
	q.ageing = cache.NewLedger(func() { q.sweepIn(sweepBumped, sweepAfter) })
	q.flights.Abandoned = func(landed <-chan struct{}) {
		co.pool.inBackground(func() { <-landed }) // Close waits for what nobody else waits for
	}
	q.unsettled.of = q
	q.follower = newFollower(q)
	q.rule = usualWorth
	return q, nil
}

// serves reports whether an entry may be served now.
func (q *queryCache) serves(e *cache.Entry) bool {
	if q.ttl > 0 && q.core.limiter.now()-e.Stored > q.ttl {
		return false
	}
	// In this order: see follower. In ttl mode an entry is valid until InvalidateCache is called.
	return q.follower.current() && e.Snapshot.Valid()
}

// kept is an entry with its rows, in one piece of memory: a hit of a result that was not
// used lately waits for memory, and the garbage collector visits each piece.
type kept struct {
	entry cache.Entry
	set   rowset.Set
}

// keep stores what a fill has brought: its query was sent after the snapshot was captured.
func (q *queryCache) keep(key string, k *kept, f *fill) {
	k.entry = cache.Entry{Rows: &k.set, Snapshot: f.snapshot, Stored: f.captured, Proof: f.proof()}
	if !q.serves(&k.entry) {
		return
	}
	q.store.Set(key, &k.entry)
	if q.ttl > 0 {
		q.sweepIn(sweepAged, max(q.ttl, sweepAfter))
	}
}

// sweepIn has the dead entries removed, unless that is under way.
func (q *queryCache) sweepIn(which int, after time.Duration) {
	if !q.armed[which].CompareAndSwap(false, true) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.timers[which] = time.AfterFunc(after, func() {
		q.core.pool.background(func() { q.sweep(which) })
	})
}

func (q *queryCache) sweep(which int) {
	q.armed[which].Store(false)
	now := q.core.limiter.now()
	q.store.Sweep(func(e *cache.Entry) bool {
		return q.ttl > 0 && now-e.Stored > q.ttl || !e.Snapshot.Alive()
	})
	if q.ttl > 0 && q.store.Usage().Entries > 0 {
		q.sweepIn(sweepAged, max(q.ttl, sweepAfter))
	}
}

// connectionLost is called when a connection died without our doing: the server may have
// crashed, and have lost what nobody waited to be written.
func (q *queryCache) connectionLost() {
	if q == nil {
		return
	}
	if p := q.site.Load(); p != nil {
		q.unsettled.suspect(p)
	}
}

// close ends the timers, lets go of the site, and leaves to others what has to be asked
// for. Sweeps that run are the pool's to wait for.
func (q *queryCache) close() {
	if q == nil {
		return
	}
	q.follower.close()
	q.mu.Lock()
	q.closed = true
	for _, t := range q.timers {
		if t != nil {
			t.Stop()
		}
	}
	q.mu.Unlock()
	q.moving.Lock()
	gone := q.gone
	q.gone = true
	q.moving.Unlock()
	if gone {
		return
	}
	p := q.site.Load()
	if p != nil {
		p.exit(q)
	}
	q.unsettled.close()
	q.shares.Load().letGo()
	if p != nil {
		p.letGo()
	}
}

// awaitSharing waits for what lifeguard_redis has started, unless somebody else needs it.
func (q *queryCache) awaitSharing() {
	if q != nil {
		q.shares.Load().await()
	}
}

// ruling is what the server says about one text in one session.
type ruling struct {
	id       uint64
	text     *cachedText
	session  *cacheSession
	analysis catalog.Analysis
	reason   string // why no result is kept; empty if it is
	reads    cache.Dependencies
	rows     cache.Keyed // of the row that it reads; none if that may be any
	option   CacheOption // of the text's hints
	shared   *sharing    // of the site that was asked; nil without lifeguard_redis

	relations []uint32          // that it reads, in order; with shared
	sharedKey [sha256.Size]byte // of the text and the session, the same in every process; with shared

	sharable  atomic.Bool                    // a fill has shown that any connection decodes its results
	columns   atomic.Pointer[rowset.Columns] // of the latest result
	skipUntil atomic.Int64                   // on the limiter's clock: results were too large
	alien     atomic.Bool                    // types that only the connection can decode
	recodes   atomic.Bool                    // a connection sends another key than was given
	formats   atomic.Pointer[[]int16]        // of its columns; see fetch.gated
}

// skipFor is how long a text whose result was too large bypasses the cache.
const skipFor = time.Minute

// maxKey is how long a key may be; longer arguments are no question that comes again.
const maxKey = 8 << 10

// key is the whole question: the ruling stands for the text, the session and the
// generation of the catalog.
func (v *ruling) key(b []byte) []byte { return binary.BigEndian.AppendUint64(b, v.id) }
