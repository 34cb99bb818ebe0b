// Command stdlib is plain database/sql: a transaction, an array, NULL, and a hundred
// goroutines on three connections.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	db, err := sql.Open("lifeguard", dsn+"&pool_max_conns=3")
	if err != nil {
		return err
	}
	defer db.Close()

	if _, err := db.ExecContext(ctx, "create table accounts (owner text primary key, cents bigint not null check (cents >= 0), note text)"); err != nil {
		return err
	}
	owners := []string{"Ann", "Bob"}
	if _, err := db.ExecContext(ctx, "insert into accounts select unnest($1::text[]), 1000", owners); err != nil {
		return err
	}

	// A hundred goroutines each move a cent or two.
	failures := make([]error, 100)
	var all sync.WaitGroup
	for i := range failures {
		all.Go(func() { failures[i] = transfer(ctx, db, owners[i%2], owners[1-i%2], 1+i%2) })
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}

	var ann int
	var note sql.NullString
	if err := db.QueryRowContext(ctx, "select cents, note from accounts where owner = $1", "Ann").Scan(&ann, &note); err != nil {
		return err
	}
	fmt.Printf("Ann has %d cents, noted: %v\n", ann, note.Valid)

	connector, err := lifeguard.FromDB(db)
	if err != nil {
		return err
	}
	fmt.Printf("%d transfers went over %d connections\n", len(failures), connector.Stats().Pool.Opened)
	return nil
}

func transfer(ctx context.Context, db *sql.DB, from, to string, cents int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Always in the same order, so that two transfers do not wait for each other.
	rows, err := tx.ExecContext(ctx, `update accounts set cents = cents + case owner when $1 then -$3::bigint else $3 end
		where owner in (select owner from accounts where owner in ($1, $2) order by owner for update)`, from, to, cents)
	if err != nil {
		return err
	}
	if n, err := rows.RowsAffected(); err != nil || n != 2 {
		return fmt.Errorf("%d accounts changed, want 2: %w", n, err)
	}
	return tx.Commit()
}
