package lifeguard

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// QueryStats is what a [Connector] has seen of the statements that are equal but for
// their literals and arguments. A statement that was refused, or that never got a
// connection, is not counted.
//
// Total and what is made of it is the time from sending to the first row or to the
// result, as in lifeguard_query_duration_seconds: what the server took, and not what
// the application did between two rows. The percentiles come from a histogram of two
// buckets per doubling, and are seldom off by more than a fifth.
type QueryStats struct {
	Fingerprint uint64 // as in logs, there in hexadecimal; 0 of the entry for all others
	Summary     string // "SELECT orders"; "other" of the entry for all others
	Query       string // the text with ? for its literals, cut at 4 KiB
	Calls       uint64
	Errors      uint64 // of Calls
	Rows        uint64 // returned or affected
	Hits        uint64 // answered by the cache, from memory or by another's query; not among Calls
	Misses      uint64 // of Calls: sent for a result to keep
	Bypass      string // why the cache did not answer the latest of the other Calls; empty without a cache

	Total time.Duration // sum over all calls
	Mean  time.Duration
	P50   time.Duration
	P95   time.Duration
	P99   time.Duration
	Max   time.Duration
	Wait  time.Duration // sum of the waits for admission, not part of Total
}

// TopQueries returns the n statements on which the server has spent most time, the
// heaviest first, with all others summed in a last entry, so that nothing is missing
// in the sum. It knows 500 fingerprints at most; n ≤ 0 means all of them.
//
// A statement that is new takes the place of the lightest known one, whose figures
// move to the last entry. So the figures of an entry begin when it last came in, and
// any statement that takes more than 1/500 of the time stays.
func (c *Connector) TopQueries(n int) []QueryStats {
	co, err := c.peek()
	if err != nil {
		return nil
	}
	if co.cache != nil {
		co.cache.texts.report()
	}
	return co.top.list(n)
}

const (
	topFingerprints = 500
	topShards       = 4       // a power of two
	topTextBytes    = 4 << 10 // of a statement's text, at most
)

// topQueries counts statements by fingerprint, in bounded memory: about 0.6 MB and
// the texts.
//
// It is divided by slot, not by fingerprint: two statements that run at once hold two
// slots, so the goroutines that meet at one hot fingerprint seldom meet at one lock
// or cache line. A reader adds the shards up.
//
// Who stays is decided in each shard by the weighted Space-Saving algorithm (Metwally
// et al. 2005): a newcomer replaces the lightest entry and starts with its weight,
// that is, its execution time. Any fingerprint with more than 1/500 of the time is
// kept, whenever it became hot; a stream of fingerprints that are each seen once
// (texts built by hand) only drives out one another. The weight inherited decides on
// the next replacement only; the figures shown start at zero. Rejected: the first 500
// for ever (what is hot tomorrow is missing); LRU (a scan of rare statements drives
// out the heavy ones); counting by calls (a nightly statement of a minute is a top
// query).
type topQueries struct {
	shards [topShards]topShard
}

type topShard struct {
	mu    sync.Mutex // guards all below; never held while blocking
	known map[uint64]*topEntry
	// heap has the entry with the lowest bound at its root. Weights only grow, so a
	// bound may lag behind; it is mended when its entry comes up at the root. A hit
	// then costs the heap nothing.
	heap  []*topEntry
	other queryCounts
	_     [64]byte // keeps the shards' locks on different cache lines
}

type topEntry struct {
	queryCounts
	fingerprint uint64
	summary     string
	query       string
	bypass      string        // the latest reason, a constant
	bypassed    time.Duration // when, on the limiter's clock
	inherited   time.Duration // the weight of the entry that it replaced
	bound       time.Duration // no more than the weight
}

func (e *topEntry) weight() time.Duration { return e.inherited + e.total }

// queryCounts is the sum over some statements.
type queryCounts struct {
	calls, errors, rows uint64
	hits, misses        uint64
	total, wait, max    time.Duration
	times               timeCounts
}

// add counts a statement that was executed in the slot of that index.
func (t *topQueries) add(slot int, e *event) {
	s := &t.shards[slot&(topShards-1)]
	s.mu.Lock()
	entry := s.known[e.st.Fingerprint]
	if entry == nil {
		entry = s.admitLocked(e.st)
	}
	entry.add(e)
	if e.cache.reason != "" {
		entry.bypass, entry.bypassed = e.cache.reason, e.sent
	}
	s.mu.Unlock()
}

// hit counts queries that the cache has answered. One that costs the server nothing takes
// no other's place, so unknown ones are not counted.
func (t *topQueries) hit(fingerprint, n uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		entry := s.known[fingerprint]
		if entry != nil {
			entry.hits += n
		}
		s.mu.Unlock()
		if entry != nil {
			return
		}
	}
}

// admitLocked makes room for a new fingerprint.
func (s *topShard) admitLocked(st *sqltext.Statement) *topEntry {
	var entry *topEntry
	if len(s.heap) < topFingerprints {
		if s.known == nil {
			s.known = make(map[uint64]*topEntry)
		}
		entry = &topEntry{}
		s.heap = append(s.heap, entry)
		s.siftUpLocked()
	} else {
		entry = s.lightestLocked()
		delete(s.known, entry.fingerprint)
		s.other.merge(&entry.queryCounts)
		inherited := entry.weight()
		*entry = topEntry{inherited: inherited, bound: inherited}
	}
	entry.fingerprint, entry.summary, entry.query = st.Fingerprint, st.Summary, cutText(st.Normalized, topTextBytes)
	s.known[entry.fingerprint] = entry
	return entry
}

