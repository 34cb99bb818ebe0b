package lifeguard

import (
	"context"
	"time"
)

const (
	// drainQuietly is how long the rest of a group may take to come by itself, when nobody
	// waits for it.
	drainQuietly = 100 * time.Millisecond
	// drainLimit is how long it may take after a cancel request.
	drainLimit = 5 * time.Second
)

// drain reads the rest of a group, whose riders ask elsewhere, and then ends the lease
// that c has taken over.
func (c *Conn) drain(g *group, cancel bool) {
	c.slot.setState(SlotDraining)
	if g.drain(cancel) || c.ph.dead() {
		c.endLease()
		return
	}
	ph, s := c.ph, c.slot
	c.ph, c.slot = nil, nil
	c.core.pool.end(ph, endCancelled, func() { c.core.limiter.release(s) })
}

// drain reads what is left, which nobody waits for, and reports whether the connection can
// be used again. What does not come soon is cancelled on the server.
func (g *group) drain(cancel bool) bool {
	conn := g.ph.pg.Conn()
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	if !cancel {
		_ = conn.SetReadDeadline(time.Now().Add(drainQuietly))
		if err := g.read(len(g.members)); !isTimeout(err) {
			return err == nil
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), drainLimit)
	defer stop()
	if g.ph.pg.CancelRequest(ctx) != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(drainLimit))
	if g.read(len(g.members)) != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Time{})
	return g.ph.pg.Ping(ctx) == nil // a cancel request that came late has hit this, or nothing
}
