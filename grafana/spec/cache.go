package spec

// reads are the operations that something other than PostgreSQL could answer.
const reads = `op="select"`

const (
	cacheHits     = "lifeguard_cache_hits_total"
	cacheMisses   = "lifeguard_cache_misses_total"
	cacheBypasses = "lifeguard_cache_bypasses_total"
)

// noCache is shown where a pool has none.
const noCache = "lifeguard_cache is not set"

// cache shows who answers reads, why the query cache does not, and what it holds.
func cache(p Params) Board {
	return Board{
		UID: CacheUID, Title: "Lifeguard: cache",
		Text: "Who answers reads, why memory does not, and what makes results invalid.",
		Sections: []Section{
			{ID: 1, Title: "Now", Panels: cacheNow()},
			{ID: 10, Title: "By source", Panels: bySource()},
			{ID: 20, Title: "Why not from memory", Panels: bypassPanels(p)},
			{ID: 30, Title: "What is invalid, and since when", Panels: invalidPanels()},
			{ID: 40, Title: "Memory", Panels: memoryPanels()},
			{ID: 50, Title: "What others write (lifeguard_cache=cdc)", Panels: othersPanels()},
			{ID: 60, Title: "Shared with other processes (lifeguard_redis)", Panels: redisPanels()},
		},
	}
}

func readsBy(by string) string {
	return "sum by (" + by + ") (rate(" + statements + "{@, " + reads + "}[" + Range + "]))"
}

// readsFromDatabase are those that PostgreSQL answered.
const readsFromDatabase = "sum by (pool) (rate(" + statements + "{@, " + reads + `, source="db"}[` + Range + "]))"

func cacheNow() []Panel {
	asked := asked("pool", "{@}", Range)
	return []Panel{
		{
			ID: 2, Kind: Number, Title: "Answered without the database", Unit: Share, Max: at(1),
			Text:    "Share of reads that PostgreSQL did not have to answer.",
			Queries: []Query{{"1 - " + readsFromDatabase + " / (" + readsBy("pool") + " > 0) or " + readsBy("pool") + " * 0", "{{pool}}"}},
		},
		{
			ID: 6, Kind: Number, Title: "Hit ratio of what is cacheable", Unit: Share, Max: at(1), Empty: noCache,
			Text: "Of the reads that were answered from memory or sent for a result to keep, the share of the former. " +
				"Low with many misses: what is read changes, or does not come again.",
			Queries: []Query{{hitRatio("pool", "{@}", Range), "{{pool}}"}},
		},
		{
			ID: 5, Kind: Number, Title: "Cacheable", Unit: Share, Max: at(1), Empty: noCache,
			Text:    "Share of reads that the cache did not have to bypass. The others: see below why.",
			Queries: []Query{{"1 - " + rateBy(cacheBypasses, "pool") + " / (" + asked + " > 0) or " + asked + " * 0", "{{pool}}"}},
		},
		{
			ID: 3, Kind: Number, Title: "Reads", Unit: OpsPerSecond,
			Text:    "Reads a second, whoever answered.",
			Queries: []Query{{readsBy("pool"), "{{pool}}"}},
		},
		{
			ID: 4, Kind: Number, Title: "Reads that the database was spared", Unit: OpsPerSecond,
			Text:    "Reads a second that were answered from elsewhere.",
			Queries: []Query{{readsBy("pool") + " - " + readsFromDatabase, "{{pool}}"}},
		},
		{
			ID: panelUnsettled, Kind: Number, Title: "Unsettled commits", Unit: Count, Empty: noCache,
			Text: "Commits whose answer was lost with their connection, and that may still happen. Until that is known " +
				"reads of what they have written go to the database.",
			Queries: []Query{{"sum by (pool, instance) (lifeguard_cache_unsettled_commits{@})", "{{pool}} {{instance}}"}},
		},
	}
}

// spared are the reads that the cache answered, asked all that it was asked for.
func spared(by, selector, window string) string {
	return "(" + cacheRate(cacheHits, by, selector, window) + " + " + cacheRate("lifeguard_cache_shared_total", by, selector, window) + ")"
}

func asked(by, selector, window string) string {
	return "(" + spared(by, selector, window) + " + " + cacheRate(cacheMisses, by, selector, window) + " + " +
		cacheRate(cacheBypasses, by, selector, window) + ")"
}

func cacheRate(series, by, selector, window string) string {
	return "sum by (" + by + ") (rate(" + series + selector + "[" + window + "]))"
}

// hitRatio is of the reads that are cacheable; there is none where there are none.
func hitRatio(by, selector, window string) string {
	hits := spared(by, selector, window)
	return hits + " / (" + hits + " + " + cacheRate(cacheMisses, by, selector, window) + " > 0)"
}

func bySource() []Panel {
	return []Panel{
		{
			ID: 11, Kind: Lines, Title: "Reads by source", Unit: OpsPerSecond, Stacked: true, Width: 12,
			Text:    "Reads a second by what answered them: db is PostgreSQL, memory the cache, shared an equal query that was under way.",
			Queries: []Query{{readsBy("pool, source"), "{{pool}} from {{source}}"}},
		},
		{
			ID: 12, Kind: Lines, Title: "Share by source", Unit: Share, Stacked: true, Max: at(1), Width: 12,
			Text:    "What part of the reads each source answered.",
			Queries: []Query{{readsBy("pool, source") + " / on (pool) group_left () (" + readsBy("pool") + " > 0)", "{{pool}} from {{source}}"}},
		},
		{
			ID: 13, Kind: Lines, Title: "Latency by source", Unit: Seconds, Width: 12,
			Text:    "Median and p99 of reads by what answered them. Hits are not measured: they take microseconds.",
			Queries: latencyBySource(),
		},
		{
			ID: 14, Kind: Lines, Title: "Writes", Unit: OpsPerSecond, Stacked: true, Width: 12,
			Text:    "Statements a second that change data, and so what is remembered of it.",
			Queries: []Query{{"sum by (pool, op) (rate(" + statements + `{@, op=~"insert|update|delete|copy"}[` + Range + "]))", "{{pool}} {{op}}"}},
		},
	}
}

