package thirdparty

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"
)

type author struct {
	ID    int64    `bun:",pk,autoincrement"`
	Name  string   `bun:",unique"`
	Books []*book  `bun:"rel:has-many,join:id=author_id"`
	Tags  []string `bun:",array"`
}

type book struct {
	ID       int64 `bun:",pk,autoincrement"`
	AuthorID int64
	Author   *author `bun:"rel:belongs-to,join:author_id=id"`
	Title    string
	Extra    map[string]any `bun:"type:jsonb"`
	Out      time.Time      `bun:",nullzero"`
	Touched  int            `bun:"touched"`
}

var _ bun.BeforeAppendModelHook = (*book)(nil)

// BeforeAppendModel counts in the row how often it was written.
func (b *book) BeforeAppendModel(_ context.Context, query bun.Query) error {
	switch query.(type) {
	case *bun.InsertQuery, *bun.UpdateQuery:
		b.Touched++
	}
	return nil
}

func openBun(t *testing.T, w *world) *bun.DB {
	t.Helper()
	db := bun.NewDB(w.db, pgdialect.New())
	must(t, db.ResetModel(t.Context(), (*author)(nil), (*book)(nil)))
	must(t, db.ResetModel(t.Context(), (*author)(nil), (*book)(nil)))
	return db
}

func TestBunRelatesAndScans(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		ctx, db := t.Context(), openBun(t, w)
		ann := &author{Name: "Ann", Tags: []string{"x", `y"z`}}
		_, err := db.NewInsert().Model(ann).Exec(ctx)
		must(t, err)
		books := []*book{
			{AuthorID: ann.ID, Title: "One", Extra: map[string]any{"pages": 10}},
			{AuthorID: ann.ID, Title: "Two", Out: time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)},
		}
		_, err = db.NewInsert().Model(&books).Exec(ctx)
		must(t, err)
		w.note("ids", ann.ID, books[0].ID, books[1].ID)

		var authors []author
		must(t, db.NewSelect().Model(&authors).Relation("Books", func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("id") }).Scan(ctx))
		for _, b := range authors[0].Books {
			w.note("book", authors[0].Tags, b.Title, b.Extra, b.Out.UTC(), b.Touched)
		}
		got := new(book)
		must(t, db.NewSelect().Model(got).Relation("Author").Where("title = ?", "Two").Scan(ctx))
		w.note("author", got.Author.Name)

		values := map[string]any{}
		must(t, db.NewRaw("select b.*, a.tags from books b join authors a on a.id = b.author_id where b.id in (?)", bun.List([]int{1})).Scan(ctx, &values))
		w.note("map", values)
		n, err := db.NewSelect().Model((*book)(nil)).Where("extra->>'pages' = ?", "10").Count(ctx)
		must(t, err)
		exists, err := db.NewSelect().Model((*book)(nil)).Where("title = ?", "Three").Exists(ctx)
		must(t, err)
		w.note("counted", n, exists)
		err = db.NewSelect().Model(got).Where("title = ?", "Three").Scan(ctx)
		w.note("missing", errors.Is(err, sql.ErrNoRows))

		_, err = db.NewInsert().Model(&author{Name: "Ann", Tags: []string{"new"}}).On("conflict (name) do update").Set("tags = excluded.tags").Exec(ctx)
		must(t, err)
		_, err = db.NewInsert().Model(&author{Name: "Ann"}).Exec(ctx)
		w.note("duplicate", err)
		update := db.NewUpdate().Model(&books).Column("title", "touched").Bulk()
		books[0].Title = "Uno"
		result, err := update.Exec(ctx)
		must(t, err)
		affected, err := result.RowsAffected()
		must(t, err)
		var titles []string
		must(t, db.NewSelect().Model((*book)(nil)).Column("title").Order("id").Scan(ctx, &titles))
		w.note("bulk", affected, titles)
	})
}

func TestBunNestsTransactions(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		ctx, db := t.Context(), openBun(t, w)
		add := func(ctx context.Context, tx bun.IDB, name string) error {
			_, err := tx.NewInsert().Model(&author{Name: name}).Exec(ctx)
			return err
		}
		failed := errors.New("no more")
		must(t, db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			must(t, add(ctx, tx, "outer"))
			err := tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { // a savepoint
				return errors.Join(add(ctx, tx, "undone"), add(ctx, tx, "undone"), failed)
			})
			w.note("inner", errors.Is(err, failed))
			return tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return add(ctx, tx, "inner") })
		}))
		err := db.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error { return add(ctx, tx, "x") })
		w.note("read only", err)
		var names []string
		must(t, db.NewSelect().Model((*author)(nil)).Column("name").Order("id").Scan(ctx, &names))
		w.note("authors", names)
	})
}

func TestBunMigratesUnderItsLock(t *testing.T) {
	t.Parallel()
	compare(t, 2, func(t *testing.T, w *world) {
		ctx, db := t.Context(), openBun(t, w)
		migrations := migrate.NewMigrations()
		migrations.Add(migrate.Migration{
			Name: "20240101000000", Comment: "pets",
			Up: func(ctx context.Context, m *migrate.Migrator, _ *migrate.Migration) error {
				_, err := m.DB().ExecContext(ctx, "create table pets (id int); insert into pets values (1)")
				return err
			},
			Down: func(ctx context.Context, m *migrate.Migrator, _ *migrate.Migration) error {
				_, err := m.DB().ExecContext(ctx, "drop table pets")
				return err
			},
		})
		migrator := migrate.NewMigrator(db, migrations)
		must(t, migrator.Init(ctx), migrator.Lock(ctx))
		if err := migrate.NewMigrator(db, migrations).Lock(ctx); err == nil {
			t.Error("two migrators hold the lock")
		}
		group, err := migrator.Migrate(ctx)
		must(t, err)
		w.note("migrated", len(group.Migrations))
		group, err = migrator.Migrate(ctx)
		must(t, err, migrator.Unlock(ctx))
		w.note("again", group.IsZero())
		_, err = migrator.Rollback(ctx)
		must(t, err)
		_, err = db.ExecContext(ctx, "select * from pets")
		w.note("rolled back", fmt.Sprint(err))
	})
}
