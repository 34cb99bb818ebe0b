package lifeguard

import (
	"context"
	"time"
)

const (
	// cancelAgain is how often the server is asked to cancel what is left of a group: one
	// request ends one statement, and the next may wait for the same lock.
	cancelAgain = 20 * time.Millisecond
	// drainLimit is how long the server may take for that.
	drainLimit = 5 * time.Second
)

// leaveToBackground has what is left of a group read by nobody's caller, and the lease given
// back after it. c is idle then.
func (c *Conn) leaveToBackground(g *group) {
	g.passed = true
	d := c.detach()
	d.slot.setState(SlotDraining)
	c.core.pool.inBackground(func() { d.clearAway(g) })
}

// clearAway reads the rest of a group, and ends the lease. A connection on which something
// stays unread is closed, and its slot free when the server has let go of it.
func (c *Conn) clearAway(g *group) {
	defer c.endLease()
	defer func() {
		// A hook of the application's (OnNotice) would have panicked in its caller's goroutine.
		// Here it would end the process, for a statement that nobody waits for any more.
		_ = recover()
		g.askAlone(g.riders)
	}()
	patience := max(groupPatience-(g.limiter.now()-g.sent), leaderPatience)
	switch err := g.readUntil(context.Background(), len(g.members), patience); {
	case err == nil:
		g.ended(c.slot)
	case isTimeout(err):
		g.tooSlow()
		g.ph.unread = !g.cancelRest()
	}
}

// cancelRest has the server end what is left, reads it, and reports whether nothing more will
// come.
func (g *group) cancelRest() bool {
	ctx, stop := context.WithTimeout(context.Background(), drainLimit)
	defer stop()
	for g.at < len(g.members) {
		if g.ph.pg.CancelRequest(ctx) != nil {
			return false
		}
		err := g.readUntil(ctx, len(g.members), cancelAgain)
		if err != nil && !isTimeout(err) || ctx.Err() != nil {
			return false
		}
	}
	// A request that came late hits this, or nothing.
	err := g.ph.pg.Ping(ctx)
	if isCancelled(err) {
		err = g.ph.pg.Ping(ctx)
	}
	return err == nil
}
