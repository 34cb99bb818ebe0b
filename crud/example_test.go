package crud_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/crud"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// connect gives an example a database with empty tables. A program has a DSN.
func connect() (db *sql.DB, stop func()) {
	ctx := context.Background()
	server, err := pgtest.Start(ctx, pgtest.Options{Template: createTables})
	if err != nil {
		log.Fatal(err)
	}
	dsn, _, err := server.CreateDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}
	db, err = lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		if err := errors.Join(db.Close(), server.Stop()); err != nil {
			log.Fatal(err)
		}
	}
}

// A Pet is a row of the table pets, as Bun reads its tags.
type Pet struct {
	ID      int64 `bun:",pk,autoincrement"`
	OwnerID *int64
	Name    string
	Born    time.Time
	Weight  *float64
}

func Example() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()
	born := func(year int) time.Time { return time.Date(year, 5, 1, 0, 0, 0, 0, time.UTC) }

	rex := &Pet{Name: "Rex", Born: born(2018)}
	if err := crud.Insert(ctx, db, rex, &Pet{Name: "Mia", Born: born(2021)}, &Pet{Name: "Tom", Born: born(2023)}); err != nil {
		log.Fatal(err)
	}

	young, err := crud.Find[Pet](ctx, db, crud.Where("born > ?", born(2020)), crud.Order("-born"), crud.Limit(10))
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range young {
		fmt.Println(p.Name, p.Born.Year())
	}

	n, err := crud.Update[Pet](ctx, db, crud.Set{"weight": 4.5}, crud.Filter{"name": []string{"Mia", "Tom"}})
	fmt.Println(n, "updated", err)

	unweighed, err := crud.FindByExistsOne[Pet](ctx, db, "weight", nil)
	fmt.Println("exactly one without a weight:", unweighed, err)

	n, err = crud.Delete[Pet](ctx, db, crud.Key(rex))
	fmt.Println(n, "deleted", err)
	_, err = crud.FindByOne[Pet](ctx, db, "name", "Rex")
	fmt.Println(errors.Is(err, sql.ErrNoRows))
	// Output:
	// Tom 2023
	// Mia 2021
	// 2 updated <nil>
	// exactly one without a weight: true <nil>
	// 1 deleted <nil>
	// true
}

// A mistake in a name is found before anything is sent.
func ExampleDelete() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()

	_, err := crud.Delete[Pet](ctx, db, crud.Filter{"colour": "brown"})
	fmt.Println(err)
	_, err = crud.Delete[Pet](ctx, db, crud.Filter{})
	fmt.Println(err)
	// Output:
	// crud: pets has no column "colour"; it has id, owner_id, name, born, weight
	// crud: Delete of pets has an empty Filter; it may have id, owner_id, name, born, weight, and for every row there is All
}

// In a transaction, the functions take its *sql.Tx.
func ExampleSave() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()
	mia := &Pet{Name: "Mia", Born: time.Date(2021, 5, 1, 0, 0, 0, 0, time.UTC)}
	if err := crud.Insert(ctx, db, mia); err != nil {
		log.Fatal(err)
	}

	err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		p, err := crud.FindOne[Pet](ctx, tx, crud.Key(mia))
		if err != nil {
			return err
		}
		p.Name = "Maria"
		return crud.Save(ctx, tx, &p, "name")
	})
	if err != nil {
		log.Fatal(err)
	}
	for p, err := range crud.FindMany[Pet](ctx, db, crud.Columns("name")) {
		fmt.Println(p.Name, err)
	}
	// Output: Maria <nil>
}
