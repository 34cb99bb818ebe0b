package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// dialLimit bounds opening a connection when neither the DSN nor the caller does;
// stdlib's own Open has the same cap.
const dialLimit = 60 * time.Second

// dial opens a connection in the place that take has reserved. It goes on when the
// caller leaves: the connection then waits for the next one. Ending it with the
// caller's context would let short deadlines prevent every connection for ever.
func (p *pool) dial(ctx context.Context) (*physical, error) {
	type outcome struct {
		ph  *physical
		err error
		bad any // what a hook panicked with
	}
	done := make(chan outcome, 1)
	var claimed atomic.Bool

	started := p.background(func() {
		o := outcome{err: errHookExited}
		defer func() {
			if claimed.CompareAndSwap(false, true) {
				done <- o
				return
			}
			if o.ph != nil {
				p.put(o.ph)
			}
		}()
		o.ph, o.bad, o.err = p.openCatching(context.WithoutCancel(ctx))
	})
	if !started {
		p.leave(&p.opening)
		return nil, ErrClosed
	}

	select {
	case o := <-done:
		if o.bad != nil {
			panic(o.bad) // in the caller's goroutine, as with plain stdlib
		}
		return o.ph, o.err
	case <-ctx.Done():
		if claimed.CompareAndSwap(false, true) {
			return nil, ctx.Err()
		}
		if o := <-done; o.ph != nil {
			p.put(o.ph)
		}
		return nil, ctx.Err()
	}
}

// openCatching is open for a goroutine of the pool's own, where the panic of a hook
// would end the process.
func (p *pool) openCatching(ctx context.Context) (ph *physical, bad any, err error) {
	returned := false
	defer func() {
		if !returned {
			bad = recover() // nil if the hook called runtime.Goexit
			p.leave(&p.opening)
		}
	}()
	ph, err = p.open(ctx)
	returned = true
	return ph, nil, err
}

// errHookExited is for a connect hook that ends its goroutine, as testing's Fatal does.
var errHookExited = errors.New("lifeguard: a connect hook ended its goroutine")

// open connects in a place that is reserved, and gives the place up if that fails.
func (p *pool) open(ctx context.Context) (*physical, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	unlink := context.AfterFunc(p.ctx, cancel) //nolint:contextcheck // Close ends what is being opened
	defer unlink()

	conn, err := p.connect(ctx)
	if err != nil {
		p.leave(&p.opening)
		if p.ctx.Err() != nil {
			return nil, ErrClosed
		}
		p.reportNoRoom(err)
		return nil, err
	}
	inner, ok := conn.(*stdlib.Conn)
	if !ok {
		_ = conn.Close()
		p.leave(&p.opening)
		return nil, fmt.Errorf("lifeguard: the inner connector must be pgx/stdlib's; it made a %T", conn)
	}
	pg := inner.Conn().PgConn()
	ph := &physical{conn: inner, pg: pg, probe: newSocketProbe(pg.Conn()), opened: p.now(), expires: never}
	ph.cancel, _ = pg.CustomData()[cancelWatchKey].(*cancelWatch)
	if p.cfg.MaxConnLifetime > 0 {
		lifetime := p.cfg.MaxConnLifetime
		if p.cfg.MaxConnLifetimeJitter > 0 {
			lifetime += rand.N(p.cfg.MaxConnLifetimeJitter)
		}
		ph.expires = p.now() + lifetime
	}
	p.opened.Add(1)
	p.groups.Load().meet(ctx, ph)

	p.mu.Lock()
	p.opening--
	p.startCheckerLocked()
	p.mu.Unlock()
	return ph, nil
}

// leave gives up a place; of is what it was counted as, opening or closing.
func (p *pool) leave(of *int) {
	p.mu.Lock()
	p.total--
	*of--
	if !p.handLocked(nil) {
		p.wakeLocked()
	}
	p.mu.Unlock()
}
