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
	if q.knownOpaque(t) {
		return c.fence(ctx, raw, effects{everything: true, session: true, pieces: q.oddLanguage()}), nil
	}
	v, err := c.learn(ctx, t)
	if err != nil {
		return nil, err
	}
	does := effects{everything: true, session: true, ddl: true, pieces: true}
	if v != nil {
		does = q.effectsOf(nil, t, v, nil)
		does.ddl = v.analysis.DDL
	}
	return c.fence(ctx, raw, does), nil
}

// knownOpaque reports whether the text was found to write everything, though not the
// catalog, in some session. Then this one need not be read, as such a text leaves it
// unknown each time.
func (q *queryCache) knownOpaque(t *cachedText) bool {
	list := t.rulings.Load()
	if list == nil {
		return false
	}
	for _, v := range *list {
		if v.session.generation == q.catalog.Generation() && v.analysis.Everything && !v.analysis.DDL {
			return true
		}
	}
	return false
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
	return newLost(w.ph, w.fence, w.ddl)
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
