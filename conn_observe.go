package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// rest notes that the server has nothing to do for the lease, and returns when.
func (c *Conn) rest() time.Duration {
	if c.ph.pg.TxStatus() == 'I' {
		return c.slot.setState(SlotIdleInConn)
	}
	return c.slot.setState(SlotIdleInTx)
}

// sending begins an operation on the leased connection: what will be observed of it,
// and its span, which is in the context that is returned.
func (c *Conn) sending(ctx context.Context, st *sqltext.Statement, do verb) (context.Context, event) {
	e := event{st: st, verb: do, slot: c.slot.index, wait: c.wait, cache: c.asked}
	if c.core.groups != nil {
		c.core.groups.noted(c.ph, st)
	}
	if c.core.tracing != nil && do != verbPing {
		ctx, e.span = c.core.tracing.start(ctx, e, c.ph)
	}
	e.sent = c.slot.begin(SlotExecuting, st.Summary, st.Fingerprint)
	if c.admitted > 0 {
		e.open = e.sent - c.admitted
	}
	c.wait, c.admitted, c.asked = 0, 0, cacheAnswer{}
	return ctx, e
}

// executed ends an operation that was sent to the server: the slot rests, the event is
// observed, and the error is as the application should see it.
func (c *Conn) executed(ctx context.Context, e *event, err error) error {
	e.took = c.rest() - e.sent
	e.first = e.took
	if c.core.groups != nil {
		c.core.groups.noted(c.ph, e.st)
	}
	if err != nil {
		err = c.failed(ctx, err)
		e.lost = c.ph.dead() && !c.ph.cancelled
	}
	e.err = err
	c.adapt(e)
	c.core.observe(ctx, e)
	return err
}

// rowsClosed is executed for a query whose first error is in its event.
func (c *Conn) rowsClosed(ctx context.Context, e *event) {
	e.took = e.first
	if c.ph != nil {
		e.took = c.rest() - e.sent
		e.lost = e.err != nil && c.ph.dead() && !c.ph.cancelled
	}
	c.core.observe(ctx, e)
}

// turnedAway ends an operation that got no lease.
func (c *Conn) turnedAway(ctx context.Context, st *sqltext.Statement, do verb, err error) error {
	c.core.turnedAway(ctx, &event{st: st, verb: do, wait: c.wait, err: err})
	c.asked = cacheAnswer{}
	return err
}

// failed turns the error of an operation into what the application should see. All
// but two kinds stay as they are, unwrapped: GORM type-asserts *pgconn.PgError.
func (c *Conn) failed(ctx context.Context, err error) error {
	ctxErr := ctx.Err()
	if ctxErr == nil {
		return err
	}
	c.ph.cancelled = c.ph.dead()
	c.slot.expired = errors.Is(ctxErr, context.DeadlineExceeded)
	switch {
	case errors.Is(err, driver.ErrBadConn):
		return ctxErr // it ended just before the statement was sent
	case c.ph.cancel != nil && isCancelled(err):
		return &cancelledError{ctxErr: ctxErr, pgErr: err}
	}
	return err
}
