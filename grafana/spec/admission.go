package spec

func admission(p Params) Board {
	return Board{
		UID: AdmissionUID, Title: "Lifeguard: admission, pool and batches",
		Text: "Who waits for what, what holds the slots and connections, and how bulk loads go.",
		Sections: []Section{
			{ID: 10, Title: "Queue", Panels: queuePanels(p)},
			{ID: 20, Title: "Slots", Panels: slotPanels()},
			{ID: 40, Title: "Pool", Panels: poolPanels()},
			{ID: 50, Title: "Batches", Panels: batchPanels()},
			{ID: 60, Title: "Adaptive limit", Panels: autoPanels()},
			{ID: 70, Title: "Fleet", Panels: fleetPanels()},
		},
	}
}

func queuePanels(p Params) []Panel {
	return []Panel{
		{
			ID: panelQueue, Kind: Lines, Title: "Queue depth", Unit: Count, Alarm: at(p.QueueDepth),
			Text: "Goroutines that wait for admission, in each instance. The earliest sign of a pool that is too small or a database that is too slow.",
			Queries: []Query{
				{"max by (pool, instance) (lifeguard_pool_queue_depth{@})", "{{pool}} {{instance}}"},
			},
		},
		{
			ID: 12, Kind: Lines, Title: "Wait for admission", Unit: Seconds,
			Text:    "How long goroutines waited for a slot; those that got one at once count with 0.",
			Queries: quantiles("lifeguard_coroutine_wait_seconds", "pool", "{{pool}}"),
		},
		{
			ID: 13, Kind: Lines, Title: "Wait p99 by priority", Unit: Seconds,
			Text:    "Higher priorities go first.",
			Queries: quantiles("lifeguard_coroutine_wait_seconds", "pool, priority", "{{pool}} {{priority}}")[2:],
		},
		{
			ID: 14, Kind: Lines, Title: "Admissions by priority", Unit: PerSecond, Stacked: true,
			Text:    "Callers a second that got a slot.",
			Queries: []Query{{rateBy("lifeguard_admissions_total", "pool, priority"), "{{pool}} {{priority}}"}},
		},
		{
			ID: 15, Kind: Lines, Title: "Refusals by reason", Unit: PerSecond, Stacked: true,
			Text:    "Callers a second that were refused, see the overview for the reasons.",
			Queries: []Query{{rateBy("lifeguard_refusals_total", "pool, reason"), "{{pool}} {{reason}}"}},
		},
		{
			ID: 17, Kind: Lines, Title: "Gave up waiting", Unit: PerSecond,
			Text:    "Callers a second whose own context ended while they waited.",
			Queries: []Query{{rateBy("lifeguard_admissions_canceled_total", "pool"), "{{pool}}"}},
		},
		{
			ID: 18, Kind: Lines, Title: "Statements that shared a connection", Unit: PerSecond,
			Text: "With lifeguard_group: groups of waiting reads that were sent over one connection at once, and the statements " +
				"that somebody else's group has answered, or that were sent alone after all.",
			Queries: []Query{
				{rateBy("lifeguard_groups_total", "pool"), "{{pool}} groups"},
				{rateBy("lifeguard_group_riders_total", "pool, outcome"), "{{pool}} {{outcome}}"},
			},
		},
		{
			ID: 16, Kind: Lines, Title: "Room in the queue", Unit: Share, Max: at(1),
			Text:    "Waiters, of as many as may wait. At 1 the next caller is refused with queue_full.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_pool_queue_depth{@} / (lifeguard_pool_queue_max{@} > 0))", "{{pool}} {{instance}}"}},
		},
	}
}

func slotPanels() []Panel {
	return []Panel{
		{
			ID: panelSlots, Kind: Lines, Title: "In flight and limit", Unit: Count, Width: 12,
			Text: "Statements, transactions and pinned connections that hold a slot, and how many may. " +
				"In flight is above the limit only after it was lowered.",
			Queries: []Query{
				{"sum by (pool, instance) (lifeguard_slots{@})", "{{pool}} {{instance}} in flight"},
				{"sum by (pool, instance) (lifeguard_limit{@})", "{{pool}} {{instance}} limit"},
			},
		},
		{
			ID: 22, Kind: Lines, Title: "Slots by state", Unit: Count, Stacked: true, Width: 12,
			Text: "What the holders are doing now. executing is the database's time; rows_open, idle_in_tx and idle_in_conn are the application's; " +
				"draining cleans up after a cancelled statement.",
			Queries: []Query{{"sum by (pool, state) (lifeguard_slots{@})", "{{pool}} {{state}}"}},
		},
		{
			ID: 23, Kind: Lines, Title: "What slots spend their time on", Unit: Count, Stacked: true, Width: 12,
			Text:    "The mean number of slots in each state, between scrapes too: seconds of slots a second.",
			Queries: []Query{{rateBy("lifeguard_slot_seconds_total", "pool, state"), "{{pool}} {{state}}"}},
		},
		{
			ID: 24, Kind: Lines, Title: "Mean hold", Unit: Seconds, Width: 12,
			Text:    "How long a slot is held, a running mean; predicted waits rest on it.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_slot_hold_mean_seconds{@})", "{{pool}} {{instance}}"}},
		},
	}
}

func poolPanels() []Panel {
	return []Panel{
		{
			ID: 41, Kind: Lines, Title: "Connections by state", Unit: Count, Stacked: true,
			Text:    "Physical connections to PostgreSQL.",
			Queries: []Query{{"sum by (pool, state) (lifeguard_pool_connections{@})", "{{pool}} {{state}}"}},
		},
		{
			ID: 42, Kind: Lines, Title: "Connections and their maximum", Unit: Count,
			Text: "Open, or being opened or closed, and pool_max_conns.",
			Queries: []Query{
				{"sum by (pool, instance) (lifeguard_pool_connections{@})", "{{pool}} {{instance}} open"},
				{"sum by (pool, instance) (lifeguard_pool_max_connections{@})", "{{pool}} {{instance}} maximum"},
			},
		},
		{
			ID: 43, Kind: Lines, Title: "Churn", Unit: PerSecond,
			Text: "Connections opened and closed a second. Each costs the server a process; closed for cancelled or lost, often, is worth a look.",
			Queries: []Query{
				{rateBy("lifeguard_pool_connections_opened_total", "pool"), "{{pool}} opened"},
				{rateBy("lifeguard_pool_connections_closed_total", "pool, reason"), "{{pool}} closed: {{reason}}"},
			},
		},
	}
}
