package spec

// reads are the operations that something other than PostgreSQL could answer.
const reads = `op="select"`

// cache shows what the series of statements tell by source. Sources other than db come
// with the query cache; until then everything here is PostgreSQL's.
func cache() Board {
	readsBy := func(by string) string {
		return "sum by (" + by + ") (rate(" + statements + "{@, " + reads + "}[" + Range + "]))"
	}
	fromDatabase := "sum by (pool) (rate(" + statements + "{@, " + reads + `, source="db"}[` + Range + "]))"
	return Board{
		UID: CacheUID, Title: "Lifeguard: cache",
		Text: "Who answers reads: the database, or what is closer.",
		Sections: []Section{
			{ID: 1, Title: "Now", Panels: []Panel{
				{
					ID: 2, Kind: Number, Title: "Answered without the database", Unit: Share, Max: at(1),
					Text:    "Share of reads that PostgreSQL did not have to answer.",
					Queries: []Query{{"1 - " + fromDatabase + " / (" + readsBy("pool") + " > 0) or " + readsBy("pool") + " * 0", "{{pool}}"}},
				},
				{
					ID: 3, Kind: Number, Title: "Reads", Unit: OpsPerSecond,
					Text:    "Reads a second, whoever answered.",
					Queries: []Query{{readsBy("pool"), "{{pool}}"}},
				},
				{
					ID: 4, Kind: Number, Title: "Reads that the database was spared", Unit: OpsPerSecond,
					Text:    "Reads a second that were answered from elsewhere.",
					Queries: []Query{{readsBy("pool") + " - " + fromDatabase, "{{pool}}"}},
				},
			}},
			{ID: 10, Title: "By source", Panels: []Panel{
				{
					ID: 11, Kind: Lines, Title: "Reads by source", Unit: OpsPerSecond, Stacked: true, Width: 12,
					Text:    "Reads a second by what answered them: db is PostgreSQL.",
					Queries: []Query{{readsBy("pool, source"), "{{pool}} from {{source}}"}},
				},
				{
					ID: 12, Kind: Lines, Title: "Share by source", Unit: Share, Stacked: true, Max: at(1), Width: 12,
					Text:    "What part of the reads each source answered.",
					Queries: []Query{{readsBy("pool, source") + " / on (pool) group_left () (" + readsBy("pool") + " > 0)", "{{pool}} from {{source}}"}},
				},
				{
					ID: 13, Kind: Lines, Title: "Latency by source", Unit: Seconds, Width: 12,
					Text:    "Median and p99 of reads by what answered them.",
					Queries: latencyBySource(),
				},
				{
					ID: 14, Kind: Lines, Title: "Writes", Unit: OpsPerSecond, Stacked: true, Width: 12,
					Text:    "Statements a second that change data, and so what is remembered of it.",
					Queries: []Query{{"sum by (pool, op) (rate(" + statements + `{@, op=~"insert|update|delete|copy"}[` + Range + "]))", "{{pool}} {{op}}"}},
				},
			}},
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
