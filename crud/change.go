package crud

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/uptrace/bun/schema"
)

// Insert inserts rows in one statement, and sets in them what the server has filled in:
// keys that count up by themselves, and columns with a default that were zero (Bun's tags
// autoincrement and nullzero). One row that is refused refuses all. Without rows nothing
// is done.
//
// It is meant for some hundred rows: for many, [lifeguard.InsertMany] is several times
// faster.
func Insert[T any](ctx context.Context, db DB, rows ...*T) error {
	if _, err := tableOf[T](); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	if slices.Contains(rows, nil) {
		return errNilRow
	}
	var err error
	if len(rows) == 1 {
		_, err = models().NewInsert().Conn(db).Model(rows[0]).Exec(ctx)
	} else {
		_, err = models().NewInsert().Conn(db).Model(&rows).Exec(ctx)
	}
	return err
}

// A Set names columns and their new values. nil is NULL.
type Set map[string]any

// Update changes columns of the rows that meet all conditions, and returns how many those
// were. There must be a condition; see [All].
func Update[T any](ctx context.Context, db DB, set Set, where ...Condition) (int64, error) {
	table, clauses, err := chosen[T]("Update", where)
	if err != nil {
		return 0, err
	}
	if len(set) == 0 {
		return 0, fmt.Errorf("crud: Update of %s has an empty Set; it may have %s", table.Name, columnList(table))
	}
	q := models().NewUpdate().Conn(db).Model((*T)(nil))
	for _, column := range slices.Sorted(maps.Keys(set)) {
		field, err := fieldOf(table, column)
		if err != nil {
			return 0, err
		}
		q.Set("? = ?", field.SQLName, newValue(field, set[column]))
	}
	for _, c := range clauses {
		q.Where(c.text, c.args...)
	}
	return affected(q.Exec(ctx))
}

// Save updates one row, found by the model's primary key: the columns named, or all. If
// there is no such row, the error is [sql.ErrNoRows].
func Save[T any](ctx context.Context, db DB, row *T, columns ...string) error {
	table, clauses, err := chosen[T]("Save", []Condition{Key(row)})
	if err != nil {
		return err
	}
	q := models().NewUpdate().Conn(db).Model(row)
	for _, column := range columns {
		field, err := fieldOf(table, column)
		if err != nil {
			return err
		}
		if field.IsPK {
			return fmt.Errorf("crud: Save finds the row of %s by column %q, and cannot change it; Update can", table.Name, column)
		}
	}
	q.Column(columns...)
	for _, c := range clauses {
		q.Where(c.text, c.args...)
	}
	n, err := affected(q.Exec(ctx))
	if err == nil && n == 0 {
		return sql.ErrNoRows
	}
	return err
}

// Delete deletes the rows that meet all conditions, and returns how many those were. There
// must be a condition; see [All], and [Key] for one row. A model with Bun's soft_delete has
// its rows marked instead.
func Delete[T any](ctx context.Context, db DB, where ...Condition) (int64, error) {
	_, clauses, err := chosen[T]("Delete", where)
	if err != nil {
		return 0, err
	}
	q := models().NewDelete().Conn(db).Model((*T)(nil))
	for _, c := range clauses {
		q.Where(c.text, c.args...)
	}
	return affected(q.Exec(ctx))
}

// chosen returns the conditions of a change, of which each must say something: one that
// came out empty would change more than was meant.
func chosen[T any](verb string, where []Condition) (*schema.Table, []clause, error) {
	table, err := tableOf[T]()
	if err != nil {
		return nil, nil, err
	}
	var all []clause
	for _, c := range where {
		some, err := c.clauses(table)
		if err != nil {
			return nil, nil, err
		}
		if len(some) == 0 {
			return nil, nil, fmt.Errorf("crud: %s of %s has an empty Filter; it may have %s, and for every row there is All",
				verb, table.Name, columnList(table))
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("crud: %s of %s has no condition; it may have a Filter of %s, a Where or a Key, and for every row there is All",
			verb, table.Name, columnList(table))
	}
	return table, all, nil
}

func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
