package spec

// UIDs of the boards.
const (
	OverviewUID  = "lifeguard-overview"
	AdmissionUID = "lifeguard-admission"
	CacheUID     = "lifeguard-cache"
)

// Panels that alerts point at.
const (
	panelLatency     = 21
	panelErrors      = 31
	panelRefusals    = 32
	panelQueue       = 11
	panelSlots       = 21
	panelThroughput  = 11
	panelSpared      = 23
	panelUnsettled   = 7
	panelConfirmed   = 51
	panelLookups     = 62
	failed           = `outcome=~"error|timeout"`
	statements       = "lifeguard_queries_total"
	statementSeconds = "lifeguard_query_duration_seconds"
)

func overview(p Params) Board {
	return Board{
		UID: OverviewUID, Title: "Lifeguard: overview",
		Text: "Whether statements are answered, how fast, and what went wrong.",
		Sections: []Section{
			{ID: 1, Title: "Now", Panels: overviewNow(p)},
			{ID: 10, Title: "Throughput", Panels: []Panel{
				{
					ID: panelThroughput, Kind: Lines, Title: "Statements by operation", Unit: OpsPerSecond, Stacked: true,
					Text:    "Statements a second by what they do, whoever answered them.",
					Queries: []Query{{rateBy(statements, "pool, op"), "{{pool}} {{op}}"}},
				},
				{
					ID: 12, Kind: Lines, Title: "Statements by source", Unit: OpsPerSecond, Stacked: true,
					Text:    "Statements a second by what answered them: db is PostgreSQL.",
					Queries: []Query{{rateBy(statements, "pool, source"), "{{pool}} from {{source}}"}},
				},
				{
					ID: 13, Kind: Lines, Title: "Statements by outcome", Unit: OpsPerSecond, Stacked: true,
					Text: "rejected was refused admission, timeout is the caller's deadline, canceled its cancellation, " +
						"error is the server's or the network's.",
					Queries: []Query{{rateBy(statements, "pool, outcome"), "{{pool}} {{outcome}}"}},
				},
			}},
			{ID: 20, Title: "Latency", Panels: overviewLatency(p)},
			{ID: 30, Title: "Errors and refusals", Panels: []Panel{
				{
					ID: panelErrors, Kind: Lines, Title: "Errors by SQLSTATE class", Unit: PerSecond, Stacked: true, Width: 12,
					Text: "Errors a second by the first two characters of their SQLSTATE: 08 connection, 22 data, 23 constraint, " +
						"40 serialization and deadlock, 42 syntax and privileges, 53 resources, 57 shutdown and cancel. Neither refusals nor callers' deadlines.",
					Queries: []Query{{rateBy("lifeguard_errors_total", "pool, class") + " > 0", "{{pool}} {{class}}"}},
					Empty:   "no errors",
				},
				{
					ID: panelRefusals, Kind: Lines, Title: "Refusals by reason", Unit: PerSecond, Stacked: true, Width: 12,
					Text: "Callers a second that were refused admission. queue_full: too many wait. deadline: theirs would pass first. " +
						"timeout: waited too long. codel: the queue stood. nested: the same goroutine holds a connection already.",
					Queries: []Query{{rateBy("lifeguard_refusals_total", "pool, reason"), "{{pool}} {{reason}}"}},
				},
			}},
			{ID: 40, Title: "Logs and traces", Panels: overviewRecords()},
		},
	}
}

