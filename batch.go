package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"
	"unsafe"
)

// BatchInserter loads rows of T into one table. T is a struct, a pointer to one, or
// []any with [BatchConfig].Columns.
//
// A struct's exported fields are columns: by the name in the tag `db:"name"`, else by the
// field's name in snake case. The fields of an embedded struct count as its own. Left out
// are fields tagged `db:"-"` or `db:"name,default"`, generated columns, and identity
// columns unless BatchConfig.Columns names them.
//
// Add encodes the row at once. Rows are collected into chunks; each chunk is one
// transaction, sent as binary COPY by one of the workers in the background, while Add
// goes on encoding the next. What the guarantee is:
//
//   - A nil error from Close means that every row accepted by Add is in the table,
//     exactly once (with OnConflict: has been applied).
//   - A row that the server refuses is found, reported to OnRowError and left out; every
//     other row of its chunk gets in.
//   - A failure that passes (a lost connection, a deadlock, a refusal by the admission
//     queue…) sends the chunk again. If the answer to COMMIT was lost, the server is
//     asked, by the transaction's id, whether it took place.
//   - With one worker, rows are written in the order of Add.
//
// It takes its connections from the *sql.DB, one per chunk and worker, at priority
// [Bulk]. On a *sql.DB that has no pgx connection underneath, rows go in by INSERT with
// many rows of VALUES, and a lost answer to COMMIT is an [ErrBatchUncertain] instead.
//
// Its methods may be called concurrently. A BatchInserter must be closed.
type BatchInserter[T any] struct {
	core *batch
	row  *T // scratch, guarded by core.mu: a copy that needs no allocation
}

// NewBatchInserter makes a BatchInserter for a table, "table" or "schema.table". A part
// may be quoted as in SQL; unquoted, it is taken letter by letter too, without folding.
// The table is looked up at the first Add.
func NewBatchInserter[T any](db *sql.DB, table string, cfg BatchConfig) (*BatchInserter[T], error) {
	core, err := newBatch[T](db, table, cfg)
	if err != nil {
		return nil, err
	}
	return &BatchInserter[T]{core: core, row: new(T)}, nil
}

// Add accepts a row. The row is encoded before Add returns, so that it may be changed
// afterwards; a value that its column cannot take is Add's error, and the row is not
// accepted. While MaxPendingBytes wait to be written, Add waits too, until ctx ends.
//
// ctx bounds this call; the chunk is sent on its own account.
func (b *BatchInserter[T]) Add(ctx context.Context, row T) error {
	return b.add(ctx, row, true)
}

// TryAdd is Add that returns [ErrBatchFull] where Add would wait for room. Only the first
// call goes to the server, to look the table up; ctx bounds that.
func (b *BatchInserter[T]) TryAdd(ctx context.Context, row T) error {
	return b.add(ctx, row, false)
}

func (b *BatchInserter[T]) add(ctx context.Context, row T, wait bool) error {
	if err := b.core.lockForRow(ctx, wait); err != nil {
		return err
	}
	defer b.core.mu.Unlock() // deferred: a Valuer of the row may panic
	*b.row = row
	ch, err := b.core.encodeLocked(ctx, unsafe.Pointer(b.row))
	if err != nil {
		return err
	}
	if b.core.cfg.OnRowError != nil {
		keepRow(ch, row)
	}
	b.core.acceptedLocked(ctx, ch)
	return nil
}

// Flush sends what has been added so far, and waits until all of it has been written or
// refused. Its error is the one that Close would return now. When ctx ends, Flush returns
// its error, and the writing goes on.
func (b *BatchInserter[T]) Flush(ctx context.Context) error { return b.core.flush(ctx) }

// Close sends what is left, waits for it, and ends the workers. If not every accepted row
// is in the table, the error is a [*BatchError], which tells how many are not. When ctx
// ends before, the writing is stopped: the chunks on their way are cancelled, and the
// error wraps that of ctx. A second Close returns the same.
func (b *BatchInserter[T]) Close(ctx context.Context) (BatchStats, error) {
	return b.core.close(ctx)
}

// Stats returns the figures so far.
func (b *BatchInserter[T]) Stats() BatchStats { return b.core.snapshot() }

// InsertMany loads rows into a table with a BatchInserter of its own and returns when all
// are written, or ctx ends. See [slices.Values] for a slice. A row that cannot be encoded
// ends the loading; those before it are written.
func InsertMany[T any](ctx context.Context, db *sql.DB, table string, rows iter.Seq[T], cfg BatchConfig) (BatchStats, error) {
	b, err := NewBatchInserter[T](db, table, cfg)
	if err != nil {
		return BatchStats{}, err
	}
	var addErr error
	for row := range rows {
		if addErr = b.Add(ctx, row); addErr != nil {
			break
		}
	}
	stats, err := b.Close(ctx)
	var batchErr *BatchError
	if errors.As(err, &batchErr) && (addErr == nil || errors.Is(err, addErr)) {
		return stats, err
	}
	return stats, errors.Join(addErr, err)
}

// BatchStats are the figures of a BatchInserter.
type BatchStats struct {
	Added        int64         // rows accepted
	Written      int64         // rows in the table, or applied
	Refused      int64         // rows that the server refused
	Pending      int64         // rows accepted and neither written nor refused yet
	PendingBytes int64         // what they take
	Chunks       int64         // chunks done with
	Bytes        int64         // bytes of rows written
	Retries      int64         // chunks sent again after a failure that passes
	Recovered    int64         // chunks whose COMMIT lost its answer and was found to have taken place
	Flushing     time.Duration // spent sending, over all workers
}

// FlushInfo is what OnFlush learns of a chunk.
type FlushInfo struct {
	First   int64 // index of the chunk's first row, counted from 0 over all Adds
	Rows    int   // in the chunk
	Written int
	Refused int
	Bytes   int
	Retries int
	Took    time.Duration
	Err     error // why the rest was not written; nil without a rest
}

var (
	// ErrBatchClosed is returned by Add after Close.
	ErrBatchClosed = errors.New("lifeguard: batch inserter is closed")
	// ErrBatchFull is returned by TryAdd while MaxPendingBytes wait to be written.
	ErrBatchFull = errors.New("lifeguard: batch inserter has no room")
	// ErrBatchUncertain is found in an error if a COMMIT lost its answer and the server
	// could not say any more whether it took place. The rows concerned are counted as
	// not written, though they may be.
	ErrBatchUncertain = errors.New("lifeguard: it is not known whether the chunk was committed")
	// ErrBatchRowErrors is found in an error if more rows than MaxRowErrors were refused.
	ErrBatchRowErrors = errors.New("lifeguard: too many rows were refused")
)

// A BatchError says that not every accepted row is in the table.
type BatchError struct {
	Written   int64     // rows that are
	Refused   int64     // rows that the server refused
	Unwritten int64     // rows that were not written, for Cause
	First     *RowError // of the refused; nil if none was
	Cause     error     // why the writing stopped; nil if it did not
}

func (e *BatchError) Error() string {
	text := fmt.Sprintf("lifeguard: %d rows written, %d refused, %d not written", e.Written, e.Refused, e.Unwritten)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.First != nil {
		text += fmt.Sprintf(" (first refused: %v)", e.First)
	}
	return text
}

// Unwrap returns the cause and the first row's error.
func (e *BatchError) Unwrap() []error {
	var errs []error
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	if e.First != nil {
		errs = append(errs, e.First)
	}
	return errs
}
