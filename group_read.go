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

// readGroup reads the results of a group as its leader.
func (c *Conn) readGroup(ctx context.Context, st *sqltext.Statement, g *group) (driver.Rows, error) {
	conn, leader := c.ph.pg.Conn(), &g.members[0]
	_ = conn.SetReadDeadline(time.Now().Add(groupPatience))
	release := interruptReads(ctx, conn)
	err := g.read(len(g.members)) //nolint:contextcheck // the group is its riders' too
	if isTimeout(err) && g.at == 0 && ctx.Err() == nil {
		g.dissolve()
		release()
		_ = conn.SetReadDeadline(time.Time{})
		release = interruptReads(ctx, conn)
		err = g.read(1) //nolint:contextcheck // the group is its riders' too
	}
	release()
	_ = conn.SetReadDeadline(time.Time{})

	if err != nil {
		g.dissolve()
		c.slot.riders = 0 // what it takes is not what they take
	}
	if g.at == 0 {
		return nil, c.leaderFailed(ctx, st, g, err)
	}
	rest := g.at < len(g.members) && !c.ph.dead()
	if leader.set == nil {
		if rest {
			_ = g.drain(false) //nolint:contextcheck // as above; if it fails the connection is broken, and says so
		}
		g.forgetStale(ctx)
		return nil, nil
	}
	ctx, e := c.answeredInGroup(ctx, st, g.ph, g.sent, leader.took, leader.set)
	e.slot = c.slot.index
	if c.admitted > 0 {
		e.open = e.sent - c.admitted
	}
	c.wait, c.admitted, c.asked = 0, 0, cacheAnswer{}
	c.rowsClosed(ctx, &e)
	if rest {
		d := c.detach()
		c.core.pool.inBackground(func() { d.drain(g, false) }) //nolint:contextcheck // nobody waits for it
	} else if !c.ph.dead() {
		g.forgetStale(ctx)
	}
	return leader.set.Rows(&c.core.groups.maps), nil
}

// leaderFailed ends a group whose leader has no answer: its context has ended, or the
// connection is lost.
func (c *Conn) leaderFailed(ctx context.Context, st *sqltext.Statement, g *group, err error) error {
	ctx, e := c.answeredInGroup(ctx, st, g.ph, g.sent, 0, nil)
	e.slot = c.slot.index
	c.wait, c.admitted, c.asked = 0, 0, cacheAnswer{}
	if isTimeout(err) && ctx.Err() != nil {
		err = c.executed(ctx, &e, &cancelledError{ctxErr: ctx.Err(), pgErr: ctx.Err()})
		d := c.detach()
		c.core.pool.inBackground(func() { d.drain(g, true) }) //nolint:contextcheck // nobody waits for it
		return err
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // pgconn's words for it say that it is safe to retry, which is not known
	}
	return c.executed(ctx, &e, err)
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

// read reads results and hands them out, until as many have been or reading fails. After
// a time-out it can be called again.
func (g *group) read(until int) error {
	for g.at < until {
		m := &g.members[g.at]
		msg, err := g.ph.pg.ReceiveMessage(context.Background())
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			m.over = m.over || !m.rows.Add(msg.Values)
		case *pgproto3.CommandComplete:
			if !m.over && !m.failed {
				m.set = m.rows.Set(pgconn.NewCommandTag(string(msg.CommandTag)))
			}
		case *pgproto3.ErrorResponse:
			m.over, m.set = false, nil
			m.failed, m.stale = true, msg.Code == "0A000" || msg.Code == "26000"
		case *pgproto3.ReadyForQuery:
			g.at++
			g.finish(m)
		}
	}
	return nil
}

// finish hands a result to its rider.
func (g *group) finish(m *member) {
	now := g.now()
	m.took = now - g.sent
	switch {
	case m.over:
		m.text.pause(now, pauseLarge)
	case m.stale: // is prepared anew
	case m.set == nil:
		m.text.pause(now, pauseError)
	}
	if m.rider != nil {
		m.rider.ph, m.rider.sent, m.rider.took = g.ph, g.sent, m.took
		m.rider.answer(m.set)
	}
}

// forgetStale deallocates the statements that were refused for what they are.
func (g *group) forgetStale(ctx context.Context) {
	for i := range g.members {
		if m := &g.members[i]; m.stale {
			g.ph.forgetGroupPlan(ctx, m.text.query)
		}
	}
}

// dissolve has all riders ask alone that have no answer.
func (g *group) dissolve() {
	if now := g.now(); now-g.sent >= groupPatience {
		g.members[g.at].text.pause(now, pauseSlow)
	}
	for i := range g.members {
		if r := g.members[i].rider; r != nil {
			r.answer(nil)
		}
	}
}
