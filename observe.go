package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// event is one operation on its way through the driver: what metrics, top queries,
// the log and the trace will say about it. It is filled in by Conn and Rows and handed
// to core.observe once, at its end.
//
//	 asked      admitted    sent            first row          rows closed
//	───┼─ wait ────┼─ open ───┼── first ──────────┼───────────────────┼──►
//	                          └── took ───────────────────────────────┘
//
// Of an operation without rows, and of one that failed, first equals took.
type event struct {
	st     *sqltext.Statement
	verb   verb
	lost   bool          // the connection died of it, and not of a cancellation
	slot   int           // index of the slot that it ran in
	span   trace.Span    // nil without tracing
	wait   time.Duration // for admission; 0 within a checkout
	open   time.Duration // to get an open connection, once admitted; 0 within a checkout
	sent   time.Duration // when, on the limiter's clock
	first  time.Duration
	took   time.Duration
	rows   int64 // returned, or affected
	result bool  // rows were returned rather than affected
	cache  cacheAnswer
	err    error
}

// verb says what is done with a statement.
type verb uint8

const (
	verbExecute verb = iota
	verbPrepare      // counted by its errors only: it is no execution
	verbPing         // likewise, and not traced; also what sends nothing
)

// observe is the one place that is told how an operation ended that was sent to the
// server. An ErrBadConn says that it was not sent after all; database/sql tries again.
func (co *core) observe(ctx context.Context, e *event) {
	if e.span != nil {
		co.tracing.end(e)
	}
	if e.err != nil {
		if errors.Is(e.err, driver.ErrBadConn) {
			return
		}
		co.metrics.failed(e.err, e.lost)
		if e.lost {
			co.journal.lost(ctx, e)
		}
	}
	if e.verb == verbExecute {
		co.metrics.executed(e)
		co.top.add(e.slot, e)
		if co.tracing != nil {
			co.tracing.record(ctx, e)
		}
	}
	if slow := co.cfg.Slow; slow > 0 && e.wait+e.open+e.took >= slow {
		co.journal.slow(ctx, e)
	}
}

// turnedAway is observe for an operation that was not sent: it was refused, its
// context ended in the queue, or there was no connection.
func (co *core) turnedAway(ctx context.Context, e *event) {
	if errors.Is(e.err, driver.ErrBadConn) {
		return
	}
	outcome := outcomeOf(e.err)
	if e.verb == verbExecute {
		co.metrics.notSent(e.st.Kind.Op(), outcome)
	}
	co.metrics.failed(e.err, false)
	if co.tracing != nil {
		co.tracing.turnedAway(ctx, e, outcome)
	}
	if outcome == outcomeRejected {
		co.journal.refused(ctx, e)
	}
}

// refusalReason is the metrics' and the log's word for a refusal.
func refusalReason(err error) string {
	if overload, ok := errors.AsType[*OverloadError](err); ok {
		return string(overload.Reason)
	}
	return reasonNested
}

// reasonNested stands beside the OverloadReasons.
const reasonNested = "nested"

// faultConnection is the kind of what the network does.
const faultConnection = "connection"

// fault names an error without quoting it: its SQLSTATE, if the server sent one, and a
// word from a small set. The text of an error is never logged nor traced as it is:
// PostgreSQL's messages quote values ("invalid input syntax for type integer: …"), and
// so do pgx's about arguments that it cannot encode.
func fault(err error, lost bool) (sqlstate, kind string) {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code, pgErr.Code
	}
	switch outcomeOf(err) {
	case outcomeTimeout:
		return "", "timeout"
	case outcomeCanceled:
		return "", "canceled"
	case outcomeRejected:
		return "", "overloaded"
	default:
	}
	if lost || isConnectionFault(err) {
		return "", faultConnection
	}
	return "", fmt.Sprintf("%T", err)
}

// isConnectionFault reports whether the network, and not the server, said no.
func isConnectionFault(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errLost)
}
