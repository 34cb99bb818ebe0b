package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// Conn is a virtual connection: what database/sql pools. It costs nothing until an
// operation needs the server; then it takes a slot from the limiter and a physical
// connection from the pool, the lease, and keeps both until database/sql takes the
// virtual connection back. database/sql says so by calling IsValid, once at the end
// of every checkout and never within one, or Close if the connection went bad.
//
//	         first operation: admitted, connection leased
//	┌──────┐ ───────────────────────────────────────────► ┌────────┐
//	│ idle │                                              │ leased │ ◄─┐ further
//	└──────┘ ◄─────────────────────────────────────────── └────────┘ ──┘ operations
//	   ▲        IsValid or Close (database/sql)                │
//	   │                                                       │ the physical
//	   │        IsValid or Close                               ▼ connection died
//	   └──────────────────────────────────────────────── ┌────────┐
//	                                                     │ broken │ every operation:
//	                                                     └────────┘ driver.ErrBadConn
//
// So a lease covers exactly what a checkout covers in plain database/sql: one
// statement until its rows are closed, a transaction, or the life of a sql.Conn. A
// broken connection does not lease another one in the same checkout: the session's
// state would be gone without a word.
//
// The slot outlives the lease while the server still works for it: it is free only
// when the cancelled statement, or the closed connection, is gone there.
//
// database/sql calls a Conn's methods one at a time; Conn needs no lock.
type Conn struct {
	core      *core
	connector *Connector // closed with the connection if ownsConnector

	// The lease: both are set, or neither is.
	ph   *physical
	slot *slot
	leak *time.Timer // fires lifeguard_leak_after; nil without

	last    *physical // the one to prefer at the next lease
	session *physical // session mode: the one that is always leased
	parked  bool      // session mode: the pool may take session away

	// What the lease had to wait for, until its first statement is sent.
	wait     time.Duration // for admission
	admitted time.Duration // when, on the limiter's clock; 0 if the lease is not new

	riding  groupAsk    // what may be sent together with others, while a lease is waited for
	asked   cacheAnswer // what the cache said to the query that is about to be sent
	key     []byte      // of the latest query that memory was asked for
	private bool        // … which no other process asks by the same key
	text    *cachedText // the latest that was known
	textIn  uint64      // when: the number of the young generation

	ownsConnector bool
	shard         uint8  // where hits are counted, modulo the number of shards
	dice          uint32 // see roll; never 0
}

var (
	_ driver.Conn               = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
)

// QueryContext implements driver.QueryerContext.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args, false)
}

// ExecContext implements driver.ExecerContext.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args, false)
}

// call is one execution of a statement, as it will be sent: with named arguments that is
// not what the application wrote.
type call struct {
	st       *sqltext.Statement // what the application wrote
	known    *cachedText        // what the cache knows of query; nil for nothing, and for exec
	query    string
	args     []driver.NamedValue
	prepared bool
}

// query is the one path of everything that returns rows: from memory, or admit, lease
// (or be answered by a group meanwhile), guard what it writes, send, observe.
func (c *Conn) query(ctx context.Context, query string, args []driver.NamedValue, prepared bool) (driver.Rows, error) {
	x := call{query: query, args: args, prepared: prepared}
	x.st, x.known = c.statement(query)
	if err := c.inOrder(ctx, &x); err != nil {
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	}
	rows, fill, err := c.fromMemory(ctx, &x)
	if rows != nil || err != nil {
		return rows, err
	}
	return c.ask(ctx, x, fill)
}

// ask is query from where the server is needed.
func (c *Conn) ask(ctx context.Context, x call, fill *fill) (driver.Rows, error) {
	defer fill.abandon() // unless it takes off
	rows, err := c.leaseOrRide(ctx, &x)
	if rows != nil || err != nil {
		return rows, err
	}
	w, err := c.guard(ctx, &x, fill)
	if err != nil {
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	}
	defer w.giveUp() // unless it ends, or its rows do
	ctx, e := c.sending(ctx, x.st, verbExecute)
	if fill.flying() {
		return c.fetch(ctx, e, fill, x)
	}
	rows, err = c.sendQuery(ctx, &x)
	if c.stalePlan(x.st, err) {
		c.forgetPlan(x.query)
		rows, err = c.sendQuery(ctx, &x)
	}
	if err != nil {
		w.end(err)
		return nil, c.executed(ctx, &e, err)
	}
	e.first, e.result = c.slot.setState(SlotRowsOpen)-e.sent, true
	c.adapt(&e)
	return &Rows{pgxRows: rows.(*stdlib.Rows), conn: c, ctx: ctx, event: e, writes: w.withRows()}, nil //nolint:errcheck // stdlib has no other
}

