package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// fetch is the flight of a fill. It belongs to all who wait for it: it runs on a Conn of
// its own, which has taken over the leader's lease, and under a context that ends when
// nobody waits any more.
//
//	          rows within the limits            ┌─► stored, shared, lease given back
//	leader ──► reading ─────────────────────────┤
//	leases       │ too many, alien types,       └─ leader gone: the same
//	             │ or an error between two rows
//	             └─► live: the leader takes the lease back and reads on; without him closed
//
// In session mode the connection is the leader's for good, so he reads by himself. So does
// one whose context never ends: he would wait for nothing else.
type fetch struct {
	*fill
	call
	q      *queryCache
	conn   *Conn
	ctx    context.Context
	cancel context.CancelFunc
	bound  func() bool // unbinds ctx from the flight's
	event  event

	alone  bool        // what it brings is neither kept nor shared; written before it lands
	handed atomic.Bool // the leader has left, or has been given the live rows
	done   chan fetched
}

// fetched is what a flight brings: one of its fields is set.
type fetched struct {
	set  *rowset.Set
	live *liveRows
	err  error
	bad  any // what an argument's method panicked with
}

// fetch sends the query of a fill on the leased connection, and waits for it.
func (c *Conn) fetch(ctx context.Context, e event, f *fill, x call) (driver.Rows, error) {
	c.core.cache.filling(f.ruling.text)
	x.args = cloneArguments(x.args) // who leaves early may change what they point to
	r := &fetch{fill: f, call: x, q: c.core.cache, conn: c.detach(), event: e, done: make(chan fetched, 1)}
	f.over = true
	f.flight.TakeOff()

	switch {
	case c.core.cfg.Mode == ModeSession:
		r.ctx, r.cancel = context.WithCancel(ctx)
		r.bound = func() bool { return true }
		r.fly()
		return c.arrive(ctx, r, <-r.done)
	case ctx.Done() == nil: // the leader stays until it has landed
		r.ctx, r.cancel = ctx, func() {}
		r.bound = func() bool { return true }
		r.fly()
		return c.arrive(ctx, r, <-r.done)
	}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.bound = context.AfterFunc(f.flight.Context(), r.cancel) //nolint:contextcheck // of all who wait
	// Not among the goroutines that Close waits for: to the application this is a query in
	// its own goroutine, which goes on over a Close as long as somebody waits for it. When
	// nobody does any more, see Flights.Abandoned.
	go r.fly()
	select {
	case out := <-r.done:
		return c.arrive(ctx, r, out)
	case <-ctx.Done():
	}
	if r.handed.CompareAndSwap(false, true) {
		f.flight.Leave()
		return nil, &cancelledError{ctxErr: ctx.Err(), pgErr: ctx.Err()}
	}
	return c.arrive(ctx, r, <-r.done)
}

// arrive gives the leader what his flight has brought.
func (c *Conn) arrive(ctx context.Context, r *fetch, out fetched) (driver.Rows, error) {
	r.flight.Leave()
	if r.conn.ph != nil {
		c.attach(r.conn)
	}
	switch {
	case out.bad != nil:
		panic(out.bad) // in the caller's goroutine, as with plain stdlib
	case out.err != nil:
		return nil, out.err
	case out.live != nil:
		out.live.conn, out.live.ctx = c, ctx
		out.live.unbind = context.AfterFunc(ctx, r.cancel)
		return out.live, nil
	}
	return out.set.Rows(&r.q.maps), nil
}

// detach moves the lease to a Conn of its own.
func (c *Conn) detach() *Conn {
	d := &Conn{core: c.core, session: c.session, ph: c.ph, slot: c.slot, leak: c.leak}
	c.ph, c.slot, c.leak, c.last = nil, nil, nil, c.ph
	return d
}

// attach takes the lease back.
func (c *Conn) attach(d *Conn) {
	c.ph, c.slot, c.leak = d.ph, d.slot, d.leak
	d.ph, d.slot, d.leak = nil, nil, nil
}

// land ends the flight, and hands the leader what it has brought.
func (r *fetch) land(out fetched) {
	if out.live == nil {
		r.bound()
		r.cancel()
		if out.set != nil && !r.alone {
			r.flight.Land(out.set, nil)
		} else {
			r.flight.Land(nil, out.err)
		}
		r.done <- out
		return
	}
	if !r.handed.CompareAndSwap(false, true) { // nobody is left to read on
		r.cancel()
		out.live.conn, out.live.ctx = r.conn, r.ctx
		_ = out.live.Close()
		r.conn.endLease()
		r.flight.Land(nil, nil)
		return
	}
	r.bound() // the leader still waits, so the flight's context has not ended
	r.flight.Land(nil, nil)
	r.done <- out
}

// errPanicked is what is observed of such a statement.
var errPanicked = errors.New("lifeguard: an argument's method panicked")

// fly reads, and lands whatever happens: the panic of an argument's method would end the
// process if this is a goroutine of our own, and others may wait for the flight.
func (r *fetch) fly() {
	var out fetched
	returned := false
	defer func() {
		if !returned {
			if out = (fetched{bad: recover()}); out.bad == nil {
				out.bad = "lifeguard: an argument's method ended its goroutine"
			}
			_ = r.conn.executed(r.ctx, &r.event, errPanicked)
			r.rest()
		}
		r.land(out)
		r.share(out.set)
	}()
	out = r.read()
	returned = true
}