func latencyBySource() []Query {
	buckets := "sum by (pool, source, le) (rate(" + statementSeconds + "_bucket{@, " + reads + "}[" + Range + "])))"
	return []Query{
		{"histogram_quantile(0.5, " + buckets, "{{pool}} from {{source}} p50"},
		{"histogram_quantile(0.99, " + buckets, "{{pool}} from {{source}} p99"},
	}
}

func bypassPanels(p Params) []Panel {
	return []Panel{
		{
			ID: 21, Kind: Lines, Title: "Bypasses, the ten most frequent reasons", Unit: OpsPerSecond, Stacked: true, Width: 12, Empty: noCache,
			Text: "Reads a second that went past the cache. new: not seen often enough yet; leased: within a transaction; " +
				"fenced: a commit to its tables is under way; docs/cache.md has all reasons. Connector.TopQueries says which statements.",
			Queries: []Query{{"topk(10, " + rateBy(cacheBypasses, "pool, reason") + ")", "{{pool}} {{reason}}"}},
		},
		{
			ID: 22, Kind: Lines, Title: "Hits, misses and shared flights", Unit: OpsPerSecond, Stacked: true, Width: 12, Empty: noCache,
			Text: "Reads a second that the cache answered, that were sent for a result to keep, and that were answered by an equal one's. " +
				"mode is the guarantee: local is exact for what this process writes, cdc for everybody's within its bound, ttl may be stale.",
			Queries: []Query{
				{rateBy(cacheHits, "pool, mode"), "{{pool}} hits ({{mode}})"},
				{rateBy(cacheMisses, "pool"), "{{pool}} misses"},
				{rateBy("lifeguard_cache_shared_total", "pool"), "{{pool}} shared"},
			},
		},
		{
			ID: panelSpared, Kind: Lines, Title: "Share that the cache answered", Unit: Share, Max: at(1), Empty: noCache,
			Text:    "Of all reads. The alert is for less than half of its mean over " + promDuration(p.CachePast) + ".",
			Queries: []Query{{spared("pool", "{@}", Range) + " / (" + asked("pool", "{@}", Range) + " > 0)", "{{pool}}"}},
		},
	}
}

func invalidPanels() []Panel {
	return []Panel{
		{
			ID: 31, Kind: Lines, Title: "Invalidations by cause", Unit: PerSecond, Stacked: true, Empty: noCache,
			Text: "write: of known tables, whose results alone are invalid; others: the same, written by others. All others make every result invalid: everything, a write " +
				"of unknown extent; ddl; raw, sql.Conn.Raw or a batch; connection_lost; unsettled; manual.",
			Queries: []Query{{rateBy("lifeguard_cache_invalidations_total", "pool, cause"), "{{pool}} {{cause}}"}},
		},
		{
			ID: 32, Kind: Lines, Title: "Age of what is served", Unit: Seconds, Empty: noCache,
			Text: "How long ago the results of hits were read, for a sample of them. With local a great age is no fault: nothing was " +
				"written since.",
			Queries: []Query{
				{"histogram_quantile(0.5, sum by (pool, mode, le) (rate(lifeguard_cache_age_seconds_bucket{@}[" + Range + "])))", "{{pool}} ({{mode}}) p50"},
				{"histogram_quantile(0.99, sum by (pool, mode, le) (rate(lifeguard_cache_age_seconds_bucket{@}[" + Range + "])))", "{{pool}} ({{mode}}) p99"},
			},
		},
		{
			ID: 33, Kind: Lines, Title: "Age bound", Unit: Seconds, Empty: noCache,
			Text:    "lifeguard_cache_ttl: nothing older is served. 0 means no bound, which only mode local allows.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_cache_ttl_seconds{@})", "{{pool}} {{instance}}"}},
		},
	}
}

func memoryPanels() []Panel {
	return []Panel{
		{
			ID: 41, Kind: Lines, Title: "Memory and its bound", Unit: Bytes, Empty: noCache,
			Text: "What results take, and lifeguard_cache_size.",
			Queries: []Query{
				{"sum by (pool, instance) (lifeguard_cache_bytes{@})", "{{pool}} {{instance}} used"},
				{"sum by (pool, instance) (lifeguard_cache_max_bytes{@})", "{{pool}} {{instance}} bound"},
			},
		},
		{
			ID: 42, Kind: Lines, Title: "Results", Unit: Count, Empty: noCache,
			Text:    "How many results are in memory, in each instance.",
			Queries: []Query{{"sum by (pool, instance) (lifeguard_cache_entries{@})", "{{pool}} {{instance}}"}},
		},
		{
			ID: 43, Kind: Lines, Title: "Evictions", Unit: PerSecond, Empty: noCache,
			Text: "Results a second that were dropped for want of room. With a low hit ratio and memory at its bound: raise " +
				"lifeguard_cache_size.",
			Queries: []Query{{rateBy("lifeguard_cache_evictions_total", "pool"), "{{pool}}"}},
		},
	}
}
