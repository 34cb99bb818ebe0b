// Command sqlx is sqlx on Lifeguard. sqlx knows drivers by their name: lifeguardsqlx tells it about
// this one. Without it, give a *sql.DB the name pgx.
package main

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
	_ "github.com/lifeguard-go/lifeguard/lifeguardsqlx" // the driver, whose placeholders are $1 and not ?
)

type pet struct {
	ID   int64
	Name string
	Legs int
}

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	db, err := sqlx.ConnectContext(ctx, "lifeguard", dsn)
	if err != nil {
		return err
	}
	defer db.Close()

	if _, err := db.ExecContext(ctx, "create table pets (id bigserial primary key, name text, legs int)"); err != nil {
		return err
	}
	pets := []pet{{Name: "Rex", Legs: 4}, {Name: "Polly", Legs: 2}, {Name: "Nemo"}}
	if _, err := db.NamedExecContext(ctx, "insert into pets (name, legs) values (:name, :legs)", pets); err != nil {
		return err
	}
	query, args, err := sqlx.In("select * from pets where legs in (?) order by id", []int{2, 4})
	if err != nil {
		return err
	}
	var walking []pet
	if err := db.SelectContext(ctx, &walking, db.Rebind(query), args...); err != nil {
		return err
	}
	for _, p := range walking {
		fmt.Printf("%d: %s has %d legs\n", p.ID, p.Name, p.Legs)
	}
	return nil
}
