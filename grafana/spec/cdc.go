package spec

// noCDC is shown where a pool does not listen to others.
const noCDC = "lifeguard_cache is not cdc"

// othersPanels show how the cache hears of what others write.
func othersPanels() []Panel {
	return []Panel{
		{
			ID: panelConfirmed, Kind: Lines, Title: "Age of the confirmation, and its bound", Unit: Seconds, Empty: noCDC,
			Text: "So long ago everything visible was heard of. Above the bound every read goes to the database, with the bypass " +
				"reason unconfirmed. It grows while nobody reads: see the state idle.",
			Queries: []Query{
				{"max by (pool, instance) (lifeguard_cdc_confirmed_age_seconds{@} < +Inf)", "{{pool}} {{instance}}"},
				{"max by (pool) (lifeguard_cdc_bound_seconds{@})", "{{pool}} bound"},
			},
		},
		{
			ID: 52, Kind: Lines, Title: "State", Unit: Count, Stacked: true, Empty: noCDC,
			Text: "Instances in each state. Only in streaming anything is served. settling: waits for transactions that are not visible " +
				"yet, or for the catalog to be read; idle: nobody reads, so nothing is confirmed; down: no stream, see the restarts. Beating: one of those that share a database.",
			Queries: []Query{
				{"sum by (pool, state) (lifeguard_cdc_state{@})", "{{pool}} {{state}}"},
				{"sum by (pool) (lifeguard_cdc_leader{@})", "{{pool}} beating"},
				{"sum by (pool) (lifeguard_cdc_ddl_announced{@})", "{{pool}} told of DDL"},
			},
		},
		{
			ID: 53, Kind: Lines, Title: "Streams that ended, by reason", Unit: PerSecond, Stacked: true, Empty: noCDC,
			Text:    "Each empties the cache. republished is on purpose: the publication has new tables. docs/cache-cdc.md has what to do about the others.",
			Queries: []Query{{rateBy("lifeguard_cdc_restarts_total", "pool, reason"), "{{pool}} {{reason}}"}},
		},
		{
			ID: 54, Kind: Lines, Title: "Log not heard yet", Unit: Bytes, Empty: noCDC,
			Text: "Above lifeguard_cdc_max_lag the slot is dropped. Pending: changes that the leader has not written to Redis yet.",
			Queries: []Query{
				{"max by (pool, instance) (lifeguard_cdc_lag_bytes{@})", "{{pool}} {{instance}}"},
				{"sum by (pool) (lifeguard_cdc_relay_pending_bytes{@})", "{{pool}} pending"},
			},
		},
		{
			ID: 55, Kind: Lines, Title: "Heard of", Unit: PerSecond, Empty: noCDC,
			Text: "Commits to published tables, by whomever, the tables that they changed, and changes of the schema, which empty the cache.",
			Queries: []Query{
				{rateBy("lifeguard_cdc_commits_total", "pool"), "{{pool}} commits"},
				{rateBy("lifeguard_cdc_relations_total", "pool"), "{{pool}} tables"},
				{rateBy("lifeguard_cdc_schema_changes_total", "pool"), "{{pool}} schema"},
			},
		},
		{
			ID: 56, Kind: Lines, Title: "Heard of, and not visible yet", Unit: Count, Empty: noCDC,
			Text: "Transactions that wait for a synchronous standby, or for an instant. Results that do not see them are not kept: " +
				"refused, a second.",
			Queries: []Query{
				{"max by (pool, instance) (lifeguard_cdc_unsettled_transactions{@})", "{{pool}} {{instance}}"},
				{rateBy("lifeguard_cdc_refused_fills_total", "pool"), "{{pool}} refused"},
			},
		},
		{
			ID: 57, Kind: Lines, Title: "By which way", Unit: Count, Stacked: true, Empty: noCDC,
			Text: "Instances that hear of changes through a replication slot, direct or leader, and through Redis, where the leader writes them. " +
				"One leader for each database, if lifeguard_redis is set.",
			Queries: []Query{{"sum by (pool, role) (lifeguard_cdc_role{@})", "{{pool}} {{role}}"}},
		},
		{
			ID: 58, Kind: Lines, Title: "Relay through Redis", Unit: PerSecond, Empty: noCDC,
			Text: "Entries that the leader writes and each follower hears, and commands that failed, which are tried again.",
			Queries: []Query{
				{rateBy("lifeguard_cdc_relay_entries_total", "pool, instance"), "{{pool}} {{instance}}"},
				{rateBy("lifeguard_cdc_relay_errors_total", "pool, instance"), "{{pool}} {{instance}} failed"},
			},
		},
	}
}
