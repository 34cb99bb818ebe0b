// Command ent does with Lifeguard what a client that ent generated does: it gets a driver
// from entsql.OpenDB. With generated code the rest of it is
//
//	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, db)))
package main

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	db, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	drv := entsql.OpenDB(dialect.Postgres, db)

	// client.Schema.Create(ctx)
	users := schema.NewTable("users").
		AddPrimary(&schema.Column{Name: "id", Type: field.TypeInt64, Increment: true}).
		AddColumn(&schema.Column{Name: "name", Type: field.TypeString, Unique: true})
	migrate, err := schema.NewMigrate(drv)
	if err != nil {
		return err
	}
	if err := migrate.Create(ctx, users); err != nil {
		return err
	}

	// client.User.Create().SetName(name).Save(ctx)
	for _, name := range []string{"Ann", "Bob", "Ann"} {
		spec := sqlgraph.NewCreateSpec("users", sqlgraph.NewFieldSpec("id", field.TypeInt64))
		spec.SetField("name", field.TypeString, name)
		switch err := sqlgraph.CreateNode(ctx, drv, spec); {
		case sqlgraph.IsUniqueConstraintError(err):
			fmt.Println(name, "is taken")
		case err != nil:
			return err
		default:
			fmt.Println(name, "has id", spec.ID.Value)
		}
	}

	// client.User.Query().Where(user.NameHasPrefix("A")).Count(ctx)
	b := entsql.Dialect(dialect.Postgres)
	query, args := b.Select(entsql.Count("*")).From(b.Table("users")).Where(entsql.HasPrefix("name", "A")).Query()
	var rows entsql.Rows
	if err := drv.Query(ctx, query, args, &rows); err != nil {
		return err
	}
	defer rows.Close()
	n, err := entsql.ScanInt(rows)
	if err != nil {
		return err
	}
	fmt.Println(n, "user begins with A")
	return rows.Err()
}
