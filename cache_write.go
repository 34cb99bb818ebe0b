package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// Whatever is sent to the server passes guard before, and end after it:
//
//	outside a transaction   what it writes is fenced off before it is sent, until it has
//	                        ended: with rows, until they are read or closed
//	in a transaction        what it writes is noted; the fence goes up before COMMIT is
//	                        sent, in whichever form
//	ended how?              success, or nobody can say that nothing happened: bump;
//	                        an error of the server's: lower, for it was rolled back;
//	                        the connection is gone: see cache_outcome.go
//
// Only what is understood is fenced by its tables. Everything else fences everything,
// makes the session unknown, and has the catalog forgotten, before and after.

// cachedTx is what a connection's open transaction has done.
type cachedTx struct {
	writes cache.Writes
	ask    bool // for what it wrote, before COMMIT
	ddl    bool
}

func (tx *cachedTx) reset() {
	tx.writes.Reset()
	tx.ask, tx.ddl = false, false
}

// writing is a statement, or COMMIT, on its way. A nil writing changes nothing that
// anybody can see yet.
type writing struct {
	q      *queryCache
	ph     *physical
	fence  *cache.Fence
	cause  invalidation
	pieces bool // may have committed something even if it fails, or may have begun a transaction
	commit bool // ends the transaction
	ddl    bool

	generation uint64 // of the catalog, when the fence went up
	over       bool   // ended
	inRows     bool   // ends with rows
}

// effects is what a statement may do.
type effects struct {
	relations  []catalog.Relation
	everything bool
	ask        bool // everything, but in a transaction the locks say what
	session    bool // changes settings
	ddl        bool // may change the catalog
	schema     bool // is likely to
	pieces     bool // is not one transaction
	opaque     bool // several statements, or an unknown one: may begin and end transactions
}

// knownRewriter is a pgx.QueryRewriter that does what the text of its statement says.
type knownRewriter interface{ doesWhatItsTextSays() }

// guard learns what is about to be sent on the leased connection, and fences it off. A
// fill for which the connection turns out not to fit is abandoned. With an error nothing
// was sent.
func (c *Conn) guard(ctx context.Context, st *sqltext.Statement, query string, args []driver.NamedValue, f *fill) (*writing, error) {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		f.abandon()
		return nil, err
	}
	if c.ph.pg.TxStatus() == 'I' {
		c.ph.cached.tx.reset()
	}
	t := q.text(query)
	var v *ruling
	if e := t.candidate.Effect; e == catalog.Reads || e == catalog.Targets {
		if v, err = c.learn(ctx, t); err != nil {
			f.abandon()
			return nil, err
		}
	}
	if f.flying() {
		if v == f.ruling {
			return nil, nil //nolint:nilnil // it only reads
		}
		f.abandon()
		q.counts.bypass(bypassSession) // it was another one's
	}
	return c.fence(ctx, st, q.effectsOf(st, t, v, args)), nil
}

// effectsOf says what a statement may do; v is nil if the server was not asked.
func (q *queryCache) effectsOf(st *sqltext.Statement, t *cachedText, v *ruling, args []driver.NamedValue) effects {
	all := effects{everything: true, session: true, ddl: true, schema: true, pieces: true, opaque: true}
	for i := range args {
		if _, known := args[i].Value.(knownRewriter); known {
			continue
		}
		if _, rewrites := args[i].Value.(pgx.QueryRewriter); rewrites {
			return all // the text is not what is sent
		}
	}
	switch t.candidate.Effect {
	case catalog.Nothing:
		return effects{session: t.candidate.Session, ddl: t.candidate.DDL}
	case catalog.Anything:
		all.opaque = mayEndTransaction(st)
		return all
	case catalog.Reads, catalog.Targets:
	}
	if v != nil {
		a := &v.analysis
		return effects{
			relations: a.Writes, everything: a.Everything, ask: a.Everything && a.Held,
			session: t.candidate.Session || a.Everything, ddl: t.candidate.DDL || a.Everything,
			pieces: a.Everything && q.oddLanguage(),
		}
	}
	if t.candidate.Effect == catalog.Reads && t.gate != catalog.Modifies && !q.readsWrite() {
		return effects{session: t.candidate.Session}
	}
	odd := q.oddLanguage()
	return effects{everything: true, ask: !odd, pieces: odd, session: true, ddl: true}
}

// mayEndTransaction reports whether a statement that may do anything may also begin or
// end a transaction: CALL and DO cannot end one that was begun outside of them.
func mayEndTransaction(st *sqltext.Statement) bool {
	if st.Flags.Has(sqltext.Malformed) {
		return true
	}
	switch st.Kind {
	case sqltext.DDL, sqltext.Do, sqltext.Call, sqltext.Execute, sqltext.Explain, sqltext.Refresh, sqltext.Maintenance,
		sqltext.Cursor, sqltext.Truncate, sqltext.Copy, sqltext.Select, sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
		return false
	default:
		return true
	}
}

