// Package petdb is what sqlc makes of schema.sql and queries.sql with
//
//	version: "2"
//	sql:
//	  - engine: postgresql
//	    schema: schema.sql
//	    queries: queries.sql
//	    gen: {go: {package: petdb, out: ".", sql_package: database/sql}}
//
// It was written by hand in the style of sqlc 1.31, in one file and with fewer comments.
package petdb

import (
	"context"
	"database/sql"

	"github.com/lib/pq"
)

// DBTX is a *sql.DB, a *sql.Tx or a *sql.Conn.
type DBTX interface {
	ExecContext(context.Context, string, ...interface{}) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...interface{}) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...interface{}) *sql.Row
}

// New returns the queries on db.
func New(db DBTX) *Queries {
	return &Queries{db: db}
}

// Queries are those of queries.sql.
type Queries struct {
	db DBTX
}

// WithTx returns the queries in a transaction.
func (q *Queries) WithTx(tx *sql.Tx) *Queries {
	return &Queries{db: tx}
}

// Pet is a row of pets.
type Pet struct {
	ID   int64
	Name string
	Tags []string
	Born sql.NullTime
}

const addPet = `-- name: AddPet :one
insert into pets (name, tags) values ($1, $2) returning id, name, tags, born
`

// AddPetParams are the arguments of AddPet.
type AddPetParams struct {
	Name string
	Tags []string
}

// AddPet inserts a pet.
func (q *Queries) AddPet(ctx context.Context, arg AddPetParams) (Pet, error) {
	row := q.db.QueryRowContext(ctx, addPet, arg.Name, pq.Array(arg.Tags))
	var i Pet
	err := row.Scan(&i.ID, &i.Name, pq.Array(&i.Tags), &i.Born)
	return i, err
}

const petsTagged = `-- name: PetsTagged :many
select id, name, tags, born from pets where $1::text = any(tags) order by id
`

// PetsTagged finds pets.
func (q *Queries) PetsTagged(ctx context.Context, dollar1 string) ([]Pet, error) {
	rows, err := q.db.QueryContext(ctx, petsTagged, dollar1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var items []Pet
	for rows.Next() {
		var i Pet
		if err := rows.Scan(&i.ID, &i.Name, pq.Array(&i.Tags), &i.Born); err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return items, nil
}

const rename = `-- name: Rename :execrows
update pets set name = $1 where id = any($2::bigint[])
`

// RenameParams are the arguments of Rename.
type RenameParams struct {
	Name    string
	Column2 []int64
}

// Rename changes names.
func (q *Queries) Rename(ctx context.Context, arg RenameParams) (int64, error) {
	result, err := q.db.ExecContext(ctx, rename, arg.Name, pq.Array(arg.Column2))
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
