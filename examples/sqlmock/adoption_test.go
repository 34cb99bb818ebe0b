package adoption_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	adoption "github.com/lifeguard-go/lifeguard/examples/sqlmock"
)

const (
	update = `update pets set owner_id = \$1 where id = \$2`
	insert = `insert into history`
)

// mock returns a *sql.DB that expects what the test says, in that order, and nothing else.
func mock(t *testing.T) (*sql.DB, sqlmock.Sqlmock) {
	t.Helper()
	db, expect, err := sqlmock.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := expect.ExpectationsWereMet(); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	return db, expect
}

func TestAnAdoptionIsOneTransaction(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectBegin()
	expect.ExpectExec(update).WithArgs(7, 3).WillReturnResult(sqlmock.NewResult(0, 1))
	expect.ExpectExec("^savepoint lifeguard_1$").WillReturnResult(sqlmock.NewResult(0, 0)) // Note is part of it
	expect.ExpectExec(insert).WithArgs(3, "adopted by owner 7").WillReturnResult(sqlmock.NewResult(0, 1))
	expect.ExpectExec("^release savepoint lifeguard_1$").WillReturnResult(sqlmock.NewResult(0, 0))
	expect.ExpectCommit()
	if err := adoption.Adopt(t.Context(), db, 3, 7); err != nil {
		t.Error(err)
	}
}

func TestAPetThatIsTakenIsRolledBack(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectBegin()
	expect.ExpectExec(update).WillReturnResult(sqlmock.NewResult(0, 0))
	expect.ExpectRollback()
	if err := adoption.Adopt(t.Context(), db, 3, 7); !errors.Is(err, adoption.ErrTaken) {
		t.Error(err)
	}
}

// What takes two sessions and luck on a server takes one line here.
func TestAnAdoptionIsTriedAgainAfterASerializationFailure(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectBegin()
	expect.ExpectExec(update).WillReturnError(&pgconn.PgError{Code: "40001"})
	expect.ExpectRollback()
	expect.ExpectBegin()
	expect.ExpectExec(update).WillReturnResult(sqlmock.NewResult(0, 1))
	expect.ExpectExec("^savepoint").WillReturnResult(sqlmock.NewResult(0, 0))
	expect.ExpectExec(insert).WillReturnResult(sqlmock.NewResult(0, 1))
	expect.ExpectExec("^release").WillReturnResult(sqlmock.NewResult(0, 0))
	expect.ExpectCommit()
	if err := adoption.Adopt(t.Context(), db, 3, 7); err != nil {
		t.Error(err)
	}
}

func TestALostAnswerToCommitIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	lost := errors.New("connection reset")
	expect.ExpectBegin()
	expect.ExpectExec(insert).WillReturnResult(sqlmock.NewResult(0, 1))
	expect.ExpectCommit().WillReturnError(lost)
	if err := adoption.Note(t.Context(), db, 3, "x"); !errors.Is(err, lost) {
		t.Error(err)
	}
}

func TestAnOverloadReachesTheCaller(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectBegin().WillReturnError(&lifeguard.OverloadError{Reason: lifeguard.ReasonQueueFull, RetryAfter: time.Second})
	err := adoption.Adopt(t.Context(), db, 3, 7)
	var overload *lifeguard.OverloadError
	if !errors.As(err, &overload) || overload.RetryAfter != time.Second {
		t.Error(err)
	}
}

// If a nested transaction cannot be undone by itself, the whole one is, even if the code
// around it swallows the error.
func TestWhatCannotBeUndoneIsNotCommitted(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectBegin()
	expect.ExpectExec("^savepoint").WillReturnResult(sqlmock.NewResult(0, 0))
	expect.ExpectExec(insert).WillReturnError(errors.New("no space"))
	expect.ExpectExec("^rollback to savepoint lifeguard_1$").WillReturnError(errors.New("no more"))
	expect.ExpectRollback()
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, _ *sql.Tx) error {
		_ = adoption.Note(ctx, db, 3, "not important")
		return nil
	})
	if err == nil {
		t.Error("committed")
	}
}

func TestWaitingReadsPets(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	expect.ExpectQuery("^select id, name, chip from pets").
		WillReturnRows(sqlmock.NewRows([]string{"id", "name", "chip"}).AddRow(1, "Rex", "c1").AddRow(2, "Mia", nil)).
		RowsWillBeClosed()
	pets, err := adoption.Waiting(t.Context(), db)
	if err != nil || len(pets) != 2 || pets[0].Name != "Rex" || *pets[0].Chip != "c1" || pets[1].Chip != nil {
		t.Errorf("%+v, error %v", pets, err)
	}
}

func TestRowsThatBreakOffAreAnError(t *testing.T) {
	t.Parallel()
	db, expect := mock(t)
	broken := errors.New("broken off")
	expect.ExpectQuery("^select").
		WillReturnRows(sqlmock.NewRows([]string{"id"}).AddRow(1).AddRow(2).RowError(1, broken)).
		RowsWillBeClosed()
	pets, err := lifeguard.Go(t.Context(), db, func(ctx context.Context, q lifeguard.Querier) ([]adoption.Pet, error) {
		return adoption.Waiting(ctx, q)
	}).Wait(t.Context())
	if !errors.Is(err, broken) {
		t.Errorf("%v, error %v", pets, err)
	}
}

// A test as a function, for the documentation.
func Example() {
	db, expect, err := sqlmock.New()
	if err != nil {
		panic(err)
	}
	defer db.Close()
	expect.ExpectQuery("^select").WillReturnRows(sqlmock.NewRows([]string{"id", "name"}).AddRow(1, "Rex"))

	pets, err := adoption.Waiting(context.Background(), db)
	fmt.Println(pets[0].Name, err)
	// Output: Rex <nil>
}
