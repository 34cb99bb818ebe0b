package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// Stmt is a prepared statement: a text, known to be prepared on any connection that
// executes it. When the last Stmt of a text is closed, the connections that have it
// prepared deallocate it, at their next lease at the latest.
type Stmt struct {
	conn     *Conn
	query    string
	numInput int
	closed   bool
}

var (
	_ driver.Stmt             = (*Stmt)(nil)
	_ driver.StmtExecContext  = (*Stmt)(nil)
	_ driver.StmtQueryContext = (*Stmt)(nil)
)

// QueryContext implements driver.StmtQueryContext.
func (s *Stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(ctx, s.query, args, true)
}

// ExecContext implements driver.StmtExecContext.
func (s *Stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.exec(ctx, s.query, args, true)
}

// NumInput implements driver.Stmt.
func (s *Stmt) NumInput() int { return s.numInput }

// Close implements driver.Stmt. Within a checkout it deallocates at once, as stdlib
// does. Between two, database/sql may call it under the lock of its whole pool: then it
// does nothing that takes time, and the next lease deallocates.
func (s *Stmt) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	last := s.conn.core.texts.release(s.query)
	if !last || s.conn.ph == nil || s.conn.ph.dead() {
		return nil
	}
	return s.conn.ph.forget(s.query)
}

// Exec implements driver.Stmt. database/sql calls ExecContext.
func (*Stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("Stmt.Exec deprecated and not implemented") // stdlib's words
}

// Query implements driver.Stmt. database/sql calls QueryContext.
func (*Stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("Stmt.Query deprecated and not implemented")
}

// openTexts counts the open Stmts of each text over all virtual connections, since a
// statement closed on one of them may be prepared on any physical connection.
type openTexts struct {
	mu     sync.Mutex // guards count; never held while blocking
	count  map[string]int
	closed atomic.Uint64 // how often a text has lost its last Stmt; see physical.sweep
}

func (t *openTexts) retain(query string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = make(map[string]int)
	}
	t.count[query]++
}

// release reports whether it was the last Stmt of its text.
func (t *openTexts) release(query string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[query]--
	if t.count[query] > 0 {
		return false
	}
	delete(t.count, query)
	t.closed.Add(1)
	return true
}

func (t *openTexts) isOpen(query string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[query] > 0
}

// Tx is a transaction on the leased connection.
type Tx struct {
	conn *Conn
	ctx  context.Context // of BeginTx, as in stdlib
	tx   driver.Tx
}

var _ driver.Tx = (*Tx)(nil)

// Commit implements driver.Tx.
func (t *Tx) Commit() error {
	if t.conn.ph == nil {
		return driver.ErrBadConn
	}
	_ = t.conn.ph.cancel.settle(t.ctx) // or it could hit the COMMIT
	w, err := t.conn.guardCommit(t.ctx)
	if err != nil {
		_ = t.Rollback() // to database/sql it has ended: its locks must not stay
		return t.conn.turnedAway(t.ctx, commit, verbExecute, err)
	}
	_, e := t.conn.sending(t.ctx, commit, verbExecute)
	err = t.tx.Commit()
	w.end(err)
	return t.conn.executed(t.ctx, &e, err)
}

// rollbackLimit bounds the ROLLBACK of a transaction whose context has ended.
const rollbackLimit = 5 * time.Second

// Rollback implements driver.Tx. When the context of BeginTx has ended, database/sql
// calls it too; pgx would send ROLLBACK with that context, which fails and costs the
// connection. If the connection is healthy, it is saved.
func (t *Tx) Rollback() error {
	if t.conn.ph == nil {
		return driver.ErrBadConn
	}
	w := t.conn.guardRollback()
	_, e := t.conn.sending(t.ctx, rollback, verbExecute)
	err := t.rollback()
	w.end(err)
	return t.conn.executed(t.ctx, &e, err)
}

func (t *Tx) rollback() error {
	ph := t.conn.ph
	_ = ph.cancel.settle(context.Background())
	if t.ctx.Err() == nil || ph.dead() {
		return t.tx.Rollback()
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	return ph.pg.Exec(ctx, "rollback").Close()
}

// pgxRows has stdlib's Rows under another name: embedded under its own it would be
// an exported field of Rows.
type pgxRows = stdlib.Rows

// Rows is the result of a query. It is stdlib's Rows, with every method that has (on
// Go 1.27 those of driver.RowsColumnScanner too), and tells the slot when it ends.
type Rows struct {
	*pgxRows
	conn   *Conn
	ctx    context.Context // of the query, to tell a cancellation from other errors
	event  event           // with the first error
	writes *writing        // fenced off until the rows are closed
	closed bool
}

var (
	_ driver.Rows                           = (*Rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*Rows)(nil)
	_ driver.RowsColumnTypeLength           = (*Rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*Rows)(nil)
)

// Next implements driver.Rows.
func (r *Rows) Next(dest []driver.Value) error {
	return r.read(r.pgxRows.Next(dest))
}

// Close implements driver.Rows.
func (r *Rows) Close() error {
	err := r.failed(r.pgxRows.Close())
	if !r.closed {
		r.closed = true
		r.writes.end(r.event.err)
		r.conn.rowsClosed(r.ctx, &r.event)
	}
	return err
}

// read counts what Next, or NextRow, has read.
func (r *Rows) read(err error) error {
	if err == nil {
		r.event.rows++
		return nil
	}
	return r.failed(err)
}

func (r *Rows) failed(err error) error {
	if err == nil || err == io.EOF || r.closed || r.conn.ph == nil { //nolint:errorlint // the end of the rows is io.EOF itself; what wraps it is a lost connection
		return err
	}
	err = r.conn.failed(r.ctx, err)
	if r.event.err == nil {
		r.event.err = err
	}
	return err
}
