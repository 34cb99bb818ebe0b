package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"
)

// physical is one connection to PostgreSQL. It has one owner at a time: the pool while
// it is idle, the holder of its lease otherwise. Only the owner may touch it, except
// for the fields that the pool's mutex guards.
type physical struct {
	conn   *stdlib.Conn
	pg     *pgconn.PgConn
	probe  *socketProbe // nil where the socket cannot be looked at
	cancel *cancelWatch // nil unless lifeguard_cancel=keep

	opened  time.Duration // on the pool's clock
	expires time.Duration

	cached cachedConn // what the query cache knows of it
	plans  groupPlans

	cancelled bool // a context ended during a statement: why the connection is dead
	unread    bool // a group was written, or is about to be, of which not all has been read

	// prepared holds the statements of closed and open Stmts alike; swept remembers
	// the generation of closed texts up to which it was cleared.
	prepared map[string]driver.Stmt
	swept    uint64

	// guarded by pool.mu
	prev, next *physical
	place      place
	idleSince  time.Duration // on the pool's clock
	errand     chan struct{} // closed when it comes back; see sendLocked
	awaited    int           // how many wait for that: nobody else may take it
}

// place says which of the pool's lists a physical connection is in.
type place uint8

const (
	placeNone   place = iota // leased, or being opened or closed
	placeIdle                // ready for a lease
	placeParked              // idle, but kept for the virtual connection that owns it (session mode)
)

// never is when a connection without a lifetime expires.
const never = time.Duration(math.MaxInt64)

// errLost reports a physical connection that died while it was idle.
var errLost = errors.New("lifeguard: idle connection was lost")

// freshFor is how long a connection counts as seen alive after its last use.
const freshFor = 50 * time.Microsecond

// dead reports whether the connection can serve nobody any more.
func (ph *physical) dead() bool { return ph.pg.IsClosed() }

// clean reports whether the next lease may have the connection as it is: open, not
// inside a transaction that somebody began by hand, no result being read or still to come.
func (ph *physical) clean() bool {
	return !ph.unread && !ph.pg.IsClosed() && ph.pg.TxStatus() == 'I' && !ph.pg.IsBusy()
}

// renew does what database/sql does between two checkouts of one connection, and
// looks at the socket first: a connection that the server has ended meanwhile is
// found here and not by a statement. It returns errLost for a connection that must
// be replaced, and the context's error if that ended first.
//
// Within freshFor of its last use the look is saved: nothing can be gained on the
// time that passes between the look and the statement anyway.
func (ph *physical) renew(ctx context.Context, now, pingTimeout time.Duration) error {
	seen := socketQuiet
	if now-ph.idleSince > freshFor {
		seen = ph.probe.look(ph.pg)
	}
	switch seen {
	case socketQuiet:
	case socketEnded:
		return errLost
	case socketReadable:
		// A notification, a changed parameter, or the server's farewell: only reading
		// it tells.
		if err := ph.pg.Ping(ctx); err != nil {
			return ph.lostUnlessDone(ctx)
		}
	}
	if pingTimeout > 0 {
		var stop context.CancelFunc
		outer := ctx
		ctx, stop = context.WithTimeout(ctx, pingTimeout)
		defer stop()
		err := ph.conn.ResetSession(ctx)
		if errors.Is(err, driver.ErrBadConn) {
			return ph.lostUnlessDone(outer)
		}
		return nil
	}
	// database/sql acts on ErrBadConn only and ignores every other error.
	if err := ph.conn.ResetSession(ctx); errors.Is(err, driver.ErrBadConn) {
		return ph.lostUnlessDone(ctx)
	}
	return nil
}

func (ph *physical) lostUnlessDone(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		ph.cancelled = ph.dead()
		return err
	}
	return errLost
}

// prepare makes sure that query is a prepared statement on this connection, and
// returns it. The statement belongs to the connection; closing it is sweep's task.
func (ph *physical) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	if st, ok := ph.prepared[query]; ok {
		return st, nil
	}
	st, err := ph.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if ph.prepared == nil {
		ph.prepared = make(map[string]driver.Stmt)
	}
	ph.prepared[query] = st
	return st, nil
}

// forget deallocates query's statement, so that the next prepare makes a new one.
func (ph *physical) forget(query string) error {
	st, ok := ph.prepared[query]
	if !ok {
		return nil
	}
	delete(ph.prepared, query)
	return st.Close()
}

// forgetAll deallocates every statement.
func (ph *physical) forgetAll() {
	for query := range ph.prepared {
		if ph.dead() {
			return
		}
		_ = ph.forget(query)
	}
}

// sweep deallocates statements whose last Stmt was closed while another connection,
// or none, was leased. An error means that the connection broke on the way.
func (ph *physical) sweep(texts *openTexts) error {
	generation := texts.closed.Load()
	if ph.swept == generation {
		return nil
	}
	ph.swept = generation
	for query := range ph.prepared {
		if texts.isOpen(query) {
			continue
		}
		if err := ph.forget(query); err != nil && ph.dead() {
			return errLost
		}
	}
	return nil
}

// close ends the connection and returns when nothing of it is left on the server,
// as far as that can be known, or ctx has ended: after a cancelled statement pgx cancels
// and drains in the background, for 15 s at most.
func (ph *physical) close(ctx context.Context) {
	if ph.pg.IsClosed() {
		ph.awaitCleanup()
	} else {
		ph.hangUp(ctx)
	}
	_ = ph.conn.Close() // stdlib gives this five seconds
}

// release gives the connection back to the inner pgxpool, without anything prepared.
func (ph *physical) release() {
	ph.forgetAll()
	if ph.pg.IsClosed() {
		ph.awaitCleanup()
	}
	_ = ph.conn.Close()
}

// cleanupLimit is longer than pgx takes to clean up. One that the application has hijacked
// is never cleaned up.
const cleanupLimit = 16 * time.Second

func (ph *physical) awaitCleanup() {
	timer := time.NewTimer(cleanupLimit)
	defer timer.Stop()
	select {
	case <-ph.pg.CleanupDone():
	case <-timer.C:
	}
}

// hangUpLimit bounds how long a session may take to end on the server.
const hangUpLimit = 5 * time.Second

// hangUp tells the server that the session is over and waits until it has ended there,
// or ctx has: pgx closes the socket at once, and the server may still have to roll back
// or to drop temporary tables, on a connection that counts. The server closes its side
// when it is done. The connection cannot be used any more.
func (ph *physical) hangUp(ctx context.Context) {
	conn := ph.pg.Conn()
	if ctx.Err() != nil || conn.SetDeadline(time.Now().Add(hangUpLimit)) != nil {
		return // without a deadline, as on a tunnel's connection, one could wait for ever
	}
	ph.pg.Frontend().Send(&pgproto3.Terminate{})
	if ph.pg.Frontend().Flush() != nil {
		return
	}
	unlink := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer unlink()
	_, _ = io.Copy(io.Discard, conn) // until the server hangs up
}

// pgxConn returns the connection as pgx knows it.
func (ph *physical) pgxConn() *pgx.Conn { return ph.conn.Conn() }
