package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// cancelWatchKey finds a connection's cancelWatch in pgconn's CustomData.
const cancelWatchKey = "lifeguard.cancelWatch"

// cancelGrace is how long a cancelled statement may take to end on the server before
// its connection is given up.
const cancelGrace = 2 * time.Second

// cancelWatch is what pgconn does with a context that ends during a statement, for
// lifeguard_cancel=keep: it asks the server to cancel the statement, and the
// connection lives on.
//
// A cancel request travels on a connection of its own, so it may arrive when its
// statement is over and hit the next one. PostgreSQL answers the request only after
// it has signalled the backend, and a backend that is signalled before it reads the
// next message drops the signal. So once the request has been answered, one empty
// round trip on the connection swallows whatever is left: settle does both, before
// the next statement of the same lease, or in the background when the lease ends.
// (pgconn's own CancelRequestContextWatcherHandler sleeps 100 ms in the caller's time
// instead.)
type cancelWatch struct {
	pg   *pgconn.PgConn
	sent chan struct{} // closed when the request has been answered; nil if none was sent
}

var _ ctxwatch.Handler = (*cancelWatch)(nil)

// HandleCancel runs when the context of a running statement ends.
func (w *cancelWatch) HandleCancel(ctx context.Context) {
	sent := make(chan struct{})
	w.sent = sent
	// If the server does not end the statement in time, reading its answer fails, and
	// the connection is closed as it is without lifeguard_cancel=keep.
	_ = w.pg.Conn().SetDeadline(time.Now().Add(cancelGrace))
	go func() {
		defer close(sent)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
		defer cancel()
		_ = w.pg.CancelRequest(ctx) // its failure shows as the deadline above
	}()
}

// HandleUnwatchAfterCancel runs when the cancelled statement has returned.
func (w *cancelWatch) HandleUnwatchAfterCancel() {
	_ = w.pg.Conn().SetDeadline(time.Time{})
}

// pending reports whether a cancel request may still be on its way. A nil watch has
// none.
func (w *cancelWatch) pending() bool { return w != nil && w.sent != nil }

// settle waits until no cancel request can hit the connection's next statement, for
// twice cancelGrace at most. It does nothing if none is pending.
func (w *cancelWatch) settle(ctx context.Context) error {
	if !w.pending() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*cancelGrace)
	defer cancel()
	select {
	case <-w.sent:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.sent = nil
	err := w.pg.Ping(ctx)
	if isCancelled(err) {
		err = w.pg.Ping(ctx)
	}
	return err
}

func isCancelled(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "57014"
}

// cancelledError is the error of a statement that was cancelled on the server because
// its context ended: both the context's error and the server's.
type cancelledError struct {
	ctxErr error
	pgErr  error
}

func (e *cancelledError) Error() string {
	if errors.Is(e.ctxErr, context.Canceled) {
		return e.ctxErr.Error()
	}
	return fmt.Sprintf("timeout: %v", e.ctxErr) // as pgconn says it
}

func (e *cancelledError) Unwrap() []error { return []error{e.ctxErr, e.pgErr} }

// Timeout makes the error a net.Error-like one, as os.ErrDeadlineExceeded is.
func (e *cancelledError) Timeout() bool { return errors.Is(e.ctxErr, context.DeadlineExceeded) }
