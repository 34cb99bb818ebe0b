package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
)

// A Future is the result of a [Go] that may still be at work. It needs no closing.
type Future[T any] struct {
	done  chan struct{} // closed when value and err stand
	value T
	err   error
}

// Go runs work in a goroutine of its own, and returns at once.
//
//	pets := lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) (int, error) { … })
//	…
//	n, err := pets.Wait(ctx)
//
// q is db: each statement of work is admitted by itself, and between two of them no
// connection is held. So as many Gos as one likes share pool_max_conns connections; at
// most lifeguard_queue statements wait, in the order of their coming and by the context's
// priority, and what is more is refused, [ErrOverloaded], instead of piling up. (Over
// another driver's *sql.DB the waiting is that driver's and database/sql's.) Within a
// [Scope] that holds a connection, such a statement counts as nested. Work that is one
// transaction calls [Txn].
//
// The goroutine ends when work returns, which it should soon after ctx ends, as every
// statement does. The context that work gets ends with it: rows that it forgot to close
// are closed, so it cannot return rows. It does not carry the transaction of a [Txn] around
// the Go, which another goroutine must not use.
//
// A panic in work is the Future's error, a [*PanicError].
func Go[T any](ctx context.Context, db *sql.DB, work func(ctx context.Context, q Querier) (T, error)) *Future[T] {
	f := &Future[T]{done: make(chan struct{})}
	if f.err = ctx.Err(); f.err != nil {
		close(f.done)
		return f
	}
	go f.run(context.WithValue(ctx, txnKey{}, (*txn)(nil)), db, work)
	return f
}

func (f *Future[T]) run(ctx context.Context, db *sql.DB, work func(context.Context, Querier) (T, error)) {
	defer close(f.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	returned := false
	defer func() {
		if returned {
			return
		}
		f.err = errGoexit
		if p := recover(); p != nil {
			f.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	f.value, f.err = work(ctx, db)
	returned = true
}

// Done is closed when the result is there.
func (f *Future[T]) Done() <-chan struct{} { return f.done }

// Wait returns the result as soon as it is there, or the error of ctx, which bounds only
// the waiting: the work has the context that it was started with. Any number of callers
// may wait, any number of times, or none.
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	default:
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// A PanicError is a panic in the work of a [Go].
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // of the panic, as debug.Stack formats it
}

func (e *PanicError) Error() string { return fmt.Sprintf("lifeguard: panic in Go: %v", e.Value) }

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("lifeguard: the work of Go ended its goroutine by runtime.Goexit")
