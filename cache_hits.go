package lifeguard

import (
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
)

// hitCounts counts hits, and how old a sample of the results was. It is divided by virtual
// connection, as topQueries is by slot: a hit writes to no cache line that all hits share.
// One atomic addition is all that most hits cost here; one in ageSample also reads the
// clock.
type hitCounts struct {
	shards [hitShards]hitShard
}

const hitShards = 16 // a power of two

type hitShard struct {
	hits atomic.Uint64
	ages [len(ageEdges) + 1]atomic.Uint64 // of the sample, by edge; the last is beyond all
	age  atomic.Int64                     // sum over the sample
	_    [128]byte                        // keeps the shards on cache lines of their own
}

// ageSample is one in how many hits has its result's age looked at, the first of each
// shard among them.
const ageSample = 16

// ageEdges are the upper edges of the buckets. An array, so that its length is a constant.
//
//nolint:gochecknoglobals // a constant
var ageEdges = [...]time.Duration{
	10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second,
	time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// add counts a hit, of an entry stored on the limiter's clock. It reports whether the hit is
// one of the sample.
func (h *hitCounts) add(shard uint8, e *cache.Entry, l *limiter) bool {
	s := &h.shards[shard%hitShards]
	if s.hits.Add(1)%ageSample != 1 {
		return false
	}
	age := max(l.now()-e.Stored, 0)
	i := 0
	for i < len(ageEdges) && age > ageEdges[i] {
		i++
	}
	s.ages[i].Add(1)
	s.age.Add(int64(age))
	return true
}

func (h *hitCounts) total() (n uint64) {
	for i := range h.shards {
		n += h.shards[i].hits.Load()
	}
	return n
}

// CacheAges says how old results were when they were served from memory, for a sample:
// the first hit of every 16.
type CacheAges struct {
	Count   uint64        // hits in the sample
	Sum     time.Duration // of their ages
	Buckets []CacheAge    // with growing UpTo; what is older is in Count only
}

// CacheAge is how many of a sample were of no greater age than UpTo.
type CacheAge struct {
	UpTo  time.Duration
	Count uint64
}

func (h *hitCounts) aged() CacheAges {
	a := CacheAges{Buckets: make([]CacheAge, len(ageEdges))}
	for i, edge := range ageEdges {
		a.Buckets[i].UpTo = edge
	}
	for i := range h.shards {
		s := &h.shards[i]
		a.Sum += time.Duration(s.age.Load())
		var below uint64
		for j := range ageEdges {
			below += s.ages[j].Load()
			a.Buckets[j].Count += below
		}
		a.Count += below + s.ages[len(ageEdges)].Load()
	}
	return a
}
