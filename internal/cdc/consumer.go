package cdc

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what a [Consumer] stands on. All fields but Logger have to be set.
type Config struct {
	// Connect opens a connection to the server, for replication or not. Both kinds have
	// to reach the same server, directly: no pooler in between.
	Connect func(ctx context.Context, replication bool) (*pgconn.PgConn, error)
	// Cache is told of changes.
	Cache Cache
	// Streams are shared with the process's other consumers; nil: with nobody.
	Streams *Streams
	// Now is a monotonic clock, the one that Serves is asked by. All that share Streams
	// have the same.
	Now func() time.Duration
	// Bound is how old what is served may be.
	Bound time.Duration
	// MaxLag is how many bytes of the log the consumer may be behind; then it drops its
	// slot, and with it what the server keeps for it.
	MaxLag int64
	// Relay is how many processes share few slots; nil if each has its own.
	Relay *Relay
	// Publication is its name.
	Publication string
	// PollEvery is the time between two looks at the catalog's fingerprint.
	PollEvery time.Duration
	// IdleAfter is how long nobody has to ask Serves before the beats stop; then the first
	// who asks is told no, and they begin again. 0: they never stop.
	IdleAfter time.Duration
	// silence is how long a follower waits for an entry, for tests; relaySilence if 0.
	silence time.Duration

	// Logger is told when the stream ends and when it is back; nil for nobody.
	Logger *slog.Logger
}

// Cache is what a consumer tells what has changed. The calls may be concurrent; they must
// not block.
type Cache interface {
	// Begin says which server, and database there, is listened to from now on, as
	// [ServerSQL] names it. Nothing is told, nor served, before. Each stream begins with
	// SchemaChanged.
	Begin(server string)
	// Changed says that a transaction that has committed, or is about to become
	// visible, changed rows of relations, each the root of its family.
	Changed(relations []Relation)
	// Lost says that any row may have changed. It is also called when the stream has
	// ended.
	Lost()
	// SchemaChanged says that any row, and whatever was read of the catalog, may have
	// changed.
	SchemaChanged()
}

// A Consumer keeps a cache coherent with its database. It goes through these states:
//
//	          connect, publish, slot                position reached
//	starting ────────────────────────► settling ───────────────────► streaming
//	   ▲                                   │                              │
//	   │ back-off                          │ any error, a limit           │
//	   └──────────── down ◄────────────────┴──────────────────────────────┘
//
// In settling the transactions that run when the slot is ready are waited for: they may
// have written their COMMIT into the log before the slot's beginning and be visible only
// after it, behind a synchronous standby. A change of the schema goes through settling,
// too. Only in streaming anything is served, and there only within the bound. While nobody
// asks, streaming becomes idle: changes are told, and nothing is confirmed.
//
// Consumers of one process that lead to the same database share a stream, and with it
// these states; see [Streams].
//
// All methods may be called concurrently.
type Consumer struct {
	cfg    Config
	noGate bool // for tests: doubts are not told

	// life is the stream whose changes the cache is told; nil between two. What it
	// confirms is served only when it is trusted, too: when the cache has been emptied of
	// what it was not told.
	life, trusted atomic.Pointer[stream]

	stop context.CancelFunc
	done chan struct{}

	mu        sync.Mutex // guards what follows; never held while blocking
	state     State
	reason    Reason
	stats     Stats
	confirmed time.Duration
	logged    Reason
	loggedAt  time.Duration
}

// State is where a consumer stands.
type State string

// The states.
const (
	Starting  State = "starting"
	Settling  State = "settling"
	Streaming State = "streaming"
	Idle      State = "idle" // streaming, without beats, since nobody asks
	Down      State = "down"
)

// Stats is a snapshot. Counters only grow.
type Stats struct {
	State         State
	Reason        Reason        // why it is, or was last, down; empty if it never was
	Confirmed     time.Duration // age of the latest confirmation, -1 if there is none
	Lag           int64         // bytes of the log that the server has written and the consumer not read
	Commits       uint64        // of which the cache was told
	Relations     uint64        // that they changed, summed up
	SchemaChanges uint64
	Confirmations uint64
	Ends          map[Reason]uint64 // of streams, by reason
	Unsettled     int               // transactions that were decoded and are not known to be visible
	Role          Role              // empty without a stream
	Relayed       uint64            // entries that were written to Redis, or heard there
	RelayErrors   uint64            // commands to Redis that failed
	RelayPending  int               // bytes of changes that wait to be written to Redis
	Leads         bool              // beats for those that share the database
	Announced     bool              // an event trigger writes DDL into the log
}

// New returns a consumer that runs until Close.
func New(cfg Config) *Consumer { return start(cfg, false) }

