package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// lease makes sure that the connection is leased: admitted by the limiter and in
// possession of a physical connection that is alive.
//
// A context that is done is reported as such, and here, because pgx would report it
// as ErrBadConn, and database/sql would close a pinned sql.Conn for it.
func (c *Conn) lease(ctx context.Context, st *sqltext.Statement, tx bool) error {
	return c.leaseAsking(ctx, st, tx, nil)
}

// leaseAsking is lease for a statement that somebody else's group may answer: then it
// returns errRode, and nothing is leased.
func (c *Conn) leaseAsking(ctx context.Context, st *sqltext.Statement, tx bool, ask *groupAsk) error {
	c.wait, c.admitted = 0, 0
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.ph != nil {
		return c.stillLeased(ctx)
	}
	if !c.unpark() {
		return driver.ErrBadConn
	}

	want := requestFrom(ctx)
	want.fingerprint, want.tx, want.ask = st.Fingerprint, tx, ask
	asked := c.core.limiter.now()
	s, err := c.core.limiter.acquire(ctx, want)
	if err == errRode { //nolint:errorlint // acquire's own
		c.wait = max(ask.rode.sent-asked, 0)
		return err
	}
	if err != nil {
		c.wait = c.core.limiter.now() - asked
		return err
	}
	c.admitted = s.acquired
	if wait := s.acquired - asked; wait > clockNoise {
		c.wait = wait
	}
	var ph *physical
	defer func() {
		if c.ph == nil { // an error, or the panic of a connect hook
			s.unused = true
			c.core.giveBack(ph, s, c.session != nil)
		}
	}()
	if ph, err = c.takePhysical(ctx, s); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // admission may have taken long
		return err
	}

	c.ph, c.slot = ph, s
	if c.core.cfg.LeakAfter > 0 {
		c.leak = c.core.watchForLeak(ctx, c.wait, s)
	}
	return nil
}

// clockNoise is what passes between two readings of the clock when nobody waits.
const clockNoise = time.Microsecond

// takePhysical finds the physical connection of a lease, on which nothing is prepared
// that nobody needs. With an error it may return one that must be given back.
func (c *Conn) takePhysical(ctx context.Context, s *slot) (*physical, error) {
	if ph := c.session; ph != nil {
		if err := ph.sweep(&c.core.texts); err != nil {
			return ph, driver.ErrBadConn
		}
		return ph, nil
	}
	for {
		ph, err := c.nextPhysical(ctx, s)
		if err != nil {
			return ph, err
		}
		if err := ph.sweep(&c.core.texts); err == nil {
			return ph, nil
		}
		c.core.pool.end(ph, endLost, nil)
	}
}

// nextPhysical is the connection that came with the slot, or one of the pool's.
func (c *Conn) nextPhysical(ctx context.Context, s *slot) (*physical, error) {
	if ph := s.warm; ph != nil {
		s.warm = nil
		if ph, err := c.core.pool.follow(ctx, ph, s.acquired); !errors.Is(err, errLost) {
			return ph, err
		}
	}
	return c.core.pool.get(ctx, c.last, s.acquired)
}

// unpark claims the session of session mode back from the pool. It reports false if
// the pool has taken it away; then nothing was sent, and Close has nothing to close.
func (c *Conn) unpark() bool {
	if c.core.cfg.Mode != ModeSession {
		return true
	}
	if c.parked && !c.core.pool.unpark(c.session) {
		c.session = nil
	}
	c.parked = false
	return c.session != nil
}

// stillLeased checks the connection before a further operation of the same checkout.
func (c *Conn) stillLeased(ctx context.Context) error {
	if err := c.ph.cancel.settle(ctx); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if c.ph.dead() || c.ph.unread {
		return driver.ErrBadConn
	}
	return nil
}
