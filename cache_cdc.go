package lifeguard

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
)

// follower is what a cache with lifeguard_cache=cdc hears of everybody's writes. It adds to
// what the ledger says of this process's own:
//
//   - nothing is served, nor kept, unless the log was read up to a moment that is younger
//     than the bound. Whoever serves asks current first, and the ledger after it: so what
//     the ledger does not know is younger than the moment that current went by;
//   - nothing is kept of a table whose changes are not in the log;
//   - a fill notes, after its snapshot of the ledger, which transactions must be visible to
//     its query; see fetch.gated.
//
// This process's own commits come by the log, too, a moment after their fences have fallen
// and their versions have grown. They make the versions grow a second time, at the price
// of a fill in that moment: which they are is not known without asking each for its
// number.
//
// A nil follower, of the other modes, objects to nothing.
type follower struct {
	q        *queryCache
	consumer *cdc.Consumer
	site     atomic.Pointer[site] // that the consumer listens to; held
	refused  atomic.Uint64        // fills that did not see what they had to
}

var _ cdc.Cache = (*follower)(nil)

func newFollower(q *queryCache) *follower {
	if q.mode != CacheCDC {
		return nil
	}
	cfg := &q.core.cfg
	f := &follower{q: q}
	var relay *cdc.Relay
	if open, err := redisurl.Dialer(cfg.Redis); err == nil { // else there is none: validate has looked
		relay = &cdc.Relay{Open: open, Place: redisurl.Place(cfg.Redis), Slots: cfg.CDCSlots}
	}
	f.consumer = cdc.New(cdc.Config{
		Connect: func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			return cfg.connectBeside(ctx, cdc.ApplicationName, replication)
		}, Cache: f, Streams: &inProcess.streams, Now: sinceStart, IdleAfter: cdcIdleAfter,
		Relay: relay, Bound: cfg.CacheBound, MaxLag: int64(cfg.CDCMaxLag), Publication: cfg.CDCPublication, PollEvery: cfg.CDCPoll,
		Logger: cfg.Logger.With("pool", cfg.Name),
	})
	return f
}

// cdcIdleAfter is how long nobody has to read what could be kept before the beats stop.
const cdcIdleAfter = 10 * time.Second

//nolint:gochecknoglobals // a constant
var processStart = time.Now()

// sinceStart is the clock that all streams of the process go by.
func sinceStart() time.Duration { return time.Since(processStart) }

// connectBeside opens a connection that is not the pool's: it does not count against
// pool_max_conns.
func (c *Config) connectBeside(ctx context.Context, name string, replication bool) (*pgconn.PgConn, error) {
	connConfig := c.ConnConfig.Copy()
	watcher := connConfig.BuildContextWatcherHandler
	if err := c.beforeConnect(ctx, connConfig); err != nil {
		return nil, err
	}
	connConfig.BuildContextWatcherHandler = watcher // lifeguard_cancel=keep is the pool's
	connConfig.AfterConnect = nil
	connConfig.RuntimeParams["application_name"] = name
	if replication {
		connConfig.RuntimeParams["replication"] = "database"
		connConfig.RuntimeParams["statement_timeout"] = "0" // a slot may have to wait for long
	}
	return pgconn.ConnectConfig(ctx, &connConfig.Config)
}

// close leaves the stream. If nobody else shares it, its connections are closed when this
// returns.
func (f *follower) close() {
	if f == nil {
		return
	}
	f.consumer.Close()
	if p := f.site.Swap(nil); p != nil {
		p.letGo()
	}
}

// current reports whether what the ledger does not know is younger than the bound.
func (f *follower) current() bool {
	if f == nil {
		return true
	}
	return f.consumer.Serves(sinceStart()) && f.q.site.Load() == f.site.Load()
}

// doubt is what a query must see whose snapshot of the ledger was just captured.
func (f *follower) doubt(v *ruling) cdc.Doubt {
	if f == nil {
		return cdc.Doubt{}
	}
	return f.consumer.Doubt(v.analysis.Reads)
}

