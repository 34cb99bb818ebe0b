package pgtest

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Open opens a new database of this test's own, as [DSN] makes it, through a driver of
// database/sql, and runs statements in it, for tables and rows. A statement without
// arguments may be a whole file of SQL. The *sql.DB is closed and the database dropped when
// the test ends.
//
//	db := pgtest.Open(t, "lifeguard", "create table pets (id int primary key, name text)")
//
// This is also what becomes of temporary tables in tests: they belong to one session, which
// a *sql.DB with several does not keep, and a database of its own is as temporary. Tables
// that many tests need are cheaper in Options.Template.
func Open(t testing.TB, driver string, statements ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}

	return db
}

// A Row is one row of a table, by column. Columns that are not named have their default.
type Row map[string]any

// Insert puts rows into a table, named as table or schema.table, in their order. q is a
// *sql.DB, a *sql.Tx or a *sql.Conn; the values are what its driver takes.
//
//	pgtest.Insert(t, db, "pets", pgtest.Row{"id": 1, "name": "Rex"}, pgtest.Row{"id": 2, "name": "Mia"})
func Insert(t testing.TB, q interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, table string, rows ...Row,
) {
	t.Helper()
	for i, row := range rows {
		statement, args := insertSQL(table, row)
		if _, err := q.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatalf("pgtest: insert row %d into %s: %v", i, table, err)
		}
	}
}

func insertSQL(table string, row Row) (statement string, args []any) {
	name := make([]string, 0, 2)
	for part := range strings.SplitSeq(table, ".") {
		name = append(name, quote(part))
	}
	statement = "INSERT INTO " + strings.Join(name, ".")
	if len(row) == 0 {
		return statement + " DEFAULT VALUES", nil
	}
	var columns, places []string
	for _, column := range slices.Sorted(maps.Keys(row)) {
		columns = append(columns, quote(column))
		args = append(args, row[column])
		places = append(places, "$"+strconv.Itoa(len(args)))
	}

	return statement + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")", args
}