// fence notes what a statement does, and puts up the fences that it needs.
func (c *Conn) fence(ctx context.Context, st *sqltext.Statement, does effects) *writing {
	q, ph := c.core.keeper(), c.ph
	tx := &ph.cached.tx
	idle := ph.pg.TxStatus() == 'I'
	if does.session {
		ph.cached.forgetSession()
	}
	switch {
	case idle || does.opaque:
		if len(does.relations) == 0 && !does.everything && !does.ddl {
			return nil // nothing is changed
		}
		w := &writing{q: q, ph: ph, pieces: does.pieces, ddl: does.ddl, cause: causeWrite}
		var writes cache.Writes
		writes.Add(does.relations...)
		switch {
		case does.schema:
			writes.AddEverything()
			w.cause = causeDDL
		case does.everything:
			writes.AddEverything()
			w.cause = causeEverything
		}
		w.raise(&writes)
		return w
	case st.Kind == sqltext.Commit:
		return c.guardCommit(ctx)
	}
	tx.writes.Add(does.relations...)
	switch {
	case does.ask:
		tx.ask = true
	case does.everything:
		tx.writes.AddEverything()
	}
	tx.ddl = tx.ddl || does.ddl && !does.ask
	return nil // until COMMIT
}

// forgetSession says that the session's settings may have changed.
func (cc *cachedConn) forgetSession() {
	cc.session.Store(nil)
	cc.touched = true
}

// raise forgets what is about to change, and fences it off.
func (w *writing) raise(writes *cache.Writes) {
	if w.cause == causeDDL {
		w.q.forgetCatalog(w.ph)
	}
	w.generation = w.ph.cached.generation()
	w.fence = w.ph.raise(writes)
}

// guardCommit puts up the fence of the open transaction. For what is not known yet it asks
// the server, one round trip before COMMIT is sent.
func (c *Conn) guardCommit(ctx context.Context) *writing {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		return nil // in an era that it was not begun in; or the connection is lost, and COMMIT will say so
	}
	ph := c.ph
	tx := &ph.cached.tx
	if tx.ask && !tx.writes.Everything() && ph.pg.TxStatus() == 'T' {
		relations, everything, err := q.catalog.Held(ctx, ph.pg)
		tx.writes.Add(relations...)
		if err != nil || everything {
			tx.writes.AddEverything()
			tx.ddl = true
		}
	}
	if tx.writes.None() && !tx.ddl {
		return nil
	}
	w := &writing{q: q, ph: ph, commit: true, ddl: tx.ddl, cause: causeWrite}
	switch {
	case tx.ddl:
		w.cause = causeDDL
	case tx.writes.Everything():
		w.cause = causeEverything
	}
	w.raise(&tx.writes)
	return w
}

// end takes the fence down when the statement, or its result, has ended with err, and not
// before.
func (w *writing) end(err error) {
	if w == nil || w.over {
		return
	}
	w.over = true
	ph := w.ph
	if ph.dead() || ph.pg.IsBusy() {
		// Also with driver.ErrBadConn: pgx calls some errors safe to retry that come when
		// the statement was sent.
		w.q.unsettled.add(ph, w.fence, w.ddl)
		return
	}
	idle := ph.pg.TxStatus() == 'I'
	if w.pieces && !idle { // it has begun a transaction, or is in one
		ph.cached.tx.writes.AddEverything()
		ph.cached.tx.ddl = true
	}
	if idle || w.commit && err == nil {
		ph.cached.tx.reset()
	}
	if w.rolledBack(err) {
		w.fence.Lower()
		return
	}
	// What it has written was found out in another generation: a trigger may be new.
	surprised := w.generation != ph.cached.generation()
	if w.ddl {
		w.q.forgetCatalog(ph)
	}
	w.q.counts.invalidated[w.cause].Add(1)
	if surprised {
		ph.cached.site.flush()
	}
	w.fence.Bump()
}

// withRows leaves the end to the rows.
func (w *writing) withRows() *writing {
	if w != nil {
		w.inRows = true
	}
	return w
}

// giveUp is for a panic on the way, of an argument's method: nobody knows what was sent.
func (w *writing) giveUp() {
	if w.over || w.inRows {
		return
	}
	w.over = true
	w.q.unsettled.add(w.ph, w.fence, w.ddl)
}

// rolledBack reports whether it is certain that nothing was committed: the server said so
// of a statement that is all or nothing.
func (w *writing) rolledBack(err error) bool {
	if err == nil || w.pieces {
		return false
	}
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr)
}

// guardRaw is for the connection in the application's own hands, until the lease ends: it
// may do anything.
func (c *Conn) guardRaw(ctx context.Context) error {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		return err
	}
	cc := &c.ph.cached
	cc.forgetSession()
	if !cc.inRaw {
		q.forgetCatalog(c.ph)
		cc.raw, cc.inRaw = c.ph.raiseEverything(), true
	}
	return nil
}

// endRaw ends guardRaw with the lease.
func (c *Conn) endRaw() {
	cc := &c.ph.cached
	if !cc.inRaw {
		return
	}
	q, fence := c.core.keeper(), cc.raw
	cc.raw, cc.inRaw = nil, false
	if c.ph.dead() || c.ph.pg.IsBusy() {
		q.unsettled.add(c.ph, fence, true)
		return
	}
	cc.forgetSession()                                 // it may have been read within the lease
	if c.session != nil && c.ph.pg.TxStatus() != 'I' { // the session goes on, and so does its transaction
		cc.tx.writes.AddEverything()
		cc.tx.ddl = true
	}
	q.forgetCatalog(c.ph)
	q.counts.invalidated[causeRaw].Add(1)
	fence.Bump()
}
