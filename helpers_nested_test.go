package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestNestedTxnsAreSavepointsOnOneConnection(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a second connection would never come
	defer cancel()
	failure := errors.New("undo")
	nest := func(ctx context.Context, text string, then error) error {
		return lifeguard.Txn(ctx, db, lifeguard.TxnOptions{Attempts: 5}, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(write(ctx, tx, text), then)
		})
	}
	err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		if err := write(ctx, tx, "1 outer"); err != nil {
			return err
		}
		if err := nest(ctx, "2 kept", nil); err != nil {
			return err
		}
		if err := nest(ctx, "3 undone", failure); !errors.Is(err, failure) {
			t.Errorf("nested: %v", err)
		}
		// A refused statement ends only the savepoint.
		if err := nest(ctx, "1 outer", nil); err == nil {
			t.Error("no duplicate key")
		}
		// Two levels: the inner one is released, the one around it undone with it.
		err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(write(ctx, tx, "4 undone"), nest(ctx, "5 undone", nil), failure)
		})
		if !errors.Is(err, failure) {
			t.Errorf("two levels: %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
				_ = write(ctx, tx, "6 undone")
				panic("stop")
			})
		}()
		return nest(ctx, "7 kept", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	mustHave(t, db, "1 outer", "2 kept", "7 kept")

	err = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(nest(ctx, "8 undone with the outer one", nil), failure)
	})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
	mustHave(t, db, "1 outer", "2 kept", "7 kept")
}

func TestANestedTxnGetsOnlyWhatTheOuterOneIs(t *testing.T) {
	db := notes(t)
	ask := func(outer, inner lifeguard.TxnOptions) (err error) {
		return lifeguard.Txn(t.Context(), db, outer, func(ctx context.Context, _ *sql.Tx) error {
			return lifeguard.Txn(ctx, db, inner, func(context.Context, *sql.Tx) error { return nil })
		})
	}
	serializable, readOnly := lifeguard.TxnOptions{Isolation: sql.LevelSerializable}, lifeguard.TxnOptions{ReadOnly: true}
	for _, test := range []struct {
		outer, inner lifeguard.TxnOptions
		fits         bool
	}{
		{serializable, serializable, true},
		{serializable, lifeguard.TxnOptions{}, true},
		{readOnly, readOnly, true},
		{readOnly, lifeguard.TxnOptions{}, true},
		{lifeguard.TxnOptions{}, serializable, false},
		{serializable, readOnly, false},
	} {
		if err := ask(test.outer, test.inner); (err == nil) != test.fits {
			t.Errorf("%+v in %+v: %v", test.inner, test.outer, err)
		}
	}
}

func TestATxnOnAnotherDatabaseDoesNotJoin(t *testing.T) {
	dsn := withSettings(pgtest.DSN(t), "pool_max_conns=1")
	db, other := openDSN(t, dsn), openDSN(t, dsn)
	if _, err := db.ExecContext(t.Context(), "create table note (text text primary key)"); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no")
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		mine := backendPID(t, tx)
		err := lifeguard.Txn(ctx, other, lifeguard.TxnOptions{}, func(ctx context.Context, otherTx *sql.Tx) error {
			if backendPID(t, otherTx) == mine {
				t.Error("another database's transaction is this one")
			}
			// And back through the other one: a savepoint of the first.
			err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, again *sql.Tx) error {
				if again != tx {
					t.Error("not the transaction of this database")
				}
				return write(ctx, again, "undone with the outer one")
			})
			return errors.Join(err, write(ctx, otherTx, "stays"))
		})
		return errors.Join(err, failure)
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	mustHave(t, db, "stays")
}

func TestNestedTxnsSideBySideAreRefused(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(outer context.Context, _ *sql.Tx) error {
		return lifeguard.Txn(outer, db, lifeguard.TxnOptions{}, func(_ context.Context, tx *sql.Tx) error {
			err := lifeguard.Txn(outer, db, lifeguard.TxnOptions{}, func(context.Context, *sql.Tx) error { return nil })
			if !errors.Is(err, lifeguard.ErrTxnBusy) {
				t.Errorf("a second one on the outer level: %v", err)
			}
			return write(outer, tx, "kept")
		})
	})
	if err != nil {
		t.Fatal(err)
	}

	// The work returns while a nested one is still at work in another goroutine.
	begun, done := make(chan struct{}), make(chan error, 1)
	var late context.Context
	err = lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, _ *sql.Tx) error {
		late = ctx //nolint:fatcontext // to see it ended
		go func() {
			done <- lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, _ *sql.Tx) error {
				close(begun)
				<-ctx.Done()
				return nil
			})
		}()
		<-begun
		return nil
	})
	if !errors.Is(err, lifeguard.ErrTxnBusy) {
		t.Errorf("the outer one: %v", err)
	}
	if err := <-done; err == nil {
		t.Error("the late one thinks that it is in")
	}
	err = lifeguard.Txn(late, db, lifeguard.TxnOptions{}, func(context.Context, *sql.Tx) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with the context of a Txn that has ended: %v", err)
	}
	mustHave(t, db, "kept")
	mustHoldNoSlot(t, db)
}

func TestATransactionIsNotCommittedWithHalfOfANestedOne(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	failure := errors.New("no")
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, _ *sql.Tx) error {
		err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			err := write(ctx, tx, "half")
			if _, e := tx.ExecContext(ctx, "release savepoint lifeguard_1"); e != nil { // as nobody should
				err = e
			}
			return errors.Join(err, failure)
		})
		if !errors.Is(err, failure) {
			t.Error(err)
		}
		return nil
	})
	if err == nil {
		t.Error("committed")
	}
	mustHave(t, db)
}