// reasonOf says why nothing is kept of what is read from some tables.
func (f *follower) reasonOf(a *catalog.Analysis) string {
	switch {
	case f == nil:
		return ""
	case !f.consumer.Knows():
		return bypassUnconfirmed
	case !f.consumer.Covers(a.Reads):
		return bypassUnpublished
	}
	return ""
}

// Begin implements cdc.Cache.
func (f *follower) Begin(server string) {
	started, database, _ := strings.Cut(server, "/")
	p := inProcess.hold(siteName{started: started, database: database})
	if old := f.site.Swap(p); old != nil {
		old.letGo()
	}
}

// Changed implements cdc.Cache.
func (f *follower) Changed(relations []cdc.Relation) {
	if p := f.site.Load(); p != nil {
		f.q.counts.invalidated[causeOthers].Add(1)
		p.ledger.Changed(relations)
	}
}

// Lost implements cdc.Cache.
func (f *follower) Lost() {
	if p := f.site.Load(); p != nil {
		f.q.counts.invalidated[causeLost].Add(1)
		p.flush()
	}
}

// SchemaChanged implements cdc.Cache.
func (f *follower) SchemaChanged() {
	if p := f.site.Load(); p != nil {
		f.q.counts.invalidated[causeDDL].Add(1)
		p.doubt()
	}
}

// CDCStats says how the cache hears of what others write. Counters only grow.
type CDCStats struct {
	State         string            // starting, settling (waits for what is not visible yet), streaming, idle (nobody reads), or down
	Reason        string            // why it is, or was last, down
	Bound         time.Duration     // lifeguard_cache_bound
	Confirmed     time.Duration     // so long ago everything visible was known; -1 if that is not known
	Lag           int64             // bytes of the log that were written and not read yet
	Commits       uint64            // that were heard of
	Relations     uint64            // changed by them, summed up
	SchemaChanges uint64            // that were heard of, or seen in the catalog
	Unsettled     int               // transactions that were heard of and are not known to be visible
	Refused       uint64            // results that were not kept, since they were read without one of those
	Restarts      map[string]uint64 // streams that ended, by reason
	Leads         bool              // beats for all processes of the database
	Role          string            // direct: through a replication slot; leader: so, and writes it to lifeguard_redis; follower: reads it there; empty without a stream
	Relayed       uint64            // entries that were written to lifeguard_redis, or read there
	RelayErrors   uint64            // commands to lifeguard_redis that failed
	RelayPending  int               // bytes that a leader has to write there
	Announced     bool              // an event trigger tells of DDL
}

func (f *follower) stats() *CDCStats {
	if f == nil {
		return nil
	}
	of := f.consumer.Stats()
	st := &CDCStats{
		State: string(of.State), Reason: string(of.Reason), Bound: f.q.core.cfg.CacheBound, Confirmed: of.Confirmed,
		Lag: of.Lag, Commits: of.Commits, Relations: of.Relations, SchemaChanges: of.SchemaChanges,
		Unsettled: of.Unsettled, Refused: f.refused.Load(), Restarts: make(map[string]uint64),
		Leads: of.Leads, Announced: of.Announced,
		Role: string(of.Role), Relayed: of.Relayed, RelayErrors: of.RelayErrors, RelayPending: of.RelayPending,
	}
	for _, reason := range cdc.Reasons() {
		st.Restarts[string(reason)] = of.Ends[reason]
	}
	return st
}

//nolint:gochecknoglobals // a constant
var cdcStates = []string{string(cdc.Starting), string(cdc.Settling), string(cdc.Streaming), string(cdc.Idle), string(cdc.Down)}

// Why a query bypassed the cache in cdc mode.
const (
	bypassUnconfirmed = "unconfirmed" // what others write has not been heard of for too long
	bypassUnpublished = "unpublished" // a table whose changes are not in the log
	bypassUnsettled   = "unsettled"   // a commit to its tables was heard of and may not be visible yet
)
