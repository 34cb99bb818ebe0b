package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// TxnOptions says how a [Txn] works. Its zero value is one try at the server's default
// isolation.
type TxnOptions struct {
	Isolation sql.IsolationLevel
	ReadOnly  bool

	// Attempts is how often the work is done at most if it ends in a serialization
	// failure (SQLSTATE 40001) or a deadlock (40P01), of a statement or of COMMIT; default
	// 1. More than that is right only for work that does nothing outside the transaction
	// which must not be done twice.
	Attempts int
	// MinBackoff is the pause before the second attempt, doubled for each further one up
	// to MaxBackoff; each is cut by a random part of up to its whole. The defaults are
	// 10 ms and 1 s. The transaction's connection is given back meanwhile.
	MinBackoff, MaxBackoff time.Duration
}

// withDefaults returns a copy with defaults filled in, or what is wrong.
func (o TxnOptions) withDefaults() (TxnOptions, error) {
	switch {
	case o.Attempts < 0:
		return o, fmt.Errorf("lifeguard: TxnOptions.Attempts is %d; it must be 1 or more, or 0 for the default of 1", o.Attempts)
	case o.MinBackoff < 0:
		return o, fmt.Errorf("lifeguard: TxnOptions.MinBackoff is %v; it must not be negative", o.MinBackoff)
	case o.MaxBackoff < 0:
		return o, fmt.Errorf("lifeguard: TxnOptions.MaxBackoff is %v; it must not be negative", o.MaxBackoff)
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 10 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = time.Second
	}
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	o.Attempts = max(o.Attempts, 1)
	return o, nil
}

// txnKey finds the innermost *txn that a context is inside of.
type txnKey struct{}

// A txn is one call of Txn at work: a transaction, or a savepoint in one.
//
//	open ──work returned nil──► committed, or savepoint released
//	  │ └──error, panic───────► rolled back, or rolled back to the savepoint
//	  └──a nested Txn─────────► busy until that is done
type txn struct {
	db    *sql.DB
	tx    *sql.Tx
	opts  TxnOptions // of the transaction
	outer *txn       // around this one in the context, perhaps of another database
	root  *txn       // the one that is a transaction

	busy   atomic.Bool           // a nested Txn is at work; or this one is done with
	points atomic.Int64          // of the root: savepoints made, for their names
	broken atomic.Pointer[error] // of the root: why it cannot commit
}

// Txn does work in a transaction. It commits if work returns nil, and rolls back if work
// returns an error, which Txn then returns as it is, or panics, which goes on. work must
// use tx, and neither commit nor roll it back.
//
// Called inside the work of another Txn on the same db, with that work's context, it makes
// a savepoint in that transaction, so it needs no second connection: an error undoes what
// the inner work did, and if the outer one goes on in spite of it, the rest is committed.
// What the inner call asks for, Isolation and ReadOnly, must have been asked for by the
// outermost one too. The inner one's Attempts mean nothing, since a serialization failure
// ends the whole transaction: the outermost one's count. A Txn on another db inside it is a
// transaction of its own.
//
// Nested calls on one level come one after another; a second one while the first is at
// work, in another goroutine or with the outer context, is [ErrTxnBusy]. The context that
// work gets ends with it.
//
// An error of COMMIT that the server did not send, such as a lost connection, leaves open
// whether the transaction took place; it is never tried again. An error of ROLLBACK is not
// reported: the connection is then closed, which rolls back too.
func Txn(ctx context.Context, db *sql.DB, opts TxnOptions, work func(ctx context.Context, tx *sql.Tx) error) error {
	opts, err := opts.withDefaults()
	if err != nil {
		return err
	}
	outer, _ := ctx.Value(txnKey{}).(*txn)
	for around := outer; around != nil; around = around.outer {
		if around.db == db {
			return around.nested(ctx, outer, opts, work)
		}
	}
	pause := opts.MinBackoff
	for attempt := 1; ; attempt++ {
		err := attemptTxn(ctx, db, outer, opts, work)
		if attempt >= opts.Attempts || !mayPassAgain(err) {
			return err
		}
		if !backOff(ctx, rand.N(pause)+1) {
			if ctx.Err() == nil {
				return err
			}
			return errors.Join(ctx.Err(), err)
		}
		pause = min(2*pause, opts.MaxBackoff)
	}
}

