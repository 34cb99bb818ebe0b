package crud

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// An Option is a part of a search: a [Condition], [Columns], [Order], [Limit], [Offset] or
// [Build].
type Option interface {
	apply(table *schema.Table, q *bun.SelectQuery) error
}

// A Condition chooses rows: a [Filter], a [Where], a [Key], or [All]. Of several, all must
// hold.
type Condition interface {
	Option
	clauses(table *schema.Table) ([]clause, error)
}

// clause is a condition as Bun takes it.
type clause struct {
	text string
	args []any
}

// A Filter names columns and the values that they must have, all of them. nil, a nil
// pointer or a Valuer of nil means that the column is null. A slice means any of its
// values, and none if it is empty; of a column that is an array, it is the array.
type Filter map[string]any

func (f Filter) clauses(table *schema.Table) ([]clause, error) {
	var all []clause
	for _, column := range slices.Sorted(maps.Keys(f)) { // one order, one statement
		c, err := equals(table, column, f[column])
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// equals is one column's condition.
func equals(table *schema.Table, column string, wanted any) (clause, error) {
	field, err := fieldOf(table, column)
	if err != nil {
		return clause{}, err
	}
	name, v := bun.Safe(string(table.SQLAlias)+"."+string(field.SQLName)), newValue(field, wanted)
	if v.isList() {
		if v.v.Len() == 0 {
			return clause{"false", nil}, nil
		}
		return clause{"? IN (?)", []any{name, list{v}}}, nil
	}
	null, err := v.isNull()
	switch {
	case err != nil:
		return clause{}, err
	case null:
		return clause{"? IS NULL", []any{name}}, nil
	}
	return clause{"? = ?", []any{name, v}}, nil
}

func (f Filter) apply(table *schema.Table, q *bun.SelectQuery) error { return applyWhere(f, table, q) }

// Where is a condition in SQL, with ? for each argument. Columns are written as they are.
//
//	crud.Where("born < ? OR name ILIKE ?", day, "r%")
func Where(text string, args ...any) Condition { return sqlWhere{text, args} }

type sqlWhere clause

func (w sqlWhere) clauses(*schema.Table) ([]clause, error) {
	if strings.TrimSpace(w.text) == "" {
		return nil, errors.New("crud: Where has no text; for every row there is All")
	}
	return []clause{clause(w)}, nil
}

func (w sqlWhere) apply(table *schema.Table, q *bun.SelectQuery) error {
	return applyWhere(w, table, q)
}

// Key is the condition to be this row, by the model's primary key.
func Key[T any](row *T) Condition { return keyOf{row: reflect.ValueOf(row)} }

type keyOf struct{ row reflect.Value }

func (k keyOf) clauses(table *schema.Table) ([]clause, error) {
	switch {
	case k.row.IsNil():
		return nil, errNilRow
	case k.row.Type().Elem() != table.Type:
		return nil, fmt.Errorf("crud: the Key of a %v does not choose rows of %s", k.row.Type().Elem(), table.Name)
	case len(table.PKs) == 0:
		return nil, fmt.Errorf("crud: the model %v has no primary key; a field of it needs the tag `bun:\",pk\"`", table.Type)
	}
	filter := Filter{}
	for _, f := range table.PKs {
		filter[f.Name] = f.Value(k.row.Elem()).Interface()
	}
	return filter.clauses(table)
}

func (k keyOf) apply(table *schema.Table, q *bun.SelectQuery) error { return applyWhere(k, table, q) }

// All is the condition that every row meets, for an Update or Delete of all.
func All() Condition { return allRows{} }

type allRows struct{}

func (allRows) clauses(*schema.Table) ([]clause, error)         { return []clause{{text: "true"}}, nil }
func (allRows) apply(_ *schema.Table, _ *bun.SelectQuery) error { return nil }

func applyWhere(c Condition, table *schema.Table, q *bun.SelectQuery) error {
	all, err := c.clauses(table)
	for _, c := range all {
		q.Where(c.text, c.args...)
	}
	return err
}

// option is an Option that is no Condition.
type option func(table *schema.Table, q *bun.SelectQuery) error

func (o option) apply(table *schema.Table, q *bun.SelectQuery) error { return o(table, q) }

// Columns chooses which columns are read; the fields of the others stay zero.
func Columns(columns ...string) Option {
	return option(func(table *schema.Table, q *bun.SelectQuery) error {
		for _, column := range columns {
			if _, err := fieldOf(table, column); err != nil {
				return err
			}
			q.Column(column)
		}
		return nil
	})
}

// Order sorts by columns, ascending, or descending if a minus sign stands before the name:
// Order("-born", "name"). Nulls are last in ascending order and first in descending.
func Order(columns ...string) Option {
	return option(func(table *schema.Table, q *bun.SelectQuery) error {
		for _, column := range columns {
			name, descending := strings.CutPrefix(column, "-")
			field, err := fieldOf(table, name)
			if err != nil {
				return err
			}
			direction := "ASC"
			if descending {
				direction = "DESC"
			}
			q.OrderExpr("?.? ?", table.SQLAlias, field.SQLName, bun.Safe(direction))
		}
		return nil
	})
}

// Limit ends the result after n rows; 0 finds none.
func Limit(n int64) Option {
	return option(func(_ *schema.Table, q *bun.SelectQuery) error {
		switch {
		case n < 0:
			return fmt.Errorf("crud: Limit is %d; it must be 0 or more", n)
		case n == 0: // which Bun takes for no limit
			q.Where("false")
			return nil
		}
		q.Limit(n)
		return nil
	})
}

// Offset leaves out the first n rows. The server has to find them all the same: to page
// through much, filter by the last key seen.
func Offset(n int64) Option {
	return option(func(_ *schema.Table, q *bun.SelectQuery) error {
		if n < 0 {
			return fmt.Errorf("crud: Offset is %d; it must be 0 or more", n)
		}
		q.Offset(n)
		return nil
	})
}

// Build adds to the query what only Bun can say: joins, relations, FOR UPDATE…
//
//	crud.Build(func(q *bun.SelectQuery) *bun.SelectQuery { return q.Relation("Owner").For("UPDATE SKIP LOCKED") })
func Build(add func(*bun.SelectQuery) *bun.SelectQuery) Option {
	return option(func(_ *schema.Table, q *bun.SelectQuery) error {
		q.Apply(add)
		return nil
	})
}
