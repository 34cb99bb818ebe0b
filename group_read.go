package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// errUnfit ends the reading of a group whose leader must ask alone.
var errUnfit = errors.New("lifeguard: the leader's result does not fit")

// readGroup reads the results of a group as its leader: its own, and those of others as
// long as they come without delay.
func (c *Conn) readGroup(ctx context.Context, st *sqltext.Statement, g *group) (driver.Rows, error) {
	leader := &g.members[0]
	err := g.readUntil(ctx, 1, groupPatience)
	if isTimeout(err) && ctx.Err() == nil { // the leader waits on, as it would alone
		g.tooSlow()
		err = g.readUntil(ctx, 1, 0)
	}
	switch {
	case isTimeout(err): // its context has ended
		return nil, c.leaderGone(ctx, st, g)
	case err != nil && !errors.Is(err, errUnfit):
		return nil, c.leaderLost(ctx, st, g, err)
	case err == nil && leader.set != nil:
		return c.leaderAnswered(ctx, st, g), nil
	}
	if err == nil && g.readUntil(ctx, len(g.members), leaderPatience) == nil {
		g.ended(c.slot)
		return nil, nil //nolint:nilnil // sent again on the same lease
	}
	c.leaveToBackground(g) //nolint:contextcheck // nobody waits for it
	if err := c.lease(ctx, st, false); err != nil {
		return nil, c.turnedAway(ctx, st, verbExecute, err)
	}
	return nil, nil //nolint:nilnil // sent again on another lease
}

// leaderAnswered ends a group, as far as its leader is concerned, that has brought its
// result.
func (c *Conn) leaderAnswered(ctx context.Context, st *sqltext.Statement, g *group) driver.Rows {
	leader := &g.members[0]
	rest := g.readUntil(context.Background(), len(g.members), leaderPatience) //nolint:contextcheck // it is short
	ctx, e := c.sendingEnded(ctx, st, g)
	c.rest()
	c.core.observe(ctx, &e)
	if rest != nil {
		c.leaveToBackground(g) //nolint:contextcheck // nobody waits for it
		return leader.set.Rows(&c.core.groups.maps)
	}
	g.ended(c.slot)
	return leader.set.Rows(&c.core.groups.maps)
}

// leaderGone ends a group whose leader's context has ended.
func (c *Conn) leaderGone(ctx context.Context, st *sqltext.Statement, g *group) error {
	ctx, e := c.sendingEnded(ctx, st, g)
	err := c.executed(ctx, &e, &cancelledError{ctxErr: ctx.Err(), pgErr: ctx.Err()})
	c.leaveToBackground(g) //nolint:contextcheck // nobody waits for it
	return err
}

// leaderLost ends a group whose connection is gone. Its leader sees what it would see alone.
func (c *Conn) leaderLost(ctx context.Context, st *sqltext.Statement, g *group, err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // pgconn's words for it say that it is safe to retry, which is not known
	}
	g.askAlone(g.riders)
	ctx, e := c.sendingEnded(ctx, st, g)
	return c.executed(ctx, &e, err)
}

// sendingEnded is sending, for a leader that has been answered, or will not be.
func (c *Conn) sendingEnded(ctx context.Context, st *sqltext.Statement, g *group) (context.Context, event) {
	leader := &g.members[0]
	ctx, e := c.answeredInGroup(ctx, st, g.ph, g.sent, leader.took, leader.set)
	e.slot = c.slot.index
	if c.admitted > 0 {
		e.open = e.sent - c.admitted
	}
	c.wait, c.admitted, c.asked = 0, 0, cacheAnswer{}
	return ctx, e
}

// ended notes what a group that was read to its end has taken.
func (g *group) ended(s *slot) {
	g.ph.unread = false
	g.limiter.learnGroup(s, g.riders, g.before-g.members[0].took)
}

// readUntil reads results until as many have been, for as long as that may take, and ctx
// lasts; 0 is for ever. It reports a time-out for both. After one it can be called again.
func (g *group) readUntil(ctx context.Context, until int, patience time.Duration) error {
	if g.at >= until {
		return nil
	}
	conn := g.ph.pg.Conn()
	deadline := time.Time{}
	if patience > 0 {
		deadline = time.Now().Add(patience)
	}
	_ = conn.SetReadDeadline(deadline)
	release := interruptReads(ctx, conn)
	err := g.read(until) //nolint:contextcheck // the group is its riders' too
	release()
	_ = conn.SetReadDeadline(time.Time{})
	return err
}

// interruptReads has reading time out when ctx ends, until the result is called.
func interruptReads(ctx context.Context, conn net.Conn) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return err != nil && errors.As(err, &netErr) && netErr.Timeout()
}

// read reads results and hands them out, until as many have been or reading fails.
func (g *group) read(until int) error {
	for g.at < until {
		m := &g.members[g.at]
		msg, err := g.ph.pg.ReceiveMessage(context.Background())
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if g.record(m, msg.Values); m.over && len(m.rider) == 0 {
				return errUnfit // who knows how much is still to come
			}
		case *pgproto3.CommandComplete:
			if !m.over && !m.err {
				m.set = m.rows.Set(pgconn.NewCommandTag(string(msg.CommandTag)))
			}
		case *pgproto3.ErrorResponse:
			m.set, m.err, m.stale = nil, true, msg.Code == "0A000" || msg.Code == "26000"
		case *pgproto3.ReadyForQuery:
			g.at++
			g.answer(m)
		}
	}
	return nil
}

// record keeps a row, unless the result, or those of the whole group, become too large.
func (g *group) record(m *member, values [][]byte) {
	if m.over {
		return
	}
	for _, v := range values {
		g.bytes += len(v)
	}
	m.over = g.bytes > maxGroupBytes || !m.rows.Add(values)
}

// answer hands a result to its rider. Who has none asks alone.
func (g *group) answer(m *member) {
	now := g.limiter.now()
	m.took = now - g.sent
	own := m.took - g.before
	g.before = m.took
	switch {
	case m.over:
		m.plan.text.pause(now, pauseLarge)
	case m.stale:
		g.ph.dropPlan(m.query)
	case m.set == nil:
		m.plan.text.pause(now, pauseError)
	}
	m.rows = nil
	for i := range m.rider {
		r := &m.rider[i]
		if m.set == nil {
			g.askAlone(m.rider)
			return
		}
		r.ph, r.sent, r.took, r.own = g.ph, g.sent, m.took, own
		r.answer(m.set)
	}
}

// tooSlow has all riders ask alone that still wait, and the text at fault be sent alone for
// a while.
func (g *group) tooSlow() {
	g.members[min(g.at, len(g.members)-1)].plan.text.pause(g.limiter.now(), pauseSlow)
	g.askAlone(g.riders)
}
