package crud

import (
	"context"
	"errors"
	"iter"

	"github.com/uptrace/bun"
)

// Find returns the rows that the options leave, all without any. No rows are no error.
func Find[T any](ctx context.Context, db DB, options ...Option) ([]T, error) {
	var rows []T
	q, err := search[T](db, &rows, options)
	if err != nil {
		return nil, err
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return rows, nil
}

// FindOne returns the first row that the options leave, or [sql.ErrNoRows]. Without an
// [Order] any of them may be the first. A [Limit] is not taken into account.
func FindOne[T any](ctx context.Context, db DB, options ...Option) (T, error) {
	var row, none T
	q, err := search[T](db, &row, options)
	if err != nil {
		return none, err
	}
	if err := q.Limit(1).Scan(ctx); err != nil {
		return none, err
	}
	return row, nil
}

// FindMany is [Find] for a result of any size: the rows come one at a time as they are read,
// so memory stays flat, and the connection is taken until the loop ends. An error is the
// last thing that comes.
//
//	for pet, err := range crud.FindMany[Pet](ctx, db) {
//		if err != nil { … }
//	}
//
// Of relations ([Build]) it reads none.
func FindMany[T any](ctx context.Context, db DB, options ...Option) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		q, err := search[T](db, (*T)(nil), options)
		if err != nil {
			yield(none, err)
			return
		}
		rows, err := q.Rows(ctx)
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var row T
			if err := models().ScanRow(ctx, rows, &row); err != nil {
				yield(none, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			yield(none, err)
		}
	}
}

// FindBy returns the rows whose column has the value, in the sense of [Filter].
func FindBy[T any](ctx context.Context, db DB, column string, value any, options ...Option) ([]T, error) {
	return Find[T](ctx, db, by(column, value, options)...)
}

// FindByOne returns the first row whose column has the value, or [sql.ErrNoRows].
func FindByOne[T any](ctx context.Context, db DB, column string, value any, options ...Option) (T, error) {
	return FindOne[T](ctx, db, by(column, value, options)...)
}

// FindByMany is [FindBy] as [FindMany] is Find.
func FindByMany[T any](ctx context.Context, db DB, column string, value any, options ...Option) iter.Seq2[T, error] {
	return FindMany[T](ctx, db, by(column, value, options)...)
}

func by(column string, value any, options []Option) []Option {
	return append([]Option{Filter{column: value}}, options...)
}

// FindByCount returns how many rows have the value in the column, and meet the conditions.
func FindByCount[T any](ctx context.Context, db DB, column string, value any, where ...Condition) (int64, error) {
	q, err := searchBy[T](db, column, value, where)
	if err != nil {
		return 0, err
	}
	return q.Count(ctx)
}

// FindByExists reports whether there is a row with the value in the column that meets the
// conditions. The server stops at the first.
func FindByExists[T any](ctx context.Context, db DB, column string, value any, where ...Condition) (bool, error) {
	n, err := FindByExistsCount[T](ctx, db, 1, column, value, where...)
	return n == 1, err
}

// FindByExistsOne reports whether there is exactly one. The server stops at the second.
func FindByExistsOne[T any](ctx context.Context, db DB, column string, value any, where ...Condition) (bool, error) {
	n, err := FindByExistsCount[T](ctx, db, 2, column, value, where...)
	return n == 1, err
}

// FindByExistsMany reports whether there are two or more. The server stops at the second.
func FindByExistsMany[T any](ctx context.Context, db DB, column string, value any, where ...Condition) (bool, error) {
	n, err := FindByExistsCount[T](ctx, db, 2, column, value, where...)
	return n == 2, err
}

// FindByExistsCount is [FindByCount] that counts no further than atMost, which spares the
// server the rest: for "more than 1,000", or a number of pages.
func FindByExistsCount[T any](ctx context.Context, db DB, atMost int64, column string, value any, where ...Condition) (n int64, err error) {
	q, err := searchBy[T](db, column, value, where)
	if err != nil {
		return 0, err
	}
	if err := Limit(atMost).apply(nil, q); err != nil {
		return 0, err
	}
	rows := models().NewSelect().Conn(db).TableExpr("(?) AS found", q.ColumnExpr("1"))
	err = rows.ColumnExpr("count(*)").Scan(ctx, &n)
	return n, err
}

func searchBy[T any](db DB, column string, value any, where []Condition) (*bun.SelectQuery, error) {
	options := []Option{Filter{column: value}}
	for _, c := range where {
		options = append(options, c)
	}
	return search[T](db, (*T)(nil), options)
}

// search makes a query of T that is scanned into dest.
func search[T any](db DB, dest any, options []Option) (*bun.SelectQuery, error) {
	table, err := tableOf[T]()
	if err != nil {
		return nil, err
	}
	q := models().NewSelect().Conn(db).Model(dest)
	for _, o := range options {
		if err := o.apply(table, q); err != nil {
			return nil, err
		}
	}
	return q, nil
}
