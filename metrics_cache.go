package lifeguard

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// source is what answered a query, if not the database.
type source uint8

const (
	sourceMemory source = iota
	sourceShared        // a query that somebody else had sent
	sources
)

func (s source) String() string { return [...]string{"memory", "shared"}[s] }

// cacheMetrics are those of the query cache; nil if it is off.
type cacheMetrics struct {
	queryBy [sources][sqltext.Ops][outcomes]prometheus.Counter

	hits, shared, misses, bypasses, invalidations *prometheus.Desc
	entries, bytes, evictions, unsettled          *prometheus.Desc
}

func newCacheMetrics(queries *prometheus.CounterVec, desc func(name, help string, variable ...string) *prometheus.Desc) *cacheMetrics {
	m := &cacheMetrics{
		hits:          desc("cache_hits_total", "Queries that were answered from memory; with lifeguard_cache=ttl perhaps by a stale result.", "mode"),
		shared:        desc("cache_shared_total", "Queries that were answered by an equal one, which was under way."),
		misses:        desc("cache_misses_total", "Queries that were sent to the server for a result to keep."),
		bypasses:      desc("cache_bypasses_total", "Queries that could not be answered from memory, by reason.", "reason"),
		invalidations: desc("cache_invalidations_total", "What made kept results invalid, by cause.", "cause"),
		entries:       desc("cache_entries", "Results in memory."),
		bytes:         desc("cache_bytes", "Memory that they take."),
		evictions:     desc("cache_evictions_total", "Results that were dropped for want of room."),
		unsettled:     desc("cache_unsettled_commits", "Commits whose connection was lost and whose outcome is not known yet; what they have written is not served."),
	}
	// Only what can happen: a refusal or an error of the server's is never a hit's.
	for from := range sources {
		for _, o := range []queryOutcome{outcomeOK, outcomeTimeout, outcomeCanceled} {
			if from == sourceMemory && o != outcomeOK {
				continue
			}
			m.queryBy[from][sqltext.OpSelect][o] = queries.WithLabelValues(sqltext.OpSelect.String(), from.String(), o.String())
		}
	}
	return m
}

// answered counts a query that was not sent to the server.
func (m *metrics) answered(op sqltext.Op, from source, outcome queryOutcome) {
	if n := m.cache.queryBy[from][op][outcome]; n != nil {
		n.Inc()
	}
}

func (m *cacheMetrics) describe(ch chan<- *prometheus.Desc) {
	if m == nil {
		return
	}
	for _, d := range []*prometheus.Desc{
		m.hits, m.shared, m.misses, m.bypasses, m.invalidations, m.entries, m.bytes, m.evictions, m.unsettled,
	} {
		ch <- d
	}
}

func (m *cacheMetrics) collect(st *CacheStats, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	if m == nil || st == nil {
		return
	}
	counter(m.hits, float64(st.Hits), string(st.Mode))
	counter(m.shared, float64(st.Shared))
	counter(m.misses, float64(st.Misses))
	for reason, n := range st.Bypasses {
		counter(m.bypasses, float64(n), reason)
	}
	for cause, n := range st.Invalidations {
		counter(m.invalidations, float64(n), cause)
	}
	gauge(m.entries, float64(st.Entries))
	gauge(m.bytes, float64(st.Bytes))
	counter(m.evictions, float64(st.Evictions))
	gauge(m.unsettled, float64(st.Unsettled))
}
