// Package crud finds, inserts, updates and deletes rows in one line each. The types are
// Bun's models (https://bun.uptrace.dev), and Bun writes the SQL.
//
//	type Pet struct {
//		ID      int64 `bun:",pk,autoincrement"`
//		OwnerID int64
//		Name    string
//		Born    time.Time
//	}
//
//	pets, err := crud.Find[Pet](ctx, db, crud.Filter{"owner_id": 7}, crud.Order("-born"), crud.Limit(10))
//	rex, err := crud.FindByOne[Pet](ctx, db, "name", "Rex")
//	n, err := crud.Update[Pet](ctx, db, crud.Set{"name": "Max"}, crud.Filter{"id": rex.ID})
//
// db is anything that runs statements: a *sql.DB, a *sql.Tx (that of [lifeguard.Txn], for
// one) or a *sql.Conn, on Lifeguard or pgx/stdlib.
//
// # Where each macro went
//
//	macro                             function                   result
//	lifeguard_connect                 lifeguard.Connect          *sql.DB
//	lifeguard_execute                 lifeguard.Execute          rows affected
//	lifeguard_query                   lifeguard.Query            []T, of any SQL
//	lifeguard_insert                  crud.Insert                the rows, with what the server filled in
//	lifeguard_update                  crud.Update, crud.Save     rows updated; one row by its key
//	lifeguard_delete                  crud.Delete                rows deleted
//	lifeguard_find                    crud.Find                  []T
//	lifeguard_find_one                crud.FindOne               the first T, or sql.ErrNoRows
//	lifeguard_find_many               crud.FindMany              the same as Find, but one T at a time
//	lifeguard_find_by                 crud.FindBy                []T with a value in a column
//	lifeguard_find_by_one             crud.FindByOne             the first of them, or sql.ErrNoRows
//	lifeguard_find_by_many            crud.FindByMany            the same as FindBy, but one T at a time
//	lifeguard_find_by_count           crud.FindByCount           how many there are
//	lifeguard_find_by_exists          crud.FindByExists          whether there is at least one
//	lifeguard_find_by_exists_one      crud.FindByExistsOne       whether there is exactly one
//	lifeguard_find_by_exists_many     crud.FindByExistsMany      whether there are two or more
//	lifeguard_find_by_exists_count    crud.FindByExistsCount     FindByCount up to a limit, where it stops
//
// lifeguard_go, lifeguard_txn and lifeguard_insert_many are lifeguard.Go, lifeguard.Txn and
// lifeguard.InsertMany. "By" names one column and its value; the others take a [Filter] or
// a [Where], and so do the "By" functions for what else must hold.
//
// # What is checked
//
// A column that the model does not have is an error that names those it has, before
// anything is sent. Update and Delete need a condition: none, or an empty Filter, is an
// error; [All] says that every row is meant.
//
// # What Bun does
//
// A table is named by its model, in the plural and in snake case, unless the model says
// otherwise: bun.BaseModel with `bun:"table:pets"`. Soft deletes, relations, arrays, JSON
// and hooks of models work as Bun documents them. Bun writes values into the text of a
// statement, quoted, instead of sending them beside it, which counts on the server's
// standard_conforming_strings being on, its default.
package crud

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"

	"github.com/lifeguard-go/lifeguard"
)

// A DB runs statements: a *sql.DB, *sql.Tx or *sql.Conn.
type DB = lifeguard.Querier

// models is Bun without a database: each query is told its own. What it learns of a type
// is kept, which is what makes the second query of a model cheap.
//
//nolint:gochecknoglobals // see above
var models = sync.OnceValue(func() *bun.DB { return bun.NewDB(nil, pgdialect.New()) })

// tableOf returns what Bun knows of T.
func tableOf[T any]() (*schema.Table, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("crud: a model is a struct, not %v", t)
	}
	table := models().Table(t)
	if len(table.Fields) == 0 {
		return nil, fmt.Errorf("crud: the model %v has no columns", t)
	}
	return table, nil
}

// fieldOf finds a column, or says which there are.
func fieldOf(table *schema.Table, column string) (*schema.Field, error) {
	for _, f := range table.Fields {
		if f.Name == column {
			return f, nil
		}
	}
	return nil, fmt.Errorf("crud: %s has no column %q; it has %s", table.Name, column, columnList(table))
}

func columnList(table *schema.Table) string {
	names := make([]string, len(table.Fields))
	for i, f := range table.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

var errNilRow = errors.New("crud: the row is nil")
