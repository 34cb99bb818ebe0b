package lifeguard

import (
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// CacheStats is what the query cache did and holds. Counters only grow.
type CacheStats struct {
	Mode          CacheMode
	TTL           time.Duration     // lifeguard_cache_ttl; 0 without
	Hits          uint64            // answered from memory
	Ages          CacheAges         // of what was answered from memory
	Shared        uint64            // answered by a query that somebody else had sent
	Misses        uint64            // sent to the server, to be kept
	Bypasses      map[string]uint64 // queries that could not be answered from memory, by reason
	Invalidations map[string]uint64 // by cause
	Unsettled     int               // commits whose outcome is not known yet
	Entries       int
	Bytes         int64
	MaxBytes      int64       // lifeguard_cache_size
	Evictions     uint64      // for want of room
	CDC           *CDCStats   // nil but with lifeguard_cache=cdc
	Redis         *RedisStats // nil but with lifeguard_cache=local and lifeguard_redis
}

// Why a query bypassed the cache, beside the reasons of package catalog.
const (
	bypassLeased    = "leased"          // in a transaction, or on a pinned sql.Conn
	bypassNew       = "new"             // not seen often enough to be analysed
	bypassSession   = "session_unknown" // SET and its relatives, or DDL: read again first
	bypassRaw       = "raw"             // somebody has a connection in his own hands: sql.Conn.Raw
	bypassFenced    = "fenced"          // a commit to its tables is under way
	bypassArguments = "arguments"       // of a type whose values cannot be compared
	bypassClock     = "clock_argument"  // "today" and its relatives
	bypassLarge     = "too_large"
	// The hits of the text do not pay for its fills; it is tried again later.
	bypassUnprofitable = "unprofitable"
	bypassTypes        = "types"            // decoded by the connection's own codecs
	bypassUnlogged     = "unlogged"         // a table that a crash empties
	bypassStandby      = "standby"          // a server that follows another
	bypassProxied      = "proxied"          // a pooler between here and the server
	bypassExecMode     = "exec_mode"        // the simple protocol, or exec
	bypassNowhere      = "database_unknown" // the server does not tell which database it is
	bypassEarlier      = "earlier_leases"   // of Connectors without a cache, begun when nobody had one
	bypassRefused      = "server_refuses"   // what has to be asked first
	bypassNoCache      = "nocache"          // WithCache, or a hint
	bypassExcluded     = "excluded_table"   // one of lifeguard_cache_exclude
	bypassUnlisted     = "unlisted_table"   // none of lifeguard_cache_tables
	bypassFlight       = "flight"           // a shared query failed twice
)

// bypassReasons are all of them: the values of a metrics label.
//
//nolint:gochecknoglobals // a constant
var bypassReasons = []string{
	bypassLeased, bypassNew, bypassSession, bypassFenced, bypassRaw, bypassArguments, bypassClock, bypassLarge, bypassUnprofitable, bypassTypes,
	bypassUnlogged, bypassStandby, bypassProxied, bypassExecMode, bypassNowhere, bypassEarlier, bypassRefused, bypassNoCache,
	bypassExcluded, bypassUnlisted, bypassFlight,
	bypassUnconfirmed, bypassUnpublished, bypassUnsettled, bypassRedis, bypassApart, bypassOtherRedis,
	string(catalog.NotARead), string(catalog.Several), string(catalog.Unreadable), string(catalog.Modifies),
	string(catalog.LocksRows), string(catalog.SessionValue), string(catalog.ClockLiteral), string(catalog.ClockCast),
	string(catalog.ClockType), string(catalog.Sample), string(catalog.SystemColumn), string(catalog.CatalogType),
	string(catalog.DocumentColumns), string(catalog.Refused), string(catalog.Function), string(catalog.FunctionBody),
	string(catalog.Operator), string(catalog.Cast), string(catalog.Domain), string(catalog.OperatorClass),
	string(catalog.View), string(catalog.CatalogRelation), string(catalog.TemporaryRelation),
	string(catalog.ForeignRelation), string(catalog.Sequence), string(catalog.RowSecurity), string(catalog.RelationKind),
	string(catalog.LockMode), string(catalog.SearchPath), string(catalog.Changing), string(catalog.Isolation),
	string(catalog.TemporarySchema), string(catalog.Encoding), string(catalog.Escapes), string(catalog.FuzzySearch),
	string(catalog.ReplicationRole), bypassOther,
}

const bypassOther = "other"

// invalidation says what made entries invalid.
type invalidation uint8

const (
	causeWrite      invalidation = iota // of known tables
	causeEverything                     // of tables that are not known
	causeDDL
	causeRaw       // sql.Conn.Raw
	causeUnsettled // a commit whose outcome is not known
	causeLost      // a connection died: perhaps the server did
	causeManual
	causeOthers // somebody else's commit, by the log
	invalidations
)

func (i invalidation) String() string {
	return [...]string{"write", "everything", "ddl", "raw", "unsettled", "connection_lost", "manual", "others"}[i]
}

// cacheCounts are counted where it happens.
type cacheCounts struct {
	hits           hitCounts
	shared, misses atomic.Uint64
	fromRedis      atomic.Uint64
	redis          lookCounts
	bypassed       map[string]*atomic.Uint64 // never changed
	invalidated    [invalidations]atomic.Uint64
}

func newCacheCounts() cacheCounts {
	bypassed := make(map[string]*atomic.Uint64, len(bypassReasons))
	for _, reason := range bypassReasons {
		bypassed[reason] = new(atomic.Uint64)
	}
	return cacheCounts{bypassed: bypassed}
}

func (c *cacheCounts) bypass(reason string) {
	n := c.bypassed[reason]
	if n == nil {
		n = c.bypassed[bypassOther]
	}
	n.Add(1)
}

// stats is a snapshot; nil if the cache is off.
func (q *queryCache) stats() *CacheStats {
	if q == nil {
		return nil
	}
	usage := q.store.Usage()
	st := &CacheStats{
		Mode: q.mode, TTL: q.ttl, Hits: q.counts.hits.total(), Ages: q.counts.hits.aged(), Shared: q.counts.shared.Load(), Misses: q.counts.misses.Load(),
		Bypasses: make(map[string]uint64, len(bypassReasons)), Invalidations: make(map[string]uint64, invalidations),
		Unsettled: q.unsettled.size(), Entries: usage.Entries, Bytes: usage.Bytes, MaxBytes: int64(q.core.cfg.CacheSize), Evictions: usage.Evictions,
		CDC: q.follower.stats(), Redis: q.redisStats(),
	}
	for reason, n := range q.counts.bypassed {
		st.Bypasses[reason] = n.Load()
	}
	for i := range invalidations {
		st.Invalidations[i.String()] = q.counts.invalidated[i].Load()
	}
	return st
}
