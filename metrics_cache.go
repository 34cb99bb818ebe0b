package lifeguard

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// What answered a query, if not the database.
const (
	sourceMemory = "memory"
	sourceShared = "shared" // a query that somebody else had sent
)

// cacheMetrics are those of the query cache. They are described where it is off, too: two
// pools of one name are told apart by their descriptions being equal, see registerMetrics.
// Hits are counted elsewhere, see hitCounts, and only read here.
type cacheMetrics struct {
	sharedBy [outcomes]atomic.Uint64

	cdc   *cdcMetrics
	redis *redisMetrics

	answers, hits, ages, shared, misses, bypasses, invalidations *prometheus.Desc
	entries, bytes, maxBytes, ttl, evictions, unsettled          *prometheus.Desc
}

func newCacheMetrics(desc func(name, help string, variable ...string) *prometheus.Desc) *cacheMetrics {
	return &cacheMetrics{
		cdc:           newCDCMetrics(desc),
		redis:         newRedisMetrics(desc),
		answers:       desc("queries_total", queriesHelp, queriesLabels...),
		hits:          desc("cache_hits_total", "Queries that were answered from memory; with lifeguard_cache=ttl perhaps by a stale result.", "mode"),
		ages:          desc("cache_age_seconds", "Age of results when they were served from memory, of the first in every 16 hits; with lifeguard_cache=ttl so long they may have been stale.", "mode"),
		shared:        desc("cache_shared_total", "Queries that were answered by an equal one, which was under way."),
		misses:        desc("cache_misses_total", "Queries that were sent to the server for a result to keep."),
		bypasses:      desc("cache_bypasses_total", "Queries that could not be answered from memory, by reason.", "reason"),
		invalidations: desc("cache_invalidations_total", "What made kept results invalid, by cause.", "cause"),
		entries:       desc("cache_entries", "Results in memory."),
		bytes:         desc("cache_bytes", "Memory that they take."),
		maxBytes:      desc("cache_max_bytes", "Memory that they may take."),
		ttl:           desc("cache_ttl_seconds", "Age above which no result is served; 0 if there is no such age."),
		evictions:     desc("cache_evictions_total", "Results that were dropped for want of room."),
		unsettled:     desc("cache_unsettled_commits", "Commits whose connection was lost and whose outcome is not known yet; what they have written is not served."),
	}
}

// sharedOutcomes are what can happen: whoever waits for another's query and gets its error
// asks by himself.
//
//nolint:gochecknoglobals // a constant
var sharedOutcomes = []queryOutcome{outcomeOK, outcomeTimeout, outcomeCanceled}

// answered counts a query that waited for another's answer.
func (m *metrics) answered(outcome queryOutcome) {
	m.cache.sharedBy[outcome].Add(1)
}

func (m *cacheMetrics) describe(ch chan<- *prometheus.Desc) {
	m.cdc.describe(ch)
	m.redis.describe(ch)
	for _, d := range []*prometheus.Desc{ // answers is the one of metrics
		m.hits, m.ages, m.shared, m.misses, m.bypasses, m.invalidations, m.entries, m.bytes, m.maxBytes, m.ttl, m.evictions, m.unsettled,
	} {
		ch <- d
	}
}

func (m *cacheMetrics) collect(st *CacheStats, ch chan<- prometheus.Metric, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	if st == nil {
		return
	}
	counter(m.answers, float64(st.Hits), sqltext.OpSelect.String(), sourceMemory, outcomeOK.String())
	for _, o := range sharedOutcomes {
		counter(m.answers, float64(m.sharedBy[o].Load()), sqltext.OpSelect.String(), sourceShared, o.String())
	}
	counter(m.hits, float64(st.Hits), string(st.Mode))
	ages := make(map[float64]uint64, len(st.Ages.Buckets))
	for _, b := range st.Ages.Buckets {
		ages[b.UpTo.Seconds()] = b.Count
	}
	ch <- prometheus.MustNewConstHistogram(m.ages, st.Ages.Count, st.Ages.Sum.Seconds(), ages, string(st.Mode))
	counter(m.shared, float64(st.Shared))
	counter(m.misses, float64(st.Misses))
	for reason, n := range st.Bypasses {
		counter(m.bypasses, float64(n), reason)
	}
	for cause, n := range st.Invalidations {
		counter(m.invalidations, float64(n), cause)
	}
	m.cdc.collect(st.CDC, gauge, counter)
	m.redis.collect(st.Redis, m.answers, ch, gauge, counter)
	gauge(m.entries, float64(st.Entries))
	gauge(m.bytes, float64(st.Bytes))
	gauge(m.maxBytes, float64(st.MaxBytes))
	gauge(m.ttl, st.TTL.Seconds())
	counter(m.evictions, float64(st.Evictions))
	gauge(m.unsettled, float64(st.Unsettled))
}
