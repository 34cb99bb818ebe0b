package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/lifeguard-go/lifeguard"
)

// Several queries at once, over as many connections as there are.
func ExampleGo() {
	dsn, stop := startPostgres("pool_max_conns=2")
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	count := func(from, to int) *lifeguard.Future[int64] {
		return lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) (n int64, err error) {
			err = q.QueryRowContext(ctx, "select count(*) from generate_series($1::int, $2::int)", from, to).Scan(&n)
			return n, err
		})
	}
	few, many := count(1, 10), count(1, 1000)
	for _, future := range []*lifeguard.Future[int64]{few, many} {
		n, err := future.Wait(ctx)
		fmt.Println(n, err)
	}
	// Output:
	// 10 <nil>
	// 1000 <nil>
}

// A panic does not end the program.
func ExamplePanicError() {
	dsn, stop := startPostgres()
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_, err = lifeguard.Go(ctx, db, func(context.Context, lifeguard.Querier) (int, error) {
		pets := map[string][]int{"Rex": {1, 2, 3}}
		return pets["Mia"][3], nil
	}).Wait(ctx)
	fmt.Println(err)
	var panicked *lifeguard.PanicError
	fmt.Println(errors.As(err, &panicked) && len(panicked.Stack) > 0)
	// Output:
	// lifeguard: panic in Go: runtime error: index out of range [3] with length 0
	// true
}

// Functions that need a transaction say so themselves. Called inside another's, they
// become a part of it: with pool_max_conns=1 too, and undone without undoing the rest.
func ExampleTxn() {
	dsn, stop := startPostgres("pool_max_conns=1")
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	_, err = lifeguard.Execute(ctx, db, `create table account (name text primary key, balance int check (balance >= 0));
		insert into account values ('Ada', 100), ('Grace', 0)`)
	if err != nil {
		log.Fatal(err)
	}

	opts := lifeguard.TxnOptions{Isolation: sql.LevelSerializable, Attempts: 5}
	transfer := func(ctx context.Context, amount int) error {
		return lifeguard.Txn(ctx, db, opts, func(ctx context.Context, tx *sql.Tx) error {
			for name, change := range map[string]int{"Grace": amount, "Ada": -amount} {
				if _, err := lifeguard.Execute(ctx, tx, "update account set balance = balance + $1 where name = $2", change, name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = lifeguard.Txn(ctx, db, opts, func(ctx context.Context, _ *sql.Tx) error {
		if err := transfer(ctx, 30); err != nil {
			return err
		}
		if err := transfer(ctx, 1000); err != nil {
			fmt.Println("not that much") // undone to the savepoint; the transfer of 30 stands
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	balances, err := lifeguard.Query[int](ctx, db, "select balance from account order by name")
	fmt.Println(balances, err)
	// Output:
	// not that much
	// [70 30] <nil>
}

// Rows become structs by the columns' names.
func ExampleQuery() {
	dsn, stop := startPostgres()
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	type pet struct {
		ID     int64
		Name   string `db:"pet_name"`
		Weight *float64
		Tags   []string
	}
	pets, err := lifeguard.Query[pet](ctx, db, `select 1 as id, 'Rex' as pet_name, array['loud', 'brown'] as tags
		union all select 2, 'Mia', null`)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range pets {
		fmt.Println(p.ID, p.Name, p.Weight == nil, p.Tags)
	}
	// Output:
	// 1 Rex true [loud brown]
	// 2 Mia true []
}

func ExampleExecute() {
	dsn, stop := startPostgres()
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	n, err := lifeguard.Execute(ctx, db, "create table n as select generate_series(1, 5) as n; delete from n where n > 2")
	fmt.Println(n, err)
	// Output: 3 <nil>
}
