// Package adoption is code as an application has it: it takes a *sql.DB and neither knows
// nor cares which driver is under it. Its tests run it on go-sqlmock, without a server.
//
// A mock answers what it was told to answer: it shows how the code reacts to an error that
// is hard to come by, a refusal under overload for one, and not that the SQL is right. For
// that there is package pgtest, with a real PostgreSQL in a tenth of a second.
package adoption

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lifeguard-go/lifeguard"
)

// ErrTaken is returned by Adopt for a pet that somebody else has.
var ErrTaken = errors.New("adoption: the pet has an owner")

// Adopt gives a pet to an owner, and notes it in the pet's history.
func Adopt(ctx context.Context, db *sql.DB, petID, ownerID int64) error {
	opts := lifeguard.TxnOptions{Isolation: sql.LevelSerializable, Attempts: 3}
	return lifeguard.Txn(ctx, db, opts, func(ctx context.Context, tx *sql.Tx) error {
		n, err := lifeguard.Execute(ctx, tx, "update pets set owner_id = $1 where id = $2 and owner_id is null", ownerID, petID)
		switch {
		case err != nil:
			return err
		case n == 0:
			return ErrTaken
		}
		return Note(ctx, db, petID, fmt.Sprintf("adopted by owner %d", ownerID))
	})
}

// Note adds to a pet's history: in the transaction that ctx is of, or in one of its own.
func Note(ctx context.Context, db *sql.DB, petID int64, text string) error {
	return lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		_, err := lifeguard.Execute(ctx, tx, "insert into history (pet_id, note) values ($1, $2)", petID, text)
		return err
	})
}

// A Pet is what Waiting returns.
type Pet struct {
	ID   int64
	Name string
	Chip *string
}

// Waiting lists the pets without an owner.
func Waiting(ctx context.Context, q lifeguard.Querier) ([]Pet, error) {
	return lifeguard.Query[Pet](ctx, q, "select id, name, chip from pets where owner_id is null order by id")
}
