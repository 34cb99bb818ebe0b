package spec

// What is shown where a pool has no adaptive limit, or no budget.
const (
	noAuto  = "lifeguard_limit=auto is not set"
	noFleet = "lifeguard_fleet_budget is not set"
)

func autoPanels() []Panel {
	return []Panel{
		{
			ID: 61, Kind: Lines, Title: "Limit, asked and in force", Unit: Count, Width: 6, Empty: noAuto,
			Text: "What the adaptive limit asks for. The one in force is lower if SetLimit or the fleet say so.",
			Queries: []Query{
				{"sum by (pool, instance) (lifeguard_auto_limit{@})", "{{pool}} {{instance}} asked"},
				{"sum by (pool, instance) (lifeguard_limit{@}) and sum by (pool, instance) (lifeguard_auto_limit{@})", "{{pool}} {{instance}} in force"},
			},
		},
		{
			ID: 62, Kind: Lines, Title: "Slowdown", Unit: Count, Width: 6, Empty: noAuto,
			Text:    "How many times longer statements take than each takes alone.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_auto_slowdown_ratio{@})", "{{pool}} {{instance}}"}},
		},
		{
			ID: 63, Kind: Lines, Title: "Windows, probes and stalls", Unit: PerSecond, Width: 6, Empty: noAuto,
			Text: "Windows of measurement a second that were judged, or unused for want of load; looks at statements alone; raises because no answer came.",
			Queries: []Query{
				{rateBy("lifeguard_auto_windows_total", "pool, use"), "{{pool}} {{use}}"},
				{rateBy("lifeguard_auto_probes_total", "pool"), "{{pool}} probes"},
				{rateBy("lifeguard_auto_stalls_total", "pool"), "{{pool}} stalls"},
			},
		},
		{
			ID: 64, Kind: Lines, Title: "Fingerprints", Unit: Count, Width: 6, Empty: noAuto,
			Text:    "Of statements whose times the adaptive limit keeps.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_auto_fingerprints{@})", "{{pool}} {{instance}}"}},
		},
	}
}

func fleetPanels() []Panel {
	return []Panel{
		{
			ID: 71, Kind: Lines, Title: "Budget and shares", Unit: Count, Empty: noFleet,
			Text: "Connections that all instances share, what each may have of them, and what the others have open.",
			Queries: []Query{
				{"max by (pool) (lifeguard_fleet_budget_connections{@})", "{{pool}} budget"},
				{"sum by (pool, instance) (lifeguard_fleet_share_connections{@})", "{{pool}} {{instance}} share"},
				{"max by (pool, instance) (lifeguard_fleet_other_connections{@})", "{{pool}} {{instance}} others"},
			},
		},
		{
			ID: 72, Kind: Lines, Title: "Instances", Unit: Count, Empty: noFleet,
			Text:    "How many each instance has seen, itself included.",
			Queries: []Query{{"max by (pool, instance) (lifeguard_fleet_instances{@})", "{{pool}} {{instance}}"}},
		},
		{
			ID: 73, Kind: Lines, Title: "Looks at the others", Unit: PerSecond, Empty: noFleet,
			Text: "A second, by outcome, and how often the server had no room for a connection (SQLSTATE 53300).",
			Queries: []Query{
				{rateBy("lifeguard_fleet_looks_total", "pool, outcome"), "{{pool}} {{outcome}}"},
				{rateBy("lifeguard_fleet_server_full_total", "pool"), "{{pool}} server full"},
			},
		},
	}
}
