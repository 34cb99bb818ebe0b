package lifeguard

import (
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
)

func TestTheAgesOfHitsAreASample(t *testing.T) {
	var h hitCounts
	l := &limiter{epoch: time.Now().Add(-48 * time.Hour)}
	old, fresh := &cache.Entry{}, &cache.Entry{Stored: l.now() + time.Hour}
	for range ageSample + 1 { // two of them are looked at
		h.add(0, old, l)
	}
	h.add(hitShards, fresh, l) // the same shard again
	h.add(1, fresh, l)
	if n := h.total(); n != ageSample+3 {
		t.Errorf("%d hits, not %d", n, ageSample+3)
	}
	ages := h.aged()
	if ages.Count != 3 || ages.Sum < 96*time.Hour || ages.Sum > 97*time.Hour {
		t.Errorf("%d ages of %v in all, not three of four days", ages.Count, ages.Sum)
	}
	for _, b := range ages.Buckets {
		if b.Count != 1 {
			t.Errorf("%d are no older than %v, not the fresh one alone", b.Count, b.UpTo)
		}
	}
}

func BenchmarkHitIsCounted(b *testing.B) {
	var h hitCounts
	l := &limiter{epoch: time.Now()}
	e := &cache.Entry{}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		shard := uint8(time.Now().UnixNano()) //nolint:gosec // any number does
		for pb.Next() {
			h.add(shard, e, l)
		}
	})
}