// exec is the one path of everything that returns no rows.
func (c *Conn) exec(ctx context.Context, query string, args []driver.NamedValue, prepared bool) (driver.Result, error) {
	x := call{st: c.core.known.Analyze(query), query: query, args: args, prepared: prepared}
	if err := c.inOrder(ctx, &x); err != nil {
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	}
	if err := c.lease(ctx, x.st, false); err != nil {
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	}
	w, err := c.guard(ctx, &x, nil)
	if err != nil {
		return nil, c.turnedAway(ctx, x.st, verbExecute, err)
	}
	defer w.giveUp() // unless it ends
	ctx, e := c.sending(ctx, x.st, verbExecute)
	result, err := c.sendExec(ctx, &x)
	if c.stalePlan(x.st, err) {
		c.forgetPlan(x.query)
		result, err = c.sendExec(ctx, &x)
	}
	w.end(err)
	if err == nil {
		e.rows, _ = result.RowsAffected() // pgx always knows
	}
	if err = c.executed(ctx, &e, err); err != nil {
		return nil, err
	}
	return result, nil
}

func (c *Conn) sendQuery(ctx context.Context, x *call) (driver.Rows, error) {
	if err := c.prepared(ctx, x); err != nil {
		return nil, err
	}
	return c.ph.query(ctx, x.query, x.args)
}

func (c *Conn) sendExec(ctx context.Context, x *call) (driver.Result, error) {
	if err := c.prepared(ctx, x); err != nil {
		return nil, err
	}
	return c.ph.exec(ctx, x.query, x.args)
}

// prepared makes sure that the text of a Stmt is prepared on the leased connection: pgx
// looks a text up among those before anything else.
func (c *Conn) prepared(ctx context.Context, x *call) error {
	if !x.prepared {
		return nil
	}
	_, err := c.ph.prepare(ctx, x.query)
	return err
}

// BeginTx implements driver.ConnBeginTx.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.lease(ctx, begin, true); err != nil {
		return nil, c.turnedAway(ctx, begin, verbExecute, err)
	}
	if err := c.catchUp(ctx); err != nil {
		return nil, c.turnedAway(ctx, begin, verbExecute, err)
	}
	_, e := c.sending(ctx, begin, verbExecute) // COMMIT is no child of BEGIN
	tx, err := c.ph.conn.BeginTx(ctx, opts)
	if err = c.executed(ctx, &e, err); err != nil {
		return nil, err
	}
	return &Tx{conn: c, ctx: ctx, tx: tx}, nil
}

// PrepareContext implements driver.ConnPrepareContext. The statement is prepared now,
// so that its errors show now, on the connection that is leased; on others when it is
// first executed there.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.core.texts.retain(query) // before the lease, which deallocates what nobody retains
	st := c.core.known.Analyze(query)
	if err := c.lease(ctx, st, false); err != nil {
		c.core.texts.release(query)
		return nil, c.turnedAway(ctx, st, verbPrepare, err)
	}
	do := verbPrepare
	if _, done := c.ph.prepared[query]; done {
		do = verbPing // nothing is sent
	}
	ctx, e := c.sending(ctx, st, do)
	prepared, err := c.ph.prepare(ctx, query)
	if err = c.executed(ctx, &e, err); err != nil {
		c.core.texts.release(query)
		return nil, err
	}
	return &Stmt{conn: c, query: query, numInput: prepared.NumInput()}, nil
}

// Ping implements driver.Pinger.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.lease(ctx, ping, false); err != nil {
		return c.turnedAway(ctx, ping, verbPing, err)
	}
	ctx, e := c.sending(ctx, ping, verbPing)
	return c.executed(ctx, &e, c.ph.conn.Ping(ctx))
}

