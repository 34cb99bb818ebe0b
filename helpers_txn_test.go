package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// notes opens a database with an empty table note(text).
func notes(t *testing.T, settings ...string) *sql.DB {
	t.Helper()
	db := open(t, settings...)
	if _, err := db.ExecContext(t.Context(), "create table note (text text primary key)"); err != nil {
		t.Fatal(err)
	}
	return db
}

func write(ctx context.Context, q lifeguard.Querier, text string) error {
	_, err := lifeguard.Execute(ctx, q, "insert into note values ($1)", text)
	return err
}

// mustHave compares the notes, in order, with what there should be.
func mustHave(t *testing.T, db *sql.DB, want ...string) {
	t.Helper()
	got, err := lifeguard.Query[string](t.Context(), db, "select text from note order by text")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the table holds %v, want %v", got, want)
	}
}

func mustHoldNoSlot(t *testing.T, db *sql.DB) {
	t.Helper()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "every slot is free", func() bool { return connector.Stats().Limiter.InFlight == 0 })
}

func TestTxnCommitsOrRollsBack(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	ctx := t.Context()
	failure := errors.New("no")
	err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		return write(ctx, tx, "kept")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(write(ctx, tx, "error"), failure)
	})
	if !errors.Is(err, failure) {
		t.Errorf("work's error came back as %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "stop" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			if err := write(ctx, tx, "panic"); err != nil {
				return err
			}
			panic("stop")
		})
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			if err := write(ctx, tx, "goexit"); err != nil {
				return err
			}
			runtime.Goexit() // as t.FailNow does
			return nil
		})
	}()
	<-ended
	mustHave(t, db, "kept")
	mustHoldNoSlot(t, db)
}

func TestTxnReturnsTheServersErrorAsItIs(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(write(ctx, tx, "a"), write(ctx, tx, "b"))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		return write(ctx, tx, "a")
	})
	if pgErr, ok := err.(*pgconn.PgError); !ok || pgErr.Code != "23505" { //nolint:errorlint // bare, as GORM reads it
		t.Errorf("got %T %v", err, err)
	}
	// The work swallows an error that has ended the transaction.
	err = lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		_ = write(ctx, tx, "a")
		return nil
	})
	if err == nil {
		t.Error("a COMMIT that became a ROLLBACK is no success")
	}
	err = lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
		func(ctx context.Context, tx *sql.Tx) error {
			var isolation string
			if err := tx.QueryRowContext(ctx, "show transaction_isolation").Scan(&isolation); err != nil || isolation != "repeatable read" {
				t.Errorf("isolation %q, error %v", isolation, err)
			}
			return write(ctx, tx, "c")
		})
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "25006" {
		t.Errorf("a write in a read-only transaction: %v", err)
	}
	mustHave(t, db, "a", "b")
}

// skew makes two transactions that read all notes and write one each, at once: one of
// them has to fail under serializable isolation.
func skew(t *testing.T, db *sql.DB, tries *int, early bool) func(context.Context, *sql.Tx) error {
	t.Helper()
	serializable := lifeguard.TxnOptions{Isolation: sql.LevelSerializable}
	readAndWrite := func(ctx context.Context, q lifeguard.Querier, text string) error {
		_, err := lifeguard.Execute(ctx, q, "insert into note select $1 || count(*) from note", text)
		return err
	}
	return func(ctx context.Context, tx *sql.Tx) error {
		*tries++
		if early {
			if err := readAndWrite(ctx, tx, "mine"); err != nil {
				return err
			}
		} else if _, err := lifeguard.Query[string](ctx, tx, "select text from note"); err != nil {
			return err
		}
		if *tries == 1 {
			other := func(ctx context.Context, tx *sql.Tx) error { return readAndWrite(ctx, tx, "other") }
			// Not with ctx: this is somebody else's transaction.
			if err := lifeguard.Txn(t.Context(), db, serializable, other); err != nil {
				t.Error(err)
			}
		}
		if early {
			return nil // COMMIT fails
		}
		return readAndWrite(ctx, tx, "mine")
	}
}

