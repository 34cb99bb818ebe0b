package lifeguard

import "time"

// settings is the one place where a setting's key, default, range and meaning stand;
// parsing, validation and the documentation are all made from it.
//
//nolint:gochecknoglobals // a constant table; Go has no constant slices
var settings = []setting{
	{
		key: "pool_max_conns", initial: "10", allowed: "an integer from 1 to 10000", low: 1, high: 10000,
		doc:   "physical connections at most, counting those being opened, closed or cleaned up",
		field: func(c *Config) any { return &c.MaxConns },
	},
	{
		key: "pool_min_conns", initial: "0", allowed: "an integer from 0 to 10000", high: 10000,
		doc:   "physical connections kept open, in the background",
		field: func(c *Config) any { return &c.MinConns },
	},
	{
		key: "pool_min_idle_conns", initial: "0", allowed: "an integer from 0 to 10000", high: 10000,
		doc:   "idle physical connections kept ready, in the background, within `pool_max_conns`",
		field: func(c *Config) any { return &c.MinIdleConns },
	},
	{
		key: "pool_max_conn_lifetime", initial: "1h", allowed: "a duration such as 30m, or 0 for no limit", canBeOff: true,
		doc:   "age after which a physical connection is closed when it is next idle",
		field: func(c *Config) any { return &c.MaxConnLifetime },
	},
	{
		key: "pool_max_conn_lifetime_jitter", initial: "0", allowed: "a duration such as 1m",
		doc:   "random addition to the lifetime, so that connections do not all end at once",
		field: func(c *Config) any { return &c.MaxConnLifetimeJitter },
	},
	{
		key: "pool_max_conn_idle_time", initial: "30m", allowed: "a duration such as 10m, or 0 for no limit", canBeOff: true,
		doc:   "idleness after which a physical connection is closed",
		field: func(c *Config) any { return &c.MaxConnIdleTime },
	},
	{
		key: "pool_health_check_period", initial: "1m", allowed: "a duration of 10ms or more", low: int64(10 * time.Millisecond),
		doc:   "time between two looks at idle connections and at the minimums",
		field: func(c *Config) any { return &c.HealthCheckPeriod },
	},
	{
		key: "pool_ping_timeout", initial: "0", allowed: "a duration such as 1s, or 0 for none", canBeOff: true,
		doc:   "longest ping of a connection that was idle for more than a second; beyond it the connection is replaced",
		field: func(c *Config) any { return &c.PingTimeout },
	},
	{
		key: "lifeguard_limit", initial: "", shown: "`pool_max_conns`", allowed: "an integer from 1 to pool_max_conns, or auto", low: 1, high: 10000,
		doc:  "statements, transactions and pinned connections in flight at most; `auto` (experimental) adapts between 1 and `pool_max_conns` to what the server can do",
		word: "auto", wordValue: AutoLimit,
		field: func(c *Config) any { return &c.Limit },
	},
	{
		key: "lifeguard_queue", initial: "", shown: "100 × limit", allowed: "an integer of 0 or more", canBeOff: true,
		doc:   "callers that may wait; the next one is refused. 0: nobody waits",
		field: func(c *Config) any { return &c.Queue },
	},
	{
		key: "lifeguard_queue_timeout", initial: "30s", allowed: "a duration such as 5s, or 0 for none", canBeOff: true,
		doc:   "longest wait; then the caller is refused",
		field: func(c *Config) any { return &c.QueueTimeout },
	},
	{
		key: "lifeguard_queue_target", initial: "0", allowed: "a duration such as 20ms, or 0 for off", canBeOff: true,
		doc:   "standing wait above which the queue sheds: newest first, and a wait no longer than this (CoDel with adaptive LIFO)",
		field: func(c *Config) any { return &c.QueueTarget },
	},
	{
		key: "lifeguard_fleet_budget", initial: "0", allowed: "an integer from 0 (off) to 100000", high: 100000, canBeOff: true,
		doc:   "physical connections that all instances with the same application_name share on one server; each takes its part, at most `pool_max_conns`",
		field: func(c *Config) any { return &c.FleetBudget },
	},
	{
		key: "lifeguard_tx_share", initial: "0", allowed: "a number such as 0.8, from 0 (off) to 1", canBeOff: true,
		doc:   "part of the slots that transactions may take, so that single statements always get through",
		field: func(c *Config) any { return &c.TxShare },
	},
	{
		key: "lifeguard_group", initial: string(GroupOff),
		options: []string{string(GroupOff), string(GroupOn)},
		doc:     "lets a short read that gets a connection while others wait take such ones along, each as a transaction of its own",
		field:   func(c *Config) any { return (*string)(&c.Group) },
	},
	{
		key: "lifeguard_nested", initial: string(NestedFront),
		options: []string{string(NestedFront), string(NestedRefuse)},
		doc:     "a second checkout by a request that is marked with `Scope` and holds one: goes to the `front` of the queue, or is an error",
		field:   func(c *Config) any { return (*string)(&c.Nested) },
	},
	{
		key: "lifeguard_name", initial: "", shown: "database name", allowed: "any text",
		doc:   "the pool's name in logs and metrics",
		field: func(c *Config) any { return &c.Name },
	},
	{
		key: "lifeguard_mode", initial: string(ModeCheckout),
		options: []string{string(ModeCheckout), string(ModeSession)},
		doc:     "`checkout` leases a physical connection for a statement, a transaction or a `sql.Conn`; `session` keeps one for each `database/sql` connection until it is closed",
		field:   func(c *Config) any { return (*string)(&c.Mode) },
	},
	{
		key: "lifeguard_cancel", initial: string(CancelClose),
		options: []string{string(CancelClose), string(CancelKeep)},
		doc:     "what a cancelled statement does to its connection: `close` it, as pgx does, or cancel on the server and `keep` it",
		field:   func(c *Config) any { return (*string)(&c.Cancel) },
	},
	{
		key: "lifeguard_leak_after", initial: "0", allowed: "a duration such as 30s, or 0 for off", canBeOff: true,
		doc:   "log the stack that holds a physical connection longer than this, once per lease",
		field: func(c *Config) any { return &c.LeakAfter },
	},
	{
		key: "lifeguard_cache", initial: string(CacheOff),
		options: []string{string(CacheOff), string(CacheLocal), string(CacheCDC), string(CacheTTL)},
		doc:     "results of queries from memory. `local`: exactly what PostgreSQL would return, if only this process writes to the database, through any of its pools; `cdc`: whoever writes, at most `lifeguard_cache_bound` old, by logical replication; `ttl`: possibly stale, up to `lifeguard_cache_ttl` old",
		field:   func(c *Config) any { return (*string)(&c.Cache) },
	},
	{
		key: "lifeguard_cache_size", initial: "64MiB", allowed: "bytes such as 64MiB, from 64KiB", low: 64 << 10,
		doc:   "memory for cached results",
		field: func(c *Config) any { return &c.CacheSize },
	},
	{
		key: "lifeguard_cache_ttl", initial: "0", allowed: "a duration such as 5s, or 0 for no cap",
		doc:   "age above which no cached result is served",
		field: func(c *Config) any { return &c.CacheTTL },
	},
	{
		key: "lifeguard_cache_max_rows", initial: "10000", allowed: "an integer from 1 to 10000000", low: 1, high: 10_000_000,
		doc:   "rows of a result that is cached, at most",
		field: func(c *Config) any { return &c.CacheMaxRows },
	},
	{
		key: "lifeguard_cache_max_bytes", initial: "1MiB", allowed: "bytes such as 1MiB, from 1KiB to 1GiB", low: 1 << 10, high: 1 << 30,
		doc:   "size of a result that is cached, at most",
		field: func(c *Config) any { return &c.CacheMaxBytes },
	},
	{
		key: "lifeguard_cache_tables", initial: "", shown: "all", allowed: tableListAllowed,
		doc:   "tables whose queries are cached, separated by commas; a query that reads any other table bypasses the cache",
		field: func(c *Config) any { return &c.CacheTables },
	},
	{
		key: "lifeguard_cache_exclude", initial: "", shown: "none", allowed: tableListAllowed,
		doc:   "tables and views whose queries are not cached, separated by commas",
		field: func(c *Config) any { return &c.CacheExclude },
	},
	{
		key: "lifeguard_cache_bound", initial: "100ms", allowed: "a duration of 10ms or more", low: int64(10 * time.Millisecond),
		doc:   "with `lifeguard_cache=cdc`: age of what others have written above which no cached result is served; four small commits in this time keep it so, while somebody reads",
		field: func(c *Config) any { return &c.CacheBound },
	},
	{
		key: "lifeguard_redis", initial: "", shown: "none", secret: true,
		allowed: "redis://[user:password@]host[:port][/db], rediss:// the same over TLS, redis+sentinel://host:port,host:port/master[/db] or redis+cluster://host:port,host:port",
		doc:     "a Redis that the processes share which read and write the database: with `lifeguard_cache=local` they share results, and the promise holds for the writes of all that set it; with `cdc` they share `lifeguard_cdc_slots` replication slots, and no results",
		field:   func(c *Config) any { return &c.Redis },
	},
	{
		key: "lifeguard_cdc_max_lag", initial: "1GiB", allowed: "bytes such as 256MiB, from 1MiB", low: 1 << 20,
		doc:   "log of the server that the cache may be behind; then it drops its replication slot, so that the server keeps nothing for it, and begins anew",
		field: func(c *Config) any { return &c.CDCMaxLag },
	},
	{
		key: "lifeguard_cdc_slots", initial: "2", allowed: "an integer from 1 to 64", low: 1, high: 64,
		doc:   "with `lifeguard_cache=cdc` and `lifeguard_redis`: processes that have a replication slot of their own; all others hear of changes through Redis, where one of these writes them",
		field: func(c *Config) any { return &c.CDCSlots },
	},
	{
		key: "lifeguard_cdc_publication", initial: "lifeguard", allowed: "the name of a publication",
		doc:   "publication whose tables are cached; made, and kept complete with tables that have a replica identity, if the role may",
		field: func(c *Config) any { return &c.CDCPublication },
	},
	{
		key: "lifeguard_cdc_poll", initial: "1s", allowed: "a duration of 100ms or more", low: int64(100 * time.Millisecond),
		doc:   "time between two looks at the catalog: so long DDL and REFRESH by others may go unnoticed where no event trigger tells",
		field: func(c *Config) any { return &c.CDCPoll },
	},
	{
		key: "lifeguard_slow", initial: "1s", allowed: "a duration such as 200ms, or 0 for off", canBeOff: true,
		doc:   "log a statement that takes this long from the call to the end of its rows, the wait for admission included; at most 10 lines a second",
		field: func(c *Config) any { return &c.Slow },
	},
	{
		key: "lifeguard_trace", initial: "", shown: "off, unless a provider is given in code",
		options: []string{string(TraceOn), string(TraceOff)},
		doc:     "OpenTelemetry: a span for each statement that is sent, and `db.client.operation.duration`; `on` uses the global providers where code gave none",
		field:   func(c *Config) any { return (*string)(&c.Trace) },
	},
	{
		key: "lifeguard_histograms", initial: string(HistogramsClassic),
		options: []string{string(HistogramsClassic), string(HistogramsBoth)},
		doc:     "Prometheus histograms with `classic` buckets, or with `both` classic and native ones",
		field:   func(c *Config) any { return (*string)(&c.Histograms) },
	},
}
