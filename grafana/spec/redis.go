package spec

// noRedis is shown where a pool shares nothing.
const noRedis = "lifeguard_redis is not set"

// redisPanels show how results are shared through Redis.
func redisPanels() []Panel {
	return []Panel{
		{
			ID: 61, Kind: Lines, Title: "Where the instances stand", Unit: Count, Stacked: true, Empty: noRedis,
			Text: "joined: results are shared. failing: Redis does not answer this instance, its reads go to PostgreSQL. out: what it writes " +
				"cannot be announced, so no instance serves; the others are then apart. nowhere: no connection to PostgreSQL beside the pool.",
			Queries: []Query{{"sum by (pool, state) (lifeguard_redis_state{@})", "{{pool}} {{state}}"}},
		},
		{
			ID: panelLookups, Kind: Lines, Title: "Look-ups in Redis, by result", Unit: PerSecond, Stacked: true, Empty: noRedis,
			Text:    "One for each query that may be cached. same: what memory has still stands; value: found in Redis; fenced: a write is under way; unconfirmed: it is not known what others write.",
			Queries: []Query{{rateBy("lifeguard_redis_lookups_total", "pool, result"), "{{pool}} {{result}}"}},
		},
		{
			ID: 63, Kind: Lines, Title: "Round trips to Redis", Unit: Seconds, Empty: noRedis,
			Text: "A look-up that takes longer than 50 ms is given up.",
			Queries: []Query{
				{"histogram_quantile(0.5, sum by (pool, le) (rate(lifeguard_redis_roundtrip_seconds_bucket{@}[" + Range + "])))", "{{pool}} p50"},
				{"histogram_quantile(0.99, sum by (pool, le) (rate(lifeguard_redis_roundtrip_seconds_bucket{@}[" + Range + "])))", "{{pool}} p99"},
			},
		},
		{
			ID: 64, Kind: Lines, Title: "Errors of Redis, and the breaker", Unit: PerSecond, Empty: noRedis,
			Text: "Errors by kind, a second. Open: instances that do not ask Redis for a second, since it did not answer.",
			Queries: []Query{
				{rateBy("lifeguard_redis_errors_total", "pool, kind"), "{{pool}} {{kind}}"},
				{`sum by (pool) (lifeguard_redis_breaker{@, state="open"})`, "{{pool}} open"},
			},
		},
		{
			ID: 65, Kind: Lines, Title: "Writes that the others were told of", Unit: PerSecond, Empty: noRedis,
			Text: "By Redis, or by the lock in PostgreSQL alone: then no instance serves. Under way: those that have not ended; what they touch is not served.",
			Queries: []Query{
				{rateBy("lifeguard_redis_writes_total", "pool, way"), "{{pool}} {{way}}"},
				{rateBy("lifeguard_redis_outs_total", "pool"), "{{pool}} went out"},
				{"sum by (pool) (lifeguard_redis_writes_underway{@})", "{{pool}} under way"},
			},
		},
		{
			ID: 66, Kind: Lines, Title: "Results stored in Redis, and their bytes", Unit: PerSecond, Empty: noRedis,
			Text: "Fills a second, and bytes of results read and written a second.",
			Queries: []Query{
				{rateBy("lifeguard_redis_fills_total", "pool"), "{{pool}} fills"},
				{rateBy("lifeguard_redis_bytes_total", "pool, direction"), "{{pool}} bytes {{direction}}"},
			},
		},
	}
}
