package lifeguard

import (
	"context"
	"errors"
	"time"

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

// writing is a statement, or COMMIT, on its way. A nil writing changes nothing that
// anybody can see yet.
type writing struct {
	q      *queryCache
	ph     *physical
	fence  *fence
	cause  invalidation
	schema doubt // may have changed the catalog
	ends   ending
	pieces bool // may have committed something even if it fails
	opaque bool // may have begun a transaction
	async  bool // a crash may undo it
	reload bool

	generation uint64 // of the catalog, before the fence went up
	over       bool   // ended
	inRows     bool   // ends with rows
}

// ending is what a writing does to the open transaction, if there is no error.
type ending uint8

const (
	goesOn     ending = iota
	commitsAll        // though another may be open at once: COMMIT AND CHAIN
	undoesAll
)

// guard learns what is about to be sent on the leased connection, and fences it off. A
// fill for which the connection turns out not to fit is given up. With an error nothing
// was sent.
func (c *Conn) guard(ctx context.Context, x *call, f *fill) (*writing, error) {
	q, err := c.watch(ctx)
	if q == nil || err != nil {
		return nil, err
	}
	idle := c.ph.pg.TxStatus() == 'I'
	switch {
	case idle && x.st.Kind == sqltext.Begin:
		if err := c.catchUp(ctx); err != nil {
			return nil, err
		}
	case idle:
		c.ph.cached.tx.reset()
	}
	t := q.text(x.query)
	var v *ruling
	if t.candidate.Effect != catalog.Nothing && t.candidate.Effect != catalog.Anything {
		if v, err = c.learn(ctx, t); err != nil {
			return nil, err
		}
	}
	if c.confirm(f, v) {
		return nil, nil //nolint:nilnil // it only reads
	}
	does := q.effectsOf(c.ph, x.st, t, v, x.args)
	does.narrow(c.ph, v, x.args)
	return c.fence(ctx, x.st, does)
}

// fence notes what a statement does, and puts up the fences that it needs. With an error
// nothing must be sent.
func (c *Conn) fence(ctx context.Context, st *sqltext.Statement, does effects) (*writing, error) {
	q, ph := c.core.keeper(), c.ph
	idle := ph.pg.TxStatus() == 'I'
	if does.settings.Change() {
		ph.cached.settingsChange(idle, &does)
	}
	var writes cache.Writes
	switch {
	case idle || does.opaque:
		does.addTo(&writes)
	case st.Kind == sqltext.Commit:
		return c.guardCommit(ctx)
	case st.Kind == sqltext.Rollback:
		return c.guardRollback(), nil
	default:
		ph.cached.tx.note(&does)
		if does.commits != besides && !does.reload {
			return nil, nil //nolint:nilnil // until COMMIT
		}
	}
	if does.others != noOthers || does.reload || does.schema == likely {
		writes.AddEverything()
	}
	if writes.None() && does.schema == ruledOut {
		return nil, nil //nolint:nilnil // nothing is changed
	}
	w := &writing{
		q: q, ph: ph, schema: does.schema, pieces: does.commits != allOrNothing, opaque: does.opaque, reload: does.reload,
		async: does.async || ph.cached.async, generation: does.generation,
	}
	if does.commits == besides {
		w.schema = max(w.schema, perhaps)
	}
	return w, w.raise(ctx, &writes)
}

// raise forgets what is about to change, and fences it off. After an error the writing is
// over.
func (w *writing) raise(ctx context.Context, writes *cache.Writes) (err error) {
	switch {
	case w.schema == likely:
		w.cause = causeDDL
		w.q.forgetCatalog(w.ph)
		w.generation = w.ph.cached.generation()
	case writes.Everything():
		w.cause = causeEverything
	default:
		w.cause = causeWrite
	}
	w.fence, err = w.q.raise(ctx, w.ph, &whatIsWritten{rows: writes, schema: w.schema != ruledOut, generation: w.generation})
	w.over = err != nil
	return err
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
		w.q.unsettled.add(ph, w.fence, w.schema != ruledOut)
		return
	}
	if w.ends == undoesAll && err == nil {
		ph.cached.rolledBack()
	}
	idle := ph.pg.TxStatus() == 'I'
	if w.opaque && !idle { // it has begun a transaction, or is in one
		ph.cached.tx.noteEverything()
	}
	if idle || w.ends == commitsAll && err == nil {
		ph.cached.tx.reset()
	}
	if w.fence == nil && w.schema == ruledOut {
		return
	}
	if w.rolledBack(err) {
		w.fence.Lower()
		return
	}
	w.bump()
}

