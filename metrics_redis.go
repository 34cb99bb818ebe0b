package lifeguard

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// sourceRedis is what answered a query that neither memory nor the database did.
const sourceRedis = "redis"

// redisMetrics are those of lifeguard_redis. They are described without it, too, see
// cacheMetrics.
type redisMetrics struct {
	state, breaker, lookups, errors, fills, bytes, writes, underway, outs, trips *prometheus.Desc
}

func newRedisMetrics(desc func(name, help string, variable ...string) *prometheus.Desc) *redisMetrics {
	return &redisMetrics{
		state:    desc("redis_state", "1 for where this process stands with the others that share results: joined; failing, where Redis does not answer it; apart, where another process uses another Redis or none; out, where it cannot announce what it writes, so that no process serves results; nowhere, without its connection to PostgreSQL beside the pool.", "state"),
		breaker:  desc("redis_breaker", "1 for the state of the circuit breaker before Redis: closed; open, where Redis is not asked; half_open, where one look-up tries.", "state"),
		lookups:  desc("redis_lookups_total", "Look-ups in Redis, by result: same (what memory had still stands), value (found in Redis), miss, fenced (a write is under way), unconfirmed (it is not known what others write), error.", "result"),
		errors:   desc("redis_errors_total", "Errors of Redis, by kind.", "kind"),
		fills:    desc("redis_fills_total", "Results that were stored in Redis."),
		bytes:    desc("redis_bytes_total", "Bytes of results that were read from Redis, or written to it.", "direction"),
		writes:   desc("redis_writes_total", "Writes of which the other processes were told: announced in Redis, or by the lock in PostgreSQL alone.", "way"),
		underway: desc("redis_writes_underway", "Writes that the other processes were told of and that have not ended."),
		outs:     desc("redis_outs_total", "Times that this process could not announce what it writes, and kept all from serving results."),
		trips:    desc("redis_roundtrip_seconds", "How long round trips to Redis took."),
	}
}

func (m *redisMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.state, m.breaker, m.lookups, m.errors, m.fills, m.bytes, m.writes, m.underway, m.outs, m.trips} {
		ch <- d
	}
}

func (m *redisMetrics) collect(st *RedisStats, queries *prometheus.Desc, ch chan<- prometheus.Metric, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	if st == nil {
		return
	}
	counter(queries, float64(st.Hits), sqltext.OpSelect.String(), sourceRedis, outcomeOK.String())
	one := map[bool]float64{true: 1}
	for _, state := range redisStates {
		gauge(m.state, one[st.State == state], state)
	}
	for _, state := range breakerStates {
		gauge(m.breaker, one[st.Breaker == state], state)
	}
	for result, n := range st.Lookups {
		counter(m.lookups, float64(n), result)
	}
	for kind, n := range st.Errors {
		counter(m.errors, float64(n), kind)
	}
	counter(m.fills, float64(st.Fills))
	counter(m.bytes, float64(st.Read), "read")
	counter(m.bytes, float64(st.Written), "written")
	counter(m.writes, float64(st.Announced), "redis")
	counter(m.writes, float64(st.Unannounced), "postgresql")
	gauge(m.underway, float64(st.Underway))
	counter(m.outs, float64(st.Outs))
	trips := make(map[float64]uint64, len(st.Trips.Buckets))
	for _, b := range st.Trips.Buckets {
		trips[b.UpTo.Seconds()] = b.Count
	}
	ch <- prometheus.MustNewConstHistogram(m.trips, st.Trips.Count, st.Trips.Sum.Seconds(), trips)
}
