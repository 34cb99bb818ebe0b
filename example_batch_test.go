package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

type measurement struct {
	ID     int64 `db:"id,default"` // the server's
	Sensor string
	Value  float64
	At     time.Time `db:"measured_at"`
}

// Rows are added as they come; an inserter collects, sends and retries.
func ExampleBatchInserter() {
	dsn, stop := startPostgres()
	defer stop()
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	_, err = db.ExecContext(ctx, `create table measurement (id bigserial primary key, sensor text,
		value float8 check (value >= -273.15), measured_at timestamptz)`)
	if err != nil {
		log.Fatal(err)
	}

	inserter, err := lifeguard.NewBatchInserter[measurement](db, "public.measurement", lifeguard.BatchConfig{
		Workers: 2,
		OnRowError: func(row any, err *lifeguard.RowError) { // the dead letters
			if refused, ok := row.(measurement); ok {
				fmt.Println("refused:", refused.Value, err.Columns)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 25_000 {
		m := measurement{Sensor: "roof", Value: float64(i % 30), At: time.Now()}
		if i == 20_000 {
			m.Value = -300
		}
		if err := inserter.Add(ctx, m); err != nil {
			log.Fatal(err)
		}
	}
	stats, err := inserter.Close(ctx)

	var incomplete *lifeguard.BatchError
	if errors.As(err, &incomplete) {
		fmt.Println("not written:", incomplete.Refused+incomplete.Unwritten)
	}
	fmt.Println(stats.Written, "rows in", stats.Chunks, "chunks")
	// Output:
	// refused: -300 [value]
	// not written: 1
	// 24999 rows in 3 chunks
}

// The common case in one call; here as an upsert.
func ExampleInsertMany() {
	dsn, stop := startPostgres()
	defer stop()
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "create table stock (sku text primary key, amount int)"); err != nil {
		log.Fatal(err)
	}

	type stock struct {
		SKU    string
		Amount int
	}
	rows := []stock{{"leash", 3}, {"bowl", 7}, {"leash", 4}}
	_, err = lifeguard.InsertMany(ctx, db, "stock", slices.Values(rows), lifeguard.BatchConfig{
		OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"sku"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	var leashes int
	if err := db.QueryRowContext(ctx, "select amount from stock where sku = 'leash'").Scan(&leashes); err != nil {
		log.Fatal(err)
	}
	fmt.Println(leashes)
	// Output: 4
}

// COPY as a part of a transaction of database/sql.
func ExampleCopyInto() {
	dsn, stop := startPostgres()
	defer stop()
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "create table pet (name text, born date)"); err != nil {
		log.Fatal(err)
	}

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() // after Commit it does nothing
	pets := [][]any{{"Rex", "2020-05-01"}, {"Mia", time.Date(2023, 1, 2, 0, 0, 0, 0, time.UTC)}, {"Tom", nil}}
	n, err := lifeguard.CopyInto(ctx, tx, "pet", slices.Values(pets))
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "pets")
	// Output: 3 pets
}
