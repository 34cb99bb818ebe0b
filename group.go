package lifeguard

import (
	"database/sql/driver"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// groups is what a core needs to send several waiting reads over one connection at once.
//
// A statement that gets a slot while others wait is a leader. It takes those who are next
// in the queue along, its riders, up to its connection's share of them: all are written
// at once, each with a Sync of its own, so that each is a transaction of its own and no
// error of one is seen by another. The leader reads the results in that order and
// hands them out; riders wait as they waited in the queue, and hold neither a slot nor a
// connection. What is saved is a wake-up of the server's process, and one of ours, for
// each statement but the first.
//
//	          ┌─ result ─────────────────────────────► rows from memory
//	rider ────┼─ context ended ──────────────────────► its error; the result is dropped
//	          └─ anything else ─ back to its place ──► sent alone, as if there was no group
//
//	          ┌─ result, and the rest in time ───────► rows, lease as ever
//	leader ───┼─ result, and the rest is slow ───────► rows; the rest is cleared away in
//	          │                                        the background, with the lease
//	          ├─ context ended ──────────────────────► its error; likewise
//	          └─ an error, or a large result ────────► sent again, alone
//
// Invariants:
//
//  1. A group brings results and never errors: who gets none asks alone, once, and meets
//     what it would have met without a group. So a statement may run twice, and a group
//     takes only those for which that makes no difference, nor in which session it runs:
//     see groupPlan. The error of a lost connection is its leader's, as it would be.
//  2. A connection with answers unread (physical.unread) is never handed on.
//  3. Each rider gets one answer, whatever happens to its leader, a panic too.
//  4. Nobody waits for others longer than groupPatience, and a leader that has its result
//     no longer than leaderPatience.
//  5. A rider is admitted once, waits once, and is counted once; who asks alone keeps its
//     place, its priority and its fingerprint.
//
// What is short is known from holds of the same shape; see limiter.company.
type groups struct {
	maps    rowset.Maps
	catalog *catalog.Catalog       // what proves that a text may be in a group
	home    atomic.Pointer[string] // the session that all connections begin with

	mu    sync.Mutex // guards texts; never held while blocking
	texts map[string]*groupText

	led   atomic.Uint64 // groups that were sent
	rode  atomic.Uint64 // riders that got their result
	alone atomic.Uint64 // riders that asked alone
}

const (
	maxGroup          = 16 // statements
	maxGroupTexts     = 1024
	maxGroupText      = 4 << 10 // bytes; a longer text is sent alone
	maxGroupArguments = 1 << 10 // bytes of one statement's: all of a group fit into the socket's buffer
	maxGroupRows      = 1000    // of one statement
	maxGroupBytes     = 256 << 10

	// groupHold is how long a statement may take on average that shares a connection, and
	// groupWork what all of one group may.
	groupHold = 2 * time.Millisecond
	groupWork = 8 * time.Millisecond
	// groupPatience is how long riders wait for their group.
	groupPatience = 25 * time.Millisecond
	// leaderPatience is how long a leader that has its own result reads for others.
	leaderPatience = 5 * time.Millisecond
	// flushLimit is how long a group may take to be written.
	flushLimit = time.Second

	// How long a text is sent alone: after a group was too slow, after an error in one,
	// after a result that was too large, and if it may not be in one at all, since somebody
	// may change that.
	pauseSlow  = 100 * time.Millisecond
	pauseError = time.Second
	pauseLarge = 10 * time.Second
	pauseUnfit = time.Minute
)

// groupText is what all connections know about a text.
type groupText struct {
	alone atomic.Int64 // until then, on the limiter's clock, it is sent alone
}

// groupAsk is a statement that a leader may take along. It belongs to its Conn; a leader
// copies it while its caller waits in the queue.
type groupAsk struct {
	query string
	args  []driver.NamedValue // of types that nobody can change behind the leader's back
	last  *physical           // the connection that its Conn had last; nil is none
	rode  *rider              // who has answered it instead of a slot
}

// newGroups returns nil if groups are off, or cannot be. Hooks of an inner connector may
// set a session up for the context of each lease, the cache sends what it fills by flights
// of its own, and an adaptive limit would learn from what a statement takes in company.
func newGroups(co *core) *groups {
	cfg := &co.cfg
	if cfg.Group != GroupOn || cfg.Mode != ModeCheckout || cfg.Limit == AutoLimit || co.cache != nil || co.wrapped {
		return nil
	}
	return &groups{catalog: catalog.New(), texts: make(map[string]*groupText)}
}

// mayRide reports whether it does not matter which connection it is sent over. Who was last
// on one whose session may have been changed wants that again, and no other.
func (a *groupAsk) mayRide() bool { return a.last == nil || !a.last.plans.altered.Load() }

// asking returns what a leader may take along of a query that is about to ask for a
// lease, or nil.
func (c *Conn) asking(x *call) *groupAsk {
	if c.ph != nil || x.st.Kind != sqltext.Select || x.st.Flags != 0 || len(x.query) > maxGroupText {
		return nil
	}
	if c.core.guarding() != nil {
		return nil
	}
	size := 16 * len(x.args)
	for i := range x.args {
		if !isPlain(x.args[i].Value) {
			return nil
		}
		if s, ok := x.args[i].Value.(string); ok {
			size += len(s)
		}
	}
	if size > maxGroupArguments {
		return nil
	}
	c.riding = groupAsk{query: x.query, args: x.args, last: c.last}
	return &c.riding
}

// text returns what is known about a text, nil at first sight: of those that come once, with
// what they look for in them, there may be many. With too many all are forgotten, which costs
// no more than an attempt.
func (g *groups) text(query string) *groupText {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.texts[query]; t != nil {
		return t
	}
	if len(g.texts) >= maxGroupTexts {
		clear(g.texts)
	}
	g.texts[strings.Clone(query)] = new(groupText)
	return nil
}

// paused reports whether the text is to be sent alone for now.
func (t *groupText) paused(now time.Duration) bool { return t.alone.Load() > int64(now) }

// pause has a text sent alone for a while.
func (t *groupText) pause(now, pause time.Duration) {
	for {
		until := t.alone.Load()
		if until >= int64(now+pause) || t.alone.CompareAndSwap(until, int64(now+pause)) {
			return
		}
	}
}

// GroupStats counts what lifeguard_group has done; see [Config].
type GroupStats struct {
	Groups uint64 // sent, each with at least one rider
	Riders uint64 // statements that another one's connection has answered
	Alone  uint64 // statements that were taken along, got no result, and asked again
}

func (g *groups) stats() GroupStats {
	if g == nil {
		return GroupStats{}
	}
	return GroupStats{Groups: g.led.Load(), Riders: g.rode.Load(), Alone: g.alone.Load()}
}
