// Command bun is Bun on Lifeguard: a relation, a transaction in a transaction, and a
// request that goes before others.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

type author struct {
	ID    int64 `bun:",pk,autoincrement"`
	Name  string
	Books []*book `bun:"rel:has-many,join:id=author_id"`
}

type book struct {
	ID       int64 `bun:",pk,autoincrement"`
	AuthorID int64
	Title    string
	Tags     []string `bun:",array"`
}

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	pool, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	db := bun.NewDB(pool, pgdialect.New())
	defer db.Close()

	if err := db.ResetModel(ctx, (*author)(nil), (*book)(nil)); err != nil {
		return err
	}
	err = db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		ann := &author{Name: "Ann"}
		if _, err := tx.NewInsert().Model(ann).Exec(ctx); err != nil {
			return err
		}
		books := []*book{{AuthorID: ann.ID, Title: "One", Tags: []string{"red", "long"}}, {AuthorID: ann.ID, Title: "Two"}}
		if _, err := tx.NewInsert().Model(&books).Exec(ctx); err != nil {
			return err
		}
		undone := errors.New("changed my mind")
		err := tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { // a savepoint
			if _, err := tx.NewDelete().Model((*book)(nil)).Where("true").Exec(ctx); err != nil {
				return err
			}
			return undone
		})
		if !errors.Is(err, undone) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}

	// Who waits for a connection waits before reports and the like.
	ctx = lifeguard.WithPriority(ctx, lifeguard.Critical)
	var authors []author
	if err := db.NewSelect().Model(&authors).Relation("Books").Scan(ctx); err != nil {
		return err
	}
	for _, a := range authors {
		fmt.Println(a.Name, "wrote", len(a.Books), "books; the first is tagged", a.Books[0].Tags)
	}
	return nil
}