// lightestLocked brings the lightest entry to the root. The mending is paid for by the
// hits that made it necessary.
func (s *topShard) lightestLocked() *topEntry {
	for {
		root := s.heap[0]
		if root.bound == root.weight() {
			return root
		}
		root.bound = root.weight()
		s.siftDownLocked()
	}
}

// siftUpLocked puts the last entry, which has bound zero, where it belongs.
func (s *topShard) siftUpLocked() {
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if s.heap[parent].bound <= s.heap[i].bound {
			return
		}
		s.heap[parent], s.heap[i] = s.heap[i], s.heap[parent]
		i = parent
	}
}

// siftDownLocked puts the root, whose bound has grown, where it belongs.
func (s *topShard) siftDownLocked() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if child+1 < len(s.heap) && s.heap[child+1].bound < s.heap[child].bound {
			child++
		}
		if s.heap[i].bound <= s.heap[child].bound {
			return
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
}

func (t *queryCounts) add(e *event) {
	t.calls++
	if e.err != nil {
		t.errors++
	}
	if e.cache.outcome == cacheMiss {
		t.misses++
	}
	t.rows += uint64(e.rows)
	t.total += e.first
	t.wait += e.wait
	t.max = max(t.max, e.first)
	t.times.add(e.first)
}

func (t *queryCounts) merge(from *queryCounts) {
	t.calls += from.calls
	t.errors += from.errors
	t.rows += from.rows
	t.hits += from.hits
	t.misses += from.misses
	t.total += from.total
	t.wait += from.wait
	t.max = max(t.max, from.max)
	t.times.merge(&from.times)
}

// list adds the shards up.
func (t *topQueries) list(n int) []QueryStats {
	var other queryCounts
	sums := make(map[uint64]*topEntry)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		other.merge(&s.other)
		for fingerprint, entry := range s.known {
			if sum := sums[fingerprint]; sum != nil {
				sum.merge(&entry.queryCounts)
				if entry.bypassed > sum.bypassed {
					sum.bypass, sum.bypassed = entry.bypass, entry.bypassed
				}
				continue
			}
			sum := *entry
			sums[fingerprint] = &sum
		}
		s.mu.Unlock()
	}

	sorted := make([]*topEntry, 0, len(sums))
	for _, sum := range sums {
		sorted = append(sorted, sum)
	}
	slices.SortFunc(sorted, func(a, b *topEntry) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.fingerprint, b.fingerprint))
	})
	if n <= 0 || n > topFingerprints {
		n = topFingerprints
	}
	n = min(n, len(sorted))
	for _, rest := range sorted[n:] {
		other.merge(&rest.queryCounts)
	}

	list := make([]QueryStats, 0, n+1)
	for _, sum := range sorted[:n] {
		stats := sum.stats()
		stats.Fingerprint, stats.Summary, stats.Query, stats.Bypass = sum.fingerprint, sum.summary, sum.query, sum.bypass
		list = append(list, stats)
	}
	if other.calls > 0 {
		stats := other.stats()
		stats.Summary = "other"
		list = append(list, stats)
	}
	return list
}

func (t *queryCounts) stats() QueryStats {
	return QueryStats{
		Calls:  t.calls,
		Errors: t.errors,
		Rows:   t.rows,
		Hits:   t.hits,
		Misses: t.misses,
		Total:  t.total,
		Mean:   t.total / time.Duration(t.calls),
		P50:    min(t.times.quantile(0.50), t.max),
		P95:    min(t.times.quantile(0.95), t.max),
		P99:    min(t.times.quantile(0.99), t.max),
		Max:    t.max,
		Wait:   t.wait,
	}
}

// timeCounts is a histogram of durations: two buckets per doubling from 16 µs to 137 s,
// one below, one above. When a bucket is full all are halved: what is shown are
// ratios.
type timeCounts [2*(timeCountsTop-timeCountsBottom) + 2]uint32

const (
	timeCountsBottom = 14 // 2^14 ns
	timeCountsTop    = 37 // 2^37 ns
)

func (c *timeCounts) add(d time.Duration) {
	i := timeBucket(d)
	if c[i] == 1<<32-1 {
		for j := range c {
			c[j] /= 2
		}
	}
	c[i]++
}

func timeBucket(d time.Duration) int {
	v := uint64(max(d, 1))
	octave := bits.Len64(v) - 1
	switch {
	case octave < timeCountsBottom:
		return 0
	case octave >= timeCountsTop:
		return len(timeCounts{}) - 1
	}
	half := v >> (octave - 1) & 1
	return 1 + 2*(octave-timeCountsBottom) + int(half)
}

// timeBucketFloor is the least duration in bucket i.
func timeBucketFloor(i int) time.Duration {
	if i == 0 {
		return 0
	}
	octave, half := timeCountsBottom+(i-1)/2, (i-1)%2
	return time.Duration(2+half) << (octave - 1)
}

func (c *timeCounts) merge(from *timeCounts) {
	for i, n := range from {
		if sum := uint64(c[i]) + uint64(n); sum < 1<<32 {
			c[i] = uint32(sum)
			continue
		}
		c[i] = 1<<32 - 1
	}
}

// quantile interpolates within the bucket that has the q-th part of all.
func (c *timeCounts) quantile(q float64) time.Duration {
	var all uint64
	for _, n := range c {
		all += uint64(n)
	}
	rank := q * float64(all)
	for i, n := range c {
		if float64(n) < rank || n == 0 {
			rank -= float64(n)
			continue
		}
		low, high := timeBucketFloor(i), timeBucketFloor(i+1)
		return low + time.Duration(rank/float64(n)*float64(high-low))
	}
	return timeBucketFloor(len(c))
}

// cutText shortens text to n bytes, between two characters, in memory of its own.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n]) + "…"
}
