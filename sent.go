package lifeguard

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// driver.ErrBadConn has database/sql send a statement once more, so it may only stand for one
// that was not sent. pgx/stdlib takes that from pgconn.SafeToRetry, which is mistaken about
// the simple protocol, that of every Exec without arguments: pgconn closes a connection that
// ends while a result is awaited, asks again, and reports then that it is closed, an error
// that is safe to retry elsewhere. The statement would be executed twice, without a word.

// errUnanswered is the error of a statement that was sent, and of which nobody knows what has
// become.
var errUnanswered = fmt.Errorf("lifeguard: the connection was lost before the answer came: %w", io.ErrUnexpectedEOF)

// closedError is what pgconn says of a connection that is closed. Its type has no name for others.
const closedError = "conn closed"

// exec is stdlib's ExecContext, without its mistake.
func (ph *physical) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if ph.dead() {
		return nil, driver.ErrBadConn
	}
	values := make([]any, len(args))
	for i := range args {
		values[i] = args[i].Value
	}
	tag, err := ph.pgxConn().Exec(ctx, query, values...)
	switch {
	case err == nil:
		return driver.RowsAffected(tag.RowsAffected()), nil
	case !pgconn.SafeToRetry(err):
		return nil, err
	case err.Error() == closedError && ctx.Err() == nil: // closed since it was sent
		return nil, errUnanswered
	}
	return nil, driver.ErrBadConn
}

// query is stdlib's QueryContext, without its mistake. Where that could be made, an error does
// not tell whether it was: then nothing is sent again.
func (ph *physical) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if ph.dead() {
		return nil, driver.ErrBadConn
	}
	rows, err := ph.conn.QueryContext(ctx, query, args)
	if err == driver.ErrBadConn && ph.dead() && ctx.Err() == nil && simply(ph.pgxConn(), args) { //nolint:errorlint // stdlib does not wrap it
		return nil, errUnanswered
	}
	return rows, err
}

// simply reports whether a query goes by the simple protocol.
func simply(conn *pgx.Conn, args []driver.NamedValue) bool {
	mode := conn.Config().DefaultQueryExecMode
	for i := range args {
		switch v := args[i].Value.(type) {
		case pgx.QueryExecMode:
			mode = v
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID, pgx.QueryRewriter:
		default:
			return mode == pgx.QueryExecModeSimpleProtocol
		}
	}
	return mode == pgx.QueryExecModeSimpleProtocol
}
