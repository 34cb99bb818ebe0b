package lifeguard

import (
	"context"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// cachedTx is what a connection's open transaction has done.
type cachedTx struct {
	writes cache.Writes
	ask    bool  // for what it wrote, before COMMIT
	schema doubt // whether it has changed the catalog; perhaps: ask
	pieces bool  // something may be committed even if COMMIT fails
	async  bool  // COMMIT may not wait for its log

	// generation is of the catalog, when the first of this was found out; 0 before.
	// COMMIT in another one asks what was done: a trigger may be new.
	generation uint64
	reach      *catalog.Reach // what functions could do at BEGIN; nil if that was not known

	// renamed says that names may mean something else than at BEGIN, until the end.
	renamed bool
	// lasting says that settings have changed that COMMIT keeps. ROLLBACK brings back
	// before, unless the transaction is not the one that began it.
	lasting bool
	before  *cacheSession
	touched bool // the connection was, at BEGIN
}

func (tx *cachedTx) reset() {
	tx.writes.Reset()
	*tx = cachedTx{writes: tx.writes}
}

// note adds what a statement does.
func (tx *cachedTx) note(does *effects) {
	if tx.generation == 0 && (len(does.relations) > 0 || does.oneRow || does.others != noOthers) {
		tx.generation = does.generation
	}
	if tx.generation != 0 && tx.generation != does.generation {
		tx.ask = true
	}
	does.addTo(&tx.writes)
	switch does.others {
	case noOthers:
	case lockedOthers:
		tx.ask = true
	case anyOthers:
		tx.writes.AddEverything()
	}
	tx.schema = max(tx.schema, does.schema)
	tx.pieces = tx.pieces || does.commits == besides
	tx.async = tx.async || does.async
}

// noteEverything is for what nobody has seen.
func (tx *cachedTx) noteEverything() {
	tx.writes.AddEverything()
	tx.schema, tx.pieces, tx.async = likely, true, true
}

// settingsChange notes what a statement may change of the session, before it is sent:
//
//	              outside          in a transaction
//	SET LOCAL     nothing          to its end: whoever comes later meets the session as
//	                               it was at BEGIN
//	SET           unknown          unknown, but as it was at BEGIN after ROLLBACK
//	opaque        unknown          unknown, whatever ends it
func (cc *cachedConn) settingsChange(idle bool, does *effects) {
	switch tx := &cc.tx; {
	case does.opaque:
		cc.forgetSession()
		tx.loseSettings()
	case idle && !does.settings.Last():
	case idle:
		cc.forgetSession()
	default:
		tx.renamed = tx.renamed || does.settings.Rename()
		if does.settings.Last() && !tx.lasting {
			tx.lasting, tx.before, tx.touched = true, cc.session.Load(), cc.touched
			cc.forgetSession()
		}
	}
}

// loseSettings says that settings may be any, whatever ends the transaction: it may not be
// the one that began.
func (tx *cachedTx) loseSettings() { tx.renamed, tx.lasting, tx.before = true, true, nil }

// forgetSession says that the session's settings may have changed.
func (cc *cachedConn) forgetSession() {
	cc.session.Store(nil)
	cc.touched = true
}

// rolledBack ends the transaction: its settings are as they were at BEGIN.
func (cc *cachedConn) rolledBack() {
	if tx := &cc.tx; tx.lasting && tx.before != nil {
		cc.session.Store(tx.before)
		cc.touched = tx.touched
	}
	cc.tx.reset()
}

// sessionWithin is sessionOf for a statement of the open transaction: what names mean in
// it, though settings may differ.
func (q *queryCache) sessionWithin(ph *physical) *cacheSession {
	tx := &ph.cached.tx
	s := ph.cached.session.Load()
	if tx.lasting {
		s = tx.before
	}
	if s == nil || tx.renamed || s.generation != q.catalog.Generation() {
		return nil
	}
	return s
}

// guardCommit puts up the fence of the open transaction. For what is not known yet it asks
// the server, one round trip before COMMIT is sent. With an error COMMIT must not be sent.
func (c *Conn) guardCommit(ctx context.Context) (*writing, error) {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		return nil, nil //nolint:nilerr,nilnil // in an era that it was not begun in; or the connection is lost, and COMMIT will say so
	}
	ph := c.ph
	w := &writing{q: q, ph: ph, ends: commitsAll}
	if ph.pg.TxStatus() != 'T' { // it has failed, so that COMMIT is ROLLBACK
		w.ends = undoesAll
		return w, nil
	}
	tx := &ph.cached.tx
	w.generation = ph.cached.generation()
	if tx.generation != 0 && tx.generation != w.generation {
		tx.ask, tx.schema = true, max(tx.schema, perhaps)
	}
	if tx.ask && !tx.writes.Everything() || tx.schema == perhaps {
		held, err := q.catalog.Held(ctx, ph.pg, tx.schema == perhaps)
		tx.writes.Add(held.Relations...)
		if err != nil || held.Everything {
			tx.writes.AddEverything()
		}
		if tx.schema == perhaps {
			tx.schema = ruledOut
			if held.Catalog {
				tx.schema = likely
				tx.writes.AddEverything()
			}
		}
	}
	if tx.writes.None() && tx.schema == ruledOut {
		return nil, nil //nolint:nilnil // nothing is changed
	}
	w.schema, w.pieces = tx.schema, tx.pieces
	w.async = tx.async || ph.cached.async
	return w, w.raise(ctx, &tx.writes)
}

// guardRollback is guard for ROLLBACK, in whichever form.
func (c *Conn) guardRollback() *writing {
	q := c.core.keeper()
	if q == nil {
		return nil
	}
	return &writing{q: q, ph: c.ph, ends: undoesAll}
}