// read sends the query and reads its result as far as it may be kept. Only with live
// rows, and in session mode, the lease goes on.
func (r *fetch) read() fetched {
	c := r.conn
	rows, more, err := r.send()
	if c.stalePlan(r.st, err) {
		c.forgetPlan(r.query)
		rows, more, err = c.sendRaw(r.ctx, &r.call)
	}
	if err != nil {
		err = c.executed(r.ctx, &r.event, err)
		r.rest()
		return fetched{err: err}
	}
	r.event.first, r.event.result = c.slot.setState(SlotRowsOpen)-r.event.sent, true
	c.adapt(&r.event)

	types, fields := c.ph.pgxConn().TypeMap(), rows.FieldDescriptions()
	r.noteFormats(fields)
	b := rowset.NewBuilder(r.columns(fields), r.q.maxRows, r.q.maxBytes)
	known := rowset.Known(types, fields)
	if !known {
		r.ruling.alien.Store(true)
		return r.readOn(b, rows, types, more)
	}
	r.mayShare(types)
	r.confirmRow(types)
	for ; more; more = rows.Next() {
		if !b.Add(rows.RawValues()) {
			r.ruling.skipUntil.Store(int64(r.q.core.limiter.now() + skipFor))
			return r.readOn(b, rows, types, true)
		}
	}
	if rows.Err() != nil {
		return r.readOn(b, rows, types, false)
	}
	k := new(kept)
	key := b.SetUnder(r.key, &k.set, rows.CommandTag())
	r.event.rows = int64(k.set.Len())
	c.rowsClosed(r.ctx, &r.event)
	r.rest()
	if !r.alone {
		r.q.keep(key, k, r.fill)
	}
	return fetched{set: &k.set}
}

// columns are the ruling's, if the result has those.
func (r *fetch) columns(fields []pgconn.FieldDescription) *rowset.Columns {
	if known := r.ruling.columns.Load(); known.Describe(fields) {
		return known
	}
	columns := rowset.NewColumns(fields)
	r.ruling.columns.Store(columns)
	return columns
}

// rest gives the lease back, unless the connection is the leader's for good: then he does.
func (r *fetch) rest() {
	if r.conn.session == nil {
		r.conn.endLease()
	}
}

// readOn makes rows of what was read, with the rest to follow.
func (r *fetch) readOn(b *rowset.Builder, rows pgx.Rows, types *pgtype.Map, standing bool) fetched {
	reader := rowset.NewReader(b.Set(pgconn.CommandTag{}), rows, types, standing)
	return fetched{live: &liveRows{rowsReader: reader, event: r.event, cancel: r.cancel}}
}

// sendRaw is sendQuery for raw values, asked for as stdlib would; more says that there is
// a first row.
func (c *Conn) sendRaw(ctx context.Context, x *call) (rows pgx.Rows, more bool, err error) {
	if err := c.prepared(ctx, x); err != nil {
		return nil, false, err
	}
	if c.ph.dead() {
		return nil, false, driver.ErrBadConn
	}
	values := make([]any, 1+len(x.args))
	values[0] = askedFormats
	for i := range x.args {
		values[1+i] = x.args[i].Value
	}
	rows, err = c.ph.pgxConn().Query(ctx, x.query, values...)
	if err != nil {
		if pgconn.SafeToRetry(err) {
			return nil, false, driver.ErrBadConn
		}
		return nil, false, err
	}
	more = rows.Next()
	if err = rows.Err(); err != nil && !more {
		rows.Close()
		return nil, false, err
	}
	return rows, more, nil
}

// rowsReader has the Reader under a name that is not exported.
type rowsReader = rowset.Reader

// liveRows are the rows of a query that was to be kept and is not: its leader reads them
// as they come.
type liveRows struct {
	*rowsReader
	conn   *Conn
	ctx    context.Context // the leader's
	unbind func() bool     // of cancel from ctx
	cancel context.CancelFunc
	event  event
	closed bool
}

var (
	_ driver.Rows                           = (*liveRows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*liveRows)(nil)
	_ driver.RowsColumnTypeLength           = (*liveRows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*liveRows)(nil)
	_ driver.RowsColumnTypeScanType         = (*liveRows)(nil)
)

// Next implements driver.Rows.
func (r *liveRows) Next(dest []driver.Value) error { return r.count(r.rowsReader.Next(dest)) }

// Close implements driver.Rows.
func (r *liveRows) Close() error {
	err := r.failed(r.rowsReader.Close())
	if r.closed {
		return err
	}
	r.closed = true
	if r.unbind != nil {
		r.unbind()
	}
	r.cancel()
	r.conn.rowsClosed(r.ctx, &r.event)
	return err
}

func (r *liveRows) count(err error) error {
	if err == nil {
		r.event.rows++
		return nil
	}
	return r.failed(err)
}

// failed is as of Rows. The query runs under a context that only is cancelled, so an end
// by the leader's deadline has to be told here.
func (r *liveRows) failed(err error) error {
	if err == nil || err == io.EOF || r.closed || r.conn.ph == nil { //nolint:errorlint // as in Rows
		return err
	}
	err = r.conn.failed(r.ctx, err)
	if ctxErr := r.ctx.Err(); errors.Is(ctxErr, context.DeadlineExceeded) && errors.Is(err, context.Canceled) {
		err = &cancelledError{ctxErr: ctxErr, pgErr: err}
	}
	if r.event.err == nil {
		r.event.err = err
	}
	return err
}
