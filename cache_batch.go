package lifeguard

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// guardBatch is guard for a transaction that this package sends by itself and that writes
// one table as text would: text is analysed, and never sent. Once it is known, a flush
// costs no round trip more.
func (c *Conn) guardBatch(ctx context.Context, text string) (*writing, error) {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		return nil, err
	}
	c.ph.cached.tx.reset()
	t := q.text(text)
	v, err := c.learn(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.fence(ctx, raw, q.effectsOf(c.ph, raw, t, v, nil))
}

// answered ends the writing when the server has answered COMMIT, or that there was none.
// If it has not, the fence stays up, for settled to take down.
func (w *writing) answered(pg *pgconn.PgConn, err error) *lostCommit {
	if w == nil || w.over {
		return nil
	}
	if err == nil || !pg.IsClosed() {
		w.end(err)
		return nil
	}
	w.over = true
	return newLost(w.ph, w.fence, w.schema != ruledOut)
}

// settled takes the fence down that answered has left, now that it is known what has become
// of the transaction; or has it asked until its backend is gone.
func (w *writing) settled(l *lostCommit, committed bool, unknown error) {
	if l == nil {
		return
	}
	u := &w.q.unsettled
	switch {
	case unknown != nil:
		u.adopt([]*lostCommit{l})
	case committed:
		u.settle(l)
	default:
		l.ended.Store(true)
		l.fence.Lower()
		l.site.letGo()
	}
}