// Conn returns the pgx connection of the lease, for sql.Conn.Raw. It stays leased
// until the sql.Conn is closed. It is nil if no connection can be had; [PgxConn] says
// why.
func (c *Conn) Conn() *pgx.Conn {
	conn, err := c.pgxConn(context.Background())
	if err != nil {
		return nil
	}
	return conn
}

func (c *Conn) pgxConn(ctx context.Context) (*pgx.Conn, error) {
	if err := c.lease(ctx, raw, false); err != nil {
		return nil, c.turnedAway(ctx, raw, verbPing, err)
	}
	if err := c.guardRaw(ctx); err != nil {
		return nil, c.turnedAway(ctx, raw, verbPing, err)
	}
	c.ph.plans.altered.Store(true)
	c.slot.begin(SlotIdleInConn, raw.Summary, raw.Fingerprint)
	return c.ph.pgxConn(), nil
}

// Operations that are no statement of the application's, as the slots show them.
//
//nolint:gochecknoglobals // constants
var (
	begin    = sqltext.Analyze("BEGIN")
	commit   = sqltext.Analyze("COMMIT")
	rollback = sqltext.Analyze("ROLLBACK")
	ping     = &sqltext.Statement{Summary: "ping"}
	raw      = &sqltext.Statement{Summary: "raw connection"}
)

// stalePlan reports whether err says that a cached plan no longer fits its tables,
// nothing ran, and no transaction was lost: then the statement can be sent again, and
// pgx, or forgetPlan, makes a new plan. Of several statements in one text some may
// have run, and the plan of an EXECUTE is the application's.
func (c *Conn) stalePlan(st *sqltext.Statement, err error) bool {
	if err == nil || st.Kind == sqltext.Multi || st.Kind == sqltext.Execute || c.ph.pg.TxStatus() != 'I' {
		return false
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "0A000" || pgErr.Where != "" {
		return false // Where is set if it happened inside a function, which ran
	}
	return pgErr.Routine == "RevalidateCachedQuery" || pgErr.Message == "cached plan must not change result type"
}

func (c *Conn) forgetPlan(query string) {
	_ = c.ph.forget(query) // if that breaks the connection, the next send says so
}

// IsValid implements driver.Validator. database/sql calls it at the end of every
// checkout, under its lock of this connection: the lease ends here, and whatever takes
// time is done in the background.
func (c *Conn) IsValid() bool {
	c.endLease()
	if c.core.cfg.Mode != ModeSession {
		return true
	}
	if !c.unpark() {
		return false
	}
	c.parked = !c.session.dead() && c.core.pool.park(c.session)
	return c.parked
}

// endLease gives slot and connection back. It does nothing without a lease.
func (c *Conn) endLease() {
	if c.ph == nil {
		return
	}
	if c.leak != nil {
		c.leak.Stop()
		c.leak = nil
	}
	c.endRaw()
	ph, s := c.ph, c.slot
	c.ph, c.slot, c.last = nil, nil, ph
	c.core.giveBack(ph, s, c.session != nil)
}

// ResetSession implements driver.SessionResetter. database/sql calls it before it
// hands out a connection that was used before.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.core.cfg.Mode != ModeSession {
		return nil // the lease does it
	}
	if !c.unpark() {
		return driver.ErrBadConn
	}
	_ = c.session.cancel.settle(ctx)
	if err := c.session.renew(ctx, c.core.limiter.now(), c.core.cfg.PingTimeout); err != nil {
		return driver.ErrBadConn
	}
	return nil
}

// CheckNamedValue implements driver.NamedValueChecker: pgx takes every value, and
// leading options such as pgx.QueryExecMode too.
func (*Conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Close implements driver.Conn.
func (c *Conn) Close() error {
	c.endLease()
	if c.unpark() && c.session != nil {
		c.core.pool.end(c.session, endClosed, nil)
		c.session = nil
	}
	if c.ownsConnector {
		return c.connector.Close()
	}
	return nil
}

// Prepare implements driver.Conn. database/sql calls PrepareContext.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// Begin implements driver.Conn. database/sql calls BeginTx.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}
