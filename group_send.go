package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// group is one on its way. It is the leader's, or the background's; never both.
type group struct {
	ph      *physical
	members []member // the leader first
	at      int      // whose result comes next
	sent    time.Duration
	now     func() time.Duration
}

// member is one statement of a group.
type member struct {
	text   *groupText
	rider  *rider // nil for the leader
	plan   *groupPlan
	rows   *rowset.Builder
	set    *rowset.Set
	over   bool // its result is larger than what is recorded
	failed bool
	stale  bool // its plan does not fit its tables any more, or is gone
	took   time.Duration
}

// leaseOrRide leases the connection, unless somebody else's brings the rows.
func (c *Conn) leaseOrRide(ctx context.Context, x *call) (driver.Rows, error) {
	c.ask = c.asking(x)
	err := c.lease(ctx, x.st, false)
	a := c.ask
	if c.ask = nil; a != nil {
		defer func() { c.asks = groupAsk{} }()
	}
	switch {
	case errors.Is(err, errRode):
		return c.rode(ctx, x.st, a.rode), nil
	case err != nil:
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	case a != nil && c.slot.crowd > 0:
		return c.lead(ctx, x.st, a)
	}
	return nil, nil
}

// lead sends a query with those of others that wait, if there are any. Without rows and
// error the query has not been answered, and is to be sent alone.
func (c *Conn) lead(ctx context.Context, st *sqltext.Statement, a *groupAsk) (driver.Rows, error) {
	groups := c.core.groups
	if c.core.guarding() != nil { // asked on the lease that a cache that comes now will wait for
		return nil, nil
	}
	own := c.ph.groupPlan(ctx, a.text, c.slot.acquired)
	if own == nil || !c.ph.encode(own, a.args, nil) {
		return nil, nil
	}
	riders := c.core.limiter.company(c.slot, groups.most-1, c.core.limiter.now(), c.ph.knowsText)
	if len(riders) == 0 {
		return nil, nil
	}
	groups.led.Add(1)
	g := c.assemble(a, own, riders)
	g.sent = c.slot.begin(SlotExecuting, st.Summary, st.Fingerprint)
	if c.ph.pg.Frontend().Flush() != nil {
		g.dissolve()
		_ = c.ph.pg.Close(context.WithoutCancel(ctx))
		return nil, nil //nolint:nilerr // the connection is broken, and says so
	}
	return c.readGroup(ctx, st, g)
}

// assemble encodes the statements of a group for the connection of the lease. A rider
// whose arguments do not fit is told to ask alone.
func (c *Conn) assemble(a *groupAsk, own *groupPlan, riders []rider) *group {
	g := &group{ph: c.ph, now: c.core.limiter.now, members: make([]member, 0, 1+len(riders))}
	add := func(a *groupAsk, plan *groupPlan, r *rider) bool {
		if !c.ph.encode(plan, a.args, c.ph.pg.Frontend()) {
			return false
		}
		rows := rowset.NewBuilder(plan.columns, maxGroupRows, maxGroupBytes)
		g.members = append(g.members, member{text: a.text, plan: plan, rider: r, rows: rows})
		return true
	}
	add(a, own, nil) // has been tried
	for i := range riders {
		r := &riders[i]
		if !add(&r.ask, c.ph.plans.byText[r.ask.text.query], r) {
			r.answer(nil)
		}
	}
	return g
}

// answeredInGroup begins the event of a statement when its end is known already, with a
// span that begins when it was sent.
func (c *Conn) answeredInGroup(ctx context.Context, st *sqltext.Statement, ph *physical, sent, took time.Duration, set *rowset.Set) (context.Context, event) {
	e := event{st: st, verb: verbExecute, wait: c.wait, sent: sent, first: took, took: took, result: set != nil}
	if set != nil {
		e.rows = int64(set.Len())
	}
	if c.core.tracing != nil {
		e.began = c.core.limiter.epoch.Add(sent)
		ctx = c.core.tracing.start(ctx, &e, ph)
	}
	return ctx, e
}

// rode returns the rows that a leader has brought.
func (c *Conn) rode(ctx context.Context, st *sqltext.Statement, r *rider) driver.Rows {
	ctx, e := c.answeredInGroup(ctx, st, r.ph, r.sent, r.took, r.set)
	e.slot = r.slot
	c.wait = 0
	c.core.observe(ctx, &e)
	return r.set.Rows(&c.core.groups.maps)
}
