package thirdparty

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/lifeguard-go/lifeguard"
)

type person struct {
	ID    int64
	First string `db:"first_name"`
	Email *string
}

// openSqlx opens the world's database with sqlx in each way that knows $1.
func openSqlx(t *testing.T, w *world) map[string]*sqlx.DB {
	t.Helper()
	sqlx.BindDriver(lifeguard.DriverName, sqlx.DOLLAR)
	sqlx.BindDriver(insistentName, sqlx.DOLLAR)
	opened, err := sqlx.Open(w.driver, w.dsn)
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return map[string]*sqlx.DB{"NewDb": sqlx.NewDb(w.db, "pgx"), "Open": opened}
}

func TestSqlxNamesAndBinds(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		w.exec(t, "create table people (id bigserial primary key, first_name text, email text)")
		ways := openSqlx(t, w)
		for _, way := range []string{"NewDb", "Open"} {
			w.exec(t, "truncate people restart identity")
			useSqlx(t, w, ways[way])
		}
	})
}

func useSqlx(t *testing.T, w *world, db *sqlx.DB) {
	t.Helper()
	ctx, mail := t.Context(), "a@b"
	people := []person{{First: "Ann", Email: &mail}, {First: "Bob"}, {First: "Cid"}}
	_, err := db.NamedExecContext(ctx, "insert into people (first_name, email) values (:first_name, :email)", people)
	must(t, err)

	var found []person
	query, args, err := sqlx.In("select * from people where first_name in (?) and id < ? order by id", []string{"Ann", "Bob"}, 10)
	must(t, err, db.SelectContext(ctx, &found, db.Rebind(query), args...))
	for _, p := range found {
		w.note("found", p.ID, p.First, p.Email != nil)
	}
	must(t, db.SelectContext(ctx, &found, "select * from people where id = any($1)", []int64{1, 3}))
	w.note("any", len(found))

	rows, err := db.NamedQueryContext(ctx, "select * from people where first_name = :first_name", map[string]any{"first_name": "Ann"})
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		values := map[string]any{}
		must(t, rows.MapScan(values))
		w.note("map", values)
	}
	must(t, rows.Err())
	slice, err := db.QueryRowxContext(ctx, values).SliceScan()
	must(t, err)
	w.note("slice", slice)

	var one person
	w.note("missing", errors.Is(db.GetContext(ctx, &one, "select * from people where id = $1", 99), sql.ErrNoRows))
	named, err := db.PrepareNamedContext(ctx, "select * from people where id > :id order by id limit 1")
	must(t, err)
	defer named.Close()
	must(t, named.GetContext(ctx, &one, person{ID: 1}))
	w.note("prepared", one.First)

	tx, err := db.BeginTxx(ctx, nil)
	must(t, err)
	defer tx.Rollback()
	stmt, err := tx.PreparexContext(ctx, "insert into people (first_name) values ($1) returning *")
	must(t, err)
	defer stmt.Close()
	must(t, stmt.QueryRowxContext(ctx, "Dan").StructScan(&one))
	w.note("inserted", one.ID, one.First)
	_, err = tx.NamedExecContext(ctx, "update people set email = :email where id = :id", person{ID: 1})
	must(t, err, tx.Commit())
	var n int
	must(t, db.GetContext(ctx, &n, "select count(*) from people where email is null"))
	w.note("without e-mail", n)
}

func TestSqlxDoesNotKnowAnyOtherName(t *testing.T) {
	t.Parallel()
	if got := sqlx.BindType("a driver that nobody has named"); got != sqlx.UNKNOWN {
		t.Errorf("sqlx binds with %d, want UNKNOWN: BindDriver is not needed any more, say so in docs/ecosystem.md", got)
	}
}
