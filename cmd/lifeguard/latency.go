package main

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations in buckets that are 1/64 of their value wide, so that a
// percentile is at most 1.6 % too high. The zero value is ready; all methods may be
// called concurrently.
type histogram struct {
	counts  bucketCounts
	longest atomic.Int64
}

type bucketCounts [buckets]atomic.Uint64

const (
	subBits = 6  // 64 buckets for each power of two
	topBits = 40 // 18 minutes; what is longer counts as that
	buckets = (topBits-subBits+1)<<subBits + 1
)

func bucketOf(d time.Duration) int {
	v := uint64(min(max(d, 0), 1<<topBits-1))
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// bucketTop is the longest duration of a bucket.
func bucketTop(i int) time.Duration {
	shift := max(i>>subBits-1, 0)
	return time.Duration((i-shift<<subBits+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)].Add(1)
	for {
		longest := h.longest.Load()
		if int64(d) <= longest || h.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

func (h *histogram) longestSeen() time.Duration { return time.Duration(h.longest.Load()) }

func (h *histogram) count() int { return h.snapshot().count() }

// percentile returns the duration that the fraction q of all did not exceed; 0 if there
// are none.
func (h *histogram) percentile(q float64) time.Duration {
	return min(h.snapshot().percentile(q), h.longestSeen())
}

// A snapshot is what a histogram held at one moment.
type snapshot [buckets]uint64

func (h *histogram) snapshot() *snapshot {
	var s snapshot
	for i := range h.counts {
		s[i] = h.counts[i].Load()
	}
	return &s
}

// since returns what was added after an earlier snapshot.
func (s *snapshot) since(earlier *snapshot) *snapshot {
	var diff snapshot
	for i := range s {
		diff[i] = s[i] - earlier[i]
	}
	return &diff
}

func (s *snapshot) count() int {
	n := uint64(0)
	for _, c := range s {
		n += c
	}
	return int(n)
}

// percentile is by nearest rank.
func (s *snapshot) percentile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(s.count())))
	seen := uint64(0)
	for i, c := range s {
		seen += c
		if c > 0 && seen >= rank {
			return bucketTop(i)
		}
	}
	return 0
}