func TestTxnRetriesASerializationFailureOnlyWhenAsked(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("at COMMIT %t", early), func(t *testing.T) {
			db := notes(t)
			opts := lifeguard.TxnOptions{Isolation: sql.LevelSerializable}
			tries := 0
			err := lifeguard.Txn(t.Context(), db, opts, skew(t, db, &tries, early))
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "40001" || tries != 1 {
				t.Fatalf("unasked: %d tries, error %v", tries, err)
			}
			mustHave(t, db, "other0")

			if _, err := db.ExecContext(t.Context(), "delete from note"); err != nil {
				t.Fatal(err)
			}
			opts.Attempts, tries = 3, 0
			err = lifeguard.Txn(t.Context(), db, opts, skew(t, db, &tries, early))
			if err != nil || tries != 2 {
				t.Fatalf("%d tries, error %v", tries, err)
			}
			mustHave(t, db, "mine1", "other0")
		})
	}
}

func TestTxnRetriesADeadlock(t *testing.T) {
	db := notes(t, "deadlock_timeout=10ms")
	if err := errors.Join(write(t.Context(), db, "a"), write(t.Context(), db, "b")); err != nil {
		t.Fatal(err)
	}
	lock := func(ctx context.Context, tx *sql.Tx, text string) error {
		_, err := tx.ExecContext(ctx, "update note set text = text where text = $1", text)
		return err
	}
	var first, both sync.WaitGroup // the first attempts meet with one lock each
	first.Add(2)
	var tries atomic.Int64
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		both.Go(func() {
			mine := 0
			err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{Attempts: 5}, func(ctx context.Context, tx *sql.Tx) error {
				tries.Add(1)
				mine++
				if err := lock(ctx, tx, order[0]); err != nil {
					return err
				}
				if mine == 1 {
					first.Done()
					first.Wait()
				}
				return lock(ctx, tx, order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := tries.Load(); n < 3 {
		t.Errorf("%d attempts: there was no deadlock", n)
	}
}

func TestTxnGivesUpWhenAttemptsOrTimeAreUsedUp(t *testing.T) {
	db := notes(t, "pool_max_conns=1")
	failing := func(tries *int) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			*tries++
			_, err := tx.ExecContext(ctx, "do $$ begin raise exception sqlstate '40001'; end $$")
			return err
		}
	}
	var pgErr *pgconn.PgError
	tries := 0
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{Attempts: 4, MinBackoff: time.Millisecond}, failing(&tries))
	if !errors.As(err, &pgErr) || tries != 4 {
		t.Errorf("%d attempts, error %v", tries, err)
	}

	// No pause is begun that the deadline does not leave time for.
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	tries = 0
	opts := lifeguard.TxnOptions{Attempts: 1000, MinBackoff: 1000 * time.Hour, MaxBackoff: 1000 * time.Hour}
	for range 3 { // the jitter may make a pause short
		tries = 0
		if err = lifeguard.Txn(ctx, db, opts, failing(&tries)); tries == 1 {
			break
		}
	}
	if !errors.As(err, &pgErr) || tries != 1 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d attempts, error %v", tries, err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	tries = 0
	work := failing(&tries)
	err = lifeguard.Txn(ctx, db, opts, func(workCtx context.Context, tx *sql.Tx) error {
		err := work(workCtx, tx)
		time.AfterFunc(20*time.Millisecond, cancel)
		return err
	})
	if !errors.Is(err, context.Canceled) || !errors.As(err, &pgErr) || tries != 1 {
		t.Errorf("cancelled in a pause: %d attempts, error %v", tries, err)
	}
	for _, opts := range []lifeguard.TxnOptions{{Attempts: -1}, {MinBackoff: -1}, {MaxBackoff: -1}} {
		if err := lifeguard.Txn(t.Context(), db, opts, failing(&tries)); err == nil || errors.As(err, &pgErr) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestACancelledTxnRollsBackAndLeavesNothing(t *testing.T) {
	for _, mode := range []string{"close", "keep"} {
		db := notes(t, "pool_max_conns=1", "lifeguard_cancel="+mode)
		ctx, cancel := context.WithCancel(t.Context())
		err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{Attempts: 3}, func(ctx context.Context, tx *sql.Tx) error {
			if err := write(ctx, tx, "lost"); err != nil {
				return err
			}
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err := tx.ExecContext(ctx, "select pg_sleep(60)")
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", mode, err)
		}
		// Cancelled between the work and COMMIT.
		ctx, cancel = context.WithCancel(t.Context())
		err = lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			err := write(ctx, tx, "lost too")
			cancel()
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", mode, err)
		}
		mustHave(t, db)
		mustHoldNoSlot(t, db)
	}
}