// mayPassAgain reports whether err is the server's word that the transaction was rolled
// back for the sake of another.
func mayPassAgain(err error) bool {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return false
	}
	code := state.SQLState()
	return code == "40001" || code == "40P01"
}

// backOff waits, and reports whether ctx leaves time for more.
func backOff(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// attemptTxn is one attempt at a transaction.
func attemptTxn(ctx context.Context, db *sql.DB, outer *txn, opts TxnOptions, work func(context.Context, *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: opts.Isolation, ReadOnly: opts.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after an error, a panic or Goexit; after Commit it does nothing
	t := &txn{db: db, tx: tx, opts: opts, outer: outer}
	t.root = t
	if err := t.do(ctx, work); err != nil {
		return err
	}
	if broken := t.broken.Load(); broken != nil {
		return *broken
	}
	err = tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return ctx.Err() // database/sql has rolled back
	}
	return err
}

// do calls work with a context that leads nested calls to t, until it returns. A nested
// call that another goroutine has still at work then is an error: it could end up in the
// transaction in part.
func (t *txn) do(ctx context.Context, work func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, txnKey{}, t))
	defer t.busy.Store(true)
	defer cancel()
	if err := work(ctx, t.tx); err != nil {
		return err
	}
	if !t.busy.CompareAndSwap(false, true) {
		return ErrTxnBusy
	}
	return nil
}

// ErrTxnBusy is returned by a nested [Txn] while another one is at work on the same level:
// they would undo each other's savepoints.
var ErrTxnBusy = errors.New("lifeguard: another nested Txn is at work in this one; nested calls come one after another, each with the context of the work around it")

// nested does work in a savepoint of the transaction that t belongs to. outer is the
// innermost Txn of the context: t, or one of another database inside t.
func (t *txn) nested(ctx context.Context, outer *txn, opts TxnOptions, work func(context.Context, *sql.Tx) error) error {
	root := t.root
	switch {
	case opts.Isolation != sql.LevelDefault && opts.Isolation != root.opts.Isolation:
		return fmt.Errorf("lifeguard: a nested Txn asks for isolation %v in a transaction of isolation %v", opts.Isolation, root.opts.Isolation)
	case opts.ReadOnly && !root.opts.ReadOnly:
		return errors.New("lifeguard: a nested Txn asks for a read-only transaction in one that may write")
	case !t.busy.CompareAndSwap(false, true):
		return ErrTxnBusy
	}
	defer t.busy.Store(false)

	name := "lifeguard_" + strconv.FormatInt(root.points.Add(1), 10)
	if _, err := root.tx.ExecContext(ctx, "savepoint "+name); err != nil {
		return err
	}
	released := false
	defer func() {
		if !released {
			root.undo(ctx, name)
		}
	}()
	inner := &txn{db: root.db, tx: root.tx, outer: outer, root: root}
	if err := inner.do(ctx, work); err != nil {
		return err
	}
	if _, err := root.tx.ExecContext(ctx, "release savepoint "+name); err != nil {
		return err
	}
	released = true
	return nil
}

// undoLimit bounds the ROLLBACK TO of a savepoint whose context may have ended.
const undoLimit = 5 * time.Second

// undo rolls back to a savepoint. If it cannot, the transaction must not be committed: it
// would keep what the inner work has done.
func (t *txn) undo(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	_, err := t.tx.ExecContext(ctx, "rollback to savepoint "+name)
	if err == nil {
		_, err = t.tx.ExecContext(ctx, "release savepoint "+name)
	}
	if err == nil {
		return
	}
	// As text: it may be driver.ErrBadConn, which is for statements that were not sent.
	broken := errors.New("lifeguard: the transaction is rolled back, for a nested Txn could not be by itself: " + err.Error())
	t.broken.CompareAndSwap(nil, &broken)
}
