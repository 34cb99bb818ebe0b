package lifeguard

import (
	"context"
	"database/sql"
	"errors"
)

// A Querier runs statements: a *sql.DB, a *sql.Tx or a *sql.Conn, of any driver. Code
// that takes one can be called inside a transaction and outside.
type Querier interface {
	Execer
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

var (
	_ Querier = (*sql.DB)(nil)
	_ Querier = (*sql.Conn)(nil)
	_ Querier = (*sql.Tx)(nil)
)

// Connect is [Open] that also makes sure, until ctx ends, that the server answers.
// Sharing the result is the point of it: one for each database and process.
func Connect(ctx context.Context, dsn string) (*sql.DB, error) {
	db, err := Open(dsn) //nolint:contextcheck // it outlives ctx
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Execute runs a statement and returns how many rows it affected, 0 if the driver cannot
// tell. Without arguments the text may hold several statements; then the last one counts.
func Execute(ctx context.Context, q Querier, query string, args ...any) (int64, error) {
	result, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, nil //nolint:nilerr // the statement succeeded; a driver may not count
	}
	return n, nil
}

// Query runs a query and returns all its rows, which is no error if there are none. T is
// what a row is scanned into:
//
//   - a struct, whose fields are found by the columns' names as [BatchInserter] does, by
//     the tag `db:"name"` or the field's name in snake case. A column without a field is
//     an error; a field without a column stays zero;
//   - any other type that Scan takes, time.Time and the Null types of database/sql
//     included, for a query of one column.
//
// NULL needs a pointer, a Null type or a []byte. Slices take PostgreSQL's arrays. The
// rows are all in memory; for a result that is too large, use QueryContext.
func Query[T any](ctx context.Context, q Querier, query string, args ...any) (all []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	row := new(T)
	targets, err := scanTargets(row, columns)
	if err != nil {
		return nil, err
	}
	var zero T
	for rows.Next() {
		*row = zero // slices and pointers must not be shared by rows
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		all = append(all, *row)
	}
	return all, rows.Err()
}
