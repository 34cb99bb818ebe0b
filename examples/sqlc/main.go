// Command sqlc uses code that sqlc made, with sql_package: database/sql, on Lifeguard.
package main

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
	"github.com/lifeguard-go/lifeguard/examples/sqlc/petdb"
)

//go:embed petdb/schema.sql
var schema string

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	db, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return err
	}

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	queries := petdb.New(db).WithTx(tx)
	var ids []int64
	for _, name := range []string{"Rex", "Polly"} {
		pet, err := queries.AddPet(ctx, petdb.AddPetParams{Name: name, Tags: []string{"loud", name}})
		if err != nil {
			return err
		}
		ids = append(ids, pet.ID)
	}
	if _, err := queries.Rename(ctx, petdb.RenameParams{Name: "King", Column2: ids[:1]}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}

	pets, err := petdb.New(db).PetsTagged(ctx, "loud")
	if err != nil {
		return err
	}
	for _, pet := range pets {
		fmt.Println(pet.ID, pet.Name, pet.Tags)
	}
	return nil
}