// bump ends the fence of what was committed, or may have been.
func (w *writing) bump() {
	// What it has written was found out in another generation: a trigger may be new.
	surprised := w.generation != w.ph.cached.generation()
	if w.schema != ruledOut {
		w.q.forgetCatalog(w.ph)
		w.ph.cached.site.doubtOthers()
	}
	w.q.counts.invalidated[w.cause].Add(1)
	if surprised {
		w.ph.cached.site.flush()
		w.fence.widen()
	}
	switch {
	case w.reload:
		w.q.unsettled.later(w.ph, w.fence, waitsForReload)
	case w.async:
		w.q.unsettled.later(w.ph, w.fence, waitsForLog)
	default:
		w.fence.Bump()
	}
}

// withRows leaves the end to the rows.
func (w *writing) withRows() *writing {
	if w != nil {
		w.inRows = true
	}
	return w
}

// giveUp is for a panic on the way, of an argument's method or a hook. Where nothing is
// under way any more it is over, though nobody knows what has happened.
func (w *writing) giveUp() {
	if w == nil || w.over || w.inRows {
		return
	}
	w.pieces = true
	w.end(errPanicked)
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
		if cc.raw, err = q.raise(ctx, c.ph, everything()); err != nil {
			return err
		}
		cc.inRaw = true
		if cc.site != nil {
			cc.site.raws.Add(1)
		}
		if q.mode == CacheLocal {
			cc.rawLong = time.AfterFunc(rawIsLong, q.tellOfRaw)
		}
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
	if cc.site != nil {
		cc.site.raws.Add(-1)
	}
	if cc.rawLong != nil {
		cc.rawLong.Stop()
		cc.rawLong = nil
	}
	if c.ph.dead() || c.ph.pg.IsBusy() {
		if l := newLost(c.ph, fence, true); l != nil {
			l.hands = c.ph.pg.CleanupDone()
			q.unsettled.adopt([]*lostCommit{l})
		}
		return
	}
	cc.forgetSession()                                 // it may have been read within the lease
	if c.session != nil && c.ph.pg.TxStatus() != 'I' { // the session goes on, and so does its transaction
		cc.tx.noteEverything()
		cc.tx.loseSettings()
	}
	q.forgetCatalog(c.ph)
	cc.site.doubtOthers()
	q.counts.invalidated[causeRaw].Add(1)
	fence.Bump()
}

// rawIsLong is how long sql.Conn.Raw may keep the cache off without a word.
const rawIsLong = 10 * time.Second

// tellOfRaw says, once, why nothing is answered from memory.
func (q *queryCache) tellOfRaw() {
	q.rawTold.Do(func() {
		q.core.cfg.Logger.Warn("lifeguard: a sql.Conn whose Raw was called has been held for long, and nothing is answered from memory "+
			"until it is closed, as it may write anything; connect with pgx itself to LISTEN, or close the sql.Conn in between",
			"pool", q.core.cfg.Name, "held_ms", rawIsLong.Milliseconds())
	})
}

// whyFenced says what kind of fence is in the way.
func (q *queryCache) whyFenced() string {
	if p := q.site.Load(); p != nil && p.raws.Load() > 0 {
		return bypassRaw
	}
	return bypassFenced
}
