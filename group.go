package lifeguard

import (
	"database/sql/driver"
	"math"
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
//	          ┌─ result ──────────────────────────────► rows from memory
//	rider ────┼─ context ended ───────────────────────► its error; the result is dropped
//	          └─ anything else ── front of the queue ─► sent alone, as if there was no group
//
//	          ┌─ all results ─────────────────────────► rows, lease as ever
//	leader ───┼─ its context ended, or a rider's
//	          │  statement takes long ────────────────► the connection is drained in the
//	          │                                         background; its riders ask alone
//	          └─ an error, or more than maxGroupBytes ► sent again, on the same lease
//
// A group brings results and never errors: who gets none asks again alone, and meets
// what it would have met without a group. So a statement may run twice, and a group
// takes only those for which that makes no difference: one SELECT, which locks no rows
// and calls no function but a few known ones. For the same reason it does not matter that
// such a statement, the first on a sql.Conn, ran in another session than those after it.
//
// What is short is known from holds of the same shape; see limiter.company. If a statement
// takes longer than groupPatience all the same, its riders are sent elsewhere.
type groups struct {
	most int // statements in one group
	maps rowset.Maps

	mu    sync.RWMutex // guards texts; never held while blocking
	texts map[string]*groupText

	led   atomic.Uint64 // groups that were sent
	rode  atomic.Uint64 // riders that got their result
	alone atomic.Uint64 // riders that asked alone
}

const (
	maxGroupTexts     = 1024 // then they are forgotten
	maxGroupPrepared  = 64   // on one connection
	maxGroupArguments = 2 << 10
	maxGroupRows      = 1000
	maxGroupBytes     = 256 << 10

	// groupHold is how long a statement may take on average that shares a connection, and
	// groupWork what all riders of one group may.
	groupHold = 2 * time.Millisecond
	groupWork = 8 * time.Millisecond
	// groupPatience is how long riders wait for their group.
	groupPatience = 100 * time.Millisecond

	// How long a text is sent alone: after a group was too slow, after an error in one,
	// and after a result that was too large.
	pauseSlow  = 100 * time.Millisecond
	pauseError = time.Second
	pauseLarge = 10 * time.Second
)

// groupText is what is known about a text.
type groupText struct {
	query  string
	judged sync.Once    // at the second sight: of those that come once there may be many
	alone  atomic.Int64 // until then, on the limiter's clock, it is sent alone
}

// groupAsk is a statement that a leader may take along. It belongs to its Conn; a leader
// copies it while its caller waits in the queue.
type groupAsk struct {
	text *groupText
	args []driver.NamedValue // of types that nobody can change behind the leader's back
	rode *rider              // who has answered it instead of a slot
}

// newGroups returns nil if groups are off, or cannot be. Hooks of an inner connector may
// set a session up for the context of each lease, and the cache sends what it fills by
// flights of its own.
func newGroups(co *core) *groups {
	cfg := &co.cfg
	if cfg.Group < 2 || cfg.Mode != ModeCheckout || cfg.Limit == AutoLimit || co.cache != nil || co.wrapped {
		return nil
	}
	return &groups{most: cfg.Group, texts: make(map[string]*groupText)}
}

// asking returns what a leader may take along of a query that is about to wait for a
// lease, or nil.
func (c *Conn) asking(x *call) *groupAsk {
	g := c.core.groups
	if g == nil || c.ph != nil || x.st.Kind != sqltext.Select || x.st.Flags != 0 || c.core.guarding() != nil {
		return nil
	}
	size := 0
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
	text := g.text(x.query)
	if text == nil {
		return nil
	}
	if until := text.alone.Load(); until != 0 && until > int64(c.core.limiter.now()) {
		return nil
	}
	c.asks = groupAsk{text: text, args: x.args}
	return &c.asks
}

// text returns what is known about a text, nil at first sight.
func (g *groups) text(query string) *groupText {
	g.mu.RLock()
	t := g.texts[query]
	g.mu.RUnlock()
	if t == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.texts) >= maxGroupTexts {
			clear(g.texts)
		}
		g.texts[query] = &groupText{query: query}
		return nil
	}
	t.judged.Do(func() {
		if !catalog.RunsAnywhere(query) {
			t.never()
		}
	})
	return t
}

// pause has a text sent alone for a while.
func (t *groupText) pause(now, pause time.Duration) {
	for {
		until := t.alone.Load()
		if until >= int64(now+pause) || t.alone.CompareAndSwap(until, int64(now+pause)) {
			return
		}
	}
}

// never has a text sent alone for good.
func (t *groupText) never() { t.alone.Store(math.MaxInt64) }

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
