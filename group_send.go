package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// group is one on its way. It is its leader's, or the background's; never both.
type group struct {
	of      *groups
	ph      *physical
	limiter *limiter
	members []member // the leader first
	riders  []rider  // all that were taken along
	at      int      // whose result comes next
	bytes   int      // of all results
	sent    time.Duration
	before  time.Duration // after sent: when the latest result was complete
	passed  bool          // to the background
}

// member is one statement of a group that was sent.
type member struct {
	rider []rider // one; none for the leader
	query string
	plan  *groupPlan
	rows  *rowset.Builder
	set   *rowset.Set
	over  bool // its result is larger than what is recorded
	stale bool // its plan does not fit its tables any more, or is gone
	err   bool // the server's
	took  time.Duration
}

// leaseOrRide leases the connection for a query, unless it, or somebody else's, brings the
// rows on the way.
func (c *Conn) leaseOrRide(ctx context.Context, x *call) (driver.Rows, error) {
	if c.core.groups == nil {
		if err := c.lease(ctx, x.st, false); err != nil {
			return nil, c.turnedAway(ctx, x.st, verbExecute, err)
		}
		return nil, nil //nolint:nilnil // leased
	}
	ask := c.asking(x)
	defer func() { c.riding = groupAsk{} }() // also after the panic of a hook
	switch err := c.leaseAsking(ctx, x.st, false, ask); {
	case errors.Is(err, errRode):
		return c.rode(ctx, x.st, ask.rode), nil
	case err != nil:
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	case ask == nil || !c.slot.crowded:
		return nil, nil //nolint:nilnil // as above
	}
	return c.lead(ctx, x, ask)
}

// lead sends a query with those of others that wait, if there are any. Without rows and
// error the query has not been answered, and is to be sent alone on the lease.
func (c *Conn) lead(ctx context.Context, x *call, a *groupAsk) (driver.Rows, error) {
	now := c.slot.acquired
	own := c.planToLead(ctx, a.query, now)
	if own == nil || c.core.guarding() != nil { // asked on the lease that a cache that comes now will wait for
		return nil, nil //nolint:nilnil // alone
	}
	known := func(query string) bool { return c.ph.plan(c.core.groups, query, now) != nil }
	riders := c.core.limiter.company(c.slot, maxGroup-1, known)
	if len(riders) == 0 {
		return nil, nil //nolint:nilnil // alone
	}
	g := &group{of: c.core.groups, ph: c.ph, limiter: c.core.limiter, riders: riders, members: make([]member, 0, 1+len(riders))}
	defer c.abandon(g) // also after the panic of a hook
	if !g.assemble(a, own) {
		return nil, nil //nolint:nilnil // alone, where its caller is told what does not fit
	}
	c.core.groups.led.Add(1)
	g.sent = c.slot.begin(SlotExecuting, x.st.Summary, x.st.Fingerprint)
	if err := g.flush(); err != nil { //nolint:contextcheck // closing does not end with the caller's context
		return nil, nil //nolint:nilnil // the connection is broken, and says so
	}
	return c.readGroup(ctx, x.st, g)
}

// planToLead returns the plan of a text on the leased connection, nil if it cannot lead. It
// is made when it is seen that there is somebody to take along, and not before.
func (c *Conn) planToLead(ctx context.Context, query string, now time.Duration) *groupPlan {
	g, ph := c.core.groups, c.ph
	home := ph.plans.known(g)
	plan := ph.plan(g, query, now)
	if plan != nil && home {
		return plan
	}
	if !home && now < ph.plans.lookAt {
		return nil
	}
	text := g.text(query)
	if text == nil || text.paused(now) {
		return nil
	}
	// Nobody who was last on a connection whose session may have been changed rides, so there
	// would never be company for it.
	if !ph.plans.altered.Load() && !c.core.limiter.hasCompany(c.slot) {
		return nil
	}
	defer func(since time.Duration) { c.slot.shared += c.core.limiter.now() - since }(c.core.limiter.now()) // it is no part of what the statement takes
	// An error is that of a connection, or of a context, that is gone: who sends next says so.
	if home, err := g.atHome(ctx, ph, now); !home || err != nil {
		return nil
	}
	if plan != nil {
		return plan
	}
	plan, err := g.makePlan(ctx, ph, text, query, now)
	if err != nil {
		return nil
	}
	return plan
}

// assemble encodes the statements of a group. A rider whose arguments do not fit asks alone.
func (g *group) assemble(a *groupAsk, own *groupPlan) bool {
	g.ph.unread = true // what is encoded stays in the connection's buffer
	if !g.add(a, own, nil) {
		g.ph.unread = false // nothing is
		return false
	}
	for i := range g.riders {
		r := g.riders[i : i+1]
		if !g.add(&r[0].ask, g.ph.plans.byText[r[0].ask.query], r) {
			g.askAlone(r)
		}
	}
	return true
}

func (g *group) add(a *groupAsk, plan *groupPlan, r []rider) bool {
	if !g.ph.encode(plan, a.args) {
		return false
	}
	plan.used = g.limiter.now()
	rows := rowset.NewBuilder(plan.columns, maxGroupRows, maxGroupBytes)
	g.members = append(g.members, member{query: a.query, plan: plan, rider: r, rows: rows})
	return true
}

// flush writes a group. It is small enough for the socket's buffer; a server that reads
// nothing at all must not keep it for ever all the same. After an error the connection is
// closed.
func (g *group) flush() error {
	conn := g.ph.pg.Conn()
	err := conn.SetWriteDeadline(time.Now().Add(flushLimit))
	if err == nil {
		err = g.ph.pg.Frontend().Flush()
	}
	if err != nil {
		_ = conn.SetDeadline(time.Unix(1, 0)) // closing writes, too
		_ = g.ph.pg.Close(context.Background())
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// abandon has all riders ask alone that have no answer, unless the background still reads. If
// something is unread although the connection is open, a hook has panicked: then
// database/sql will not take c back, and nobody may have the connection.
func (c *Conn) abandon(g *group) {
	if g.passed {
		return
	}
	g.askAlone(g.riders)
	if g.ph.unread && !g.ph.dead() {
		c.endLease()
	}
}

// askAlone sends riders back to where they were in the queue.
func (g *group) askAlone(riders []rider) {
	if n := g.limiter.sendBack(riders); n > 0 {
		g.of.alone.Add(uint64(n))
	}
}

// answeredInGroup begins the event of a statement when its end is known already, with a
// span that begins when it was sent.
func (c *Conn) answeredInGroup(ctx context.Context, st *sqltext.Statement, ph *physical, sent, took time.Duration, set *rowset.Set) (context.Context, event) {
	e := event{st: st, verb: verbExecute, wait: c.wait, sent: sent, first: took, took: took, result: set != nil}
	if set != nil {
		e.rows = int64(set.Len())
	}
	if c.core.tracing != nil {
		ctx, e.span = c.core.tracing.startAt(ctx, e, ph, c.core.limiter.epoch.Add(sent))
	}
	return ctx, e
}

// rode returns the rows that a leader has brought.
func (c *Conn) rode(ctx context.Context, st *sqltext.Statement, r *rider) driver.Rows {
	ctx, e := c.answeredInGroup(ctx, st, r.ph, r.sent, r.took, r.set)
	e.slot = r.slot
	c.wait = 0
	c.core.groups.rode.Add(1)
	c.core.observe(ctx, &e)
	return r.set.Rows(&c.core.groups.maps)
}