func overviewNow(p Params) []Panel {
	return []Panel{
		{
			ID: 2, Kind: Number, Title: "Statements", Unit: OpsPerSecond, Width: 4,
			Text:    "Statements a second, all pools that are selected.",
			Queries: []Query{{rateBy(statements, "pool"), "{{pool}}"}},
		},
		{
			ID: 3, Kind: Number, Title: "Failed", Unit: Share, Width: 4, Alarm: at(p.ErrorShare),
			Text:    "Share of statements that ended in an error or in the caller's deadline.",
			Queries: []Query{{share("sum by (pool) (rate("+statements+"{@, "+failed+"}["+Range+"]))", rateBy(statements, "pool")), "{{pool}}"}},
		},
		{
			ID: 4, Kind: Number, Title: "p99", Unit: Seconds, Width: 4, Alarm: at(p.P99.Seconds()),
			Text:    "99 of 100 statements had their first row, or their result, within this time after they were sent.",
			Queries: quantiles(statementSeconds, "pool", "{{pool}}")[2:],
		},
		{
			ID: 5, Kind: Number, Title: "Slots in use", Unit: Share, Width: 4, Alarm: at(1), Max: at(1),
			Text:    "Statements, transactions and pinned connections in flight, of as many as may be.",
			Queries: []Query{{"sum by (pool) (lifeguard_slots{@}) / sum by (pool) (lifeguard_limit{@})", "{{pool}}"}},
		},
		{
			ID: 6, Kind: Number, Title: "Queue", Unit: Count, Width: 4, Alarm: at(p.QueueDepth),
			Text:    "Goroutines that wait for admission, in the instance where most wait.",
			Queries: []Query{{"max by (pool) (lifeguard_pool_queue_depth{@})", "{{pool}}"}},
		},
		{
			ID: 7, Kind: Number, Title: "Answered without the database", Unit: Share, Width: 4, Max: at(1),
			Text:    "Share of statements that were answered from somewhere other than PostgreSQL.",
			Queries: []Query{{withoutDatabase("pool"), "{{pool}}"}},
		},
	}
}

func overviewLatency(p Params) []Panel {
	return []Panel{
		{
			ID: panelLatency, Kind: Lines, Title: "Latency", Unit: Seconds, Alarm: at(p.P99.Seconds()),
			Text:    "From sending a statement to its first row or its result; the wait for admission is not in it.",
			Queries: quantiles(statementSeconds, "pool", "{{pool}}"),
		},
		{
			ID: 22, Kind: Heatmap, Title: "Latency, every statement", Unit: Seconds,
			Text: "How many statements took how long. A diamond is an exemplar: click it for its trace. " +
				"Exemplars come from sampled traces, and only if Prometheus stores them (--enable-feature=exemplar-storage).",
			Queries: []Query{{rateBy(statementSeconds+"_bucket", "le"), "{{le}}"}},
		},
		{
			ID: 23, Kind: Lines, Title: "p99 by operation", Unit: Seconds,
			Text:    "Which kind of statement is slow.",
			Queries: []Query{{"histogram_quantile(0.99, sum by (pool, op, le) (rate(" + statementSeconds + "_bucket{@}[" + Range + "])))", "{{pool}} {{op}}"}},
		},
	}
}

func overviewRecords() []Panel {
	return []Panel{
		{
			ID: 41, Kind: Logs, Title: "Slow statements", Width: 12,
			Text:    "Statements that took longer than lifeguard_slow, with their normal form; open a line for duration_ms, wait_ms, rows and the trace.",
			Queries: []Query{{Expr: `{service_name=~"$service"} |= "lifeguard: slow statement" | pool=~"$pool"`}},
		},
		{
			ID: 42, Kind: Logs, Title: "Warnings and errors", Width: 12,
			Text:    "Refusals, lost connections, leaks, stalls and failures to connect, and what else the service warns of.",
			Queries: []Query{{Expr: `{service_name=~"$service"} | severity_text=~"(?i)warn|error" != "lifeguard: slow statement"`}},
		},
		{
			ID: 43, Kind: Traces, Title: "Slow traces", Width: 24,
			Text:    "Traces with a statement of more than 100 ms.",
			Queries: []Query{{Expr: `{ resource.service.name =~ "$service" && span.db.system.name = "postgresql" && duration > 100ms }`}},
		},
	}
}

// share is a part of a whole, and 0 where there is nothing.
func share(part, whole string) string {
	return part + " / (" + whole + " > 0) or " + whole + " * 0"
}

// withoutDatabase is the share of statements that PostgreSQL did not have to answer.
func withoutDatabase(by string) string {
	return "1 - " + "sum by (" + by + ") (rate(" + statements + `{@, source="db"}[` + Range + "])) / (" + rateBy(statements, by) + " > 0) or " + rateBy(statements, by) + " * 0"
}