func start(cfg Config, noGate bool) *Consumer {
	ctx, stop := context.WithCancel(context.Background())
	c := &Consumer{
		cfg: cfg, noGate: noGate,
		stop: stop, done: make(chan struct{}), state: Starting, confirmed: -1,
	}
	if c.cfg.Streams == nil {
		c.cfg.Streams = new(Streams)
	}
	c.stats.Ends = make(map[Reason]uint64)
	if c.cfg.Logger == nil {
		c.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	go c.run(ctx)
	return c
}

// Close leaves the stream. The last who does ends it, and drops the slot; it returns then
// when both connections are closed.
func (c *Consumer) Close() {
	c.stop()
	<-c.done
}

// Serves reports whether what the cache holds, and does not know to be changed, may be
// served: everything that was visible Bound ago has been told to the cache. The clock has
// to be read before, and the entry looked at after.
func (c *Consumer) Serves(now time.Duration) bool {
	s := c.trusted.Load()
	return s != nil && s.serves(now, c.cfg.Bound)
}

// known are the tables, or nil.
func (c *Consumer) known() *tables {
	if s := c.life.Load(); s != nil {
		return s.tables.Load()
	}
	return nil
}

// Covers reports whether every change of these relations is told. The answer holds until
// the next SchemaChanged.
func (c *Consumer) Covers(relations []Relation) bool {
	t := c.known()
	if t == nil {
		return false
	}
	for _, r := range relations {
		if _, known := t.roots[r]; !known {
			return false
		}
		if _, gap := t.uncovered[r]; gap {
			return false
		}
	}
	return true
}

// Knows reports whether Covers can say anything yet.
func (c *Consumer) Knows() bool { return c.known() != nil }

// Doubt is what a snapshot of the server must see before rows of these relations are read
// there to be kept. It is asked for after the cache's versions were
// noted.
func (c *Consumer) Doubt(relations []Relation) Doubt {
	s := c.life.Load()
	if s == nil || c.noGate {
		return Doubt{} // without a stream: what was noted before the next one is not kept
	}
	return s.unsettled.doubt(relations)
}

// Saw settles what a snapshot of the server sees.
func (c *Consumer) Saw(seen *Snapshot) {
	if s := c.life.Load(); s != nil {
		s.unsettled.settle(seen)
	}
}

// ServerSQL is an expression that tells servers, the lives of one, and its databases apart:
// the start of the server in microseconds, and the database's OID.
const ServerSQL = `(SELECT pg_catalog.concat((EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,
  '/', d.oid) FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())`

// Stats returns the numbers.
func (c *Consumer) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stats
	st.State, st.Reason, st.Confirmed = c.state, c.reason, -1
	if s := c.life.Load(); s != nil {
		st.Unsettled, st.Lag, st.Leads, st.Announced = s.unsettled.count(), s.lag.Load(), s.leads.Load(), s.announced.Load()
		st.Role = s.role()
		st.Relayed += s.relayed.Load()
		st.RelayErrors += s.relayErrors.Load()
		if p := s.publisher.Load(); p != nil {
			st.RelayPending = p.waiting()
		}
	}
	if c.confirmed >= 0 {
		st.Confirmed = max(c.cfg.Now()-c.confirmed, 0)
	}
	st.Ends = make(map[Reason]uint64, len(c.stats.Ends))
	maps.Copy(st.Ends, c.stats.Ends)
	return st
}

const (
	backoffFirst  = 100 * time.Millisecond
	backoffMost   = 30 * time.Second
	backoffRelay  = 2 * time.Second
	healthyAfter  = 10 * time.Second // a stream that lived longer starts the back-off anew
	sameLineAfter = time.Minute
)

func (c *Consumer) run(ctx context.Context) {
	defer close(c.done)
	wait := backoffFirst
	for {
		c.setState(Starting)
		began := c.cfg.Now()
		err := c.follow(ctx)
		c.lost()
		if ctx.Err() != nil {
			c.setState(Down)
			return
		}
		if c.cfg.Now()-began > healthyAfter {
			wait = backoffFirst
		}
		switch {
		case errors.Is(err, errRepublished):
			c.count(func(st *Stats) { st.Ends[Republished]++ })
			continue
		case errors.Is(err, errFounderLeft):
			continue
		case errors.Is(err, errRelayMoved):
			c.count(func(st *Stats) { st.Ends[RelayMoved]++ })
			wait = backoffFirst
		default:
			c.ended(err, wait)
		}
		if pause(ctx, wait/2+rand.N(wait)) != nil {
			return
		}
		wait = min(2*wait, backoffMost)
		if isRelayed(err) { // the server need not be spared
			wait = min(wait, backoffRelay)
		}
	}
}

// lost stops serving, and drops what the cache holds: from here on changes are missed.
func (c *Consumer) lost() {
	c.trusted.Store(nil)
	c.mu.Lock()
	c.confirmed = -1
	c.mu.Unlock()
	c.cfg.Cache.Lost()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.life.Swap(nil); s != nil {
		c.stats.Relayed += s.relayed.Load()
		c.stats.RelayErrors += s.relayErrors.Load()
	}
}

// ended notes why, and says so, but the same thing only every now and then.
func (c *Consumer) ended(err error, pause time.Duration) {
	reason := reasonOf(err)
	c.mu.Lock()
	c.state, c.reason = Down, reason
	c.stats.Ends[reason]++
	now := c.cfg.Now()
	say := c.logged != reason || now-c.loggedAt > sameLineAfter
	if say {
		c.logged, c.loggedAt = reason, now
	}
	c.mu.Unlock()
	if say {
		c.cfg.Logger.Warn("lifeguard: the cache does not hear of changes; every query goes to the server",
			"reason", string(reason), "error", describe(err), "next_try", pause)
	}
}

func (c *Consumer) setState(s State) {
	c.mu.Lock()
	changed := c.state != s
	c.state = s
	again := changed && s == Streaming && c.logged != ""
	if again {
		c.logged = ""
	}
	c.mu.Unlock()
	if again {
		c.cfg.Logger.Info("lifeguard: the cache hears of changes again")
	}
}

func (c *Consumer) count(f func(*Stats)) {
	c.mu.Lock()
	f(&c.stats)
	c.mu.Unlock()
}
