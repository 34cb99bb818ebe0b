package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard"
)

// otherDriver is a driver without pgx: it remembers what it is told, and refuses a
// statement that has the parameter "bad".
type otherDriver struct {
	log       []string
	committed [][]driver.Value
	tx        [][]driver.Value
	commitErr error
}

func (d *otherDriver) Connect(context.Context) (driver.Conn, error) { return &otherConn{d}, nil }
func (d *otherDriver) Driver() driver.Driver                        { return d }
func (d *otherDriver) Open(string) (driver.Conn, error)             { return &otherConn{d}, nil }

type otherConn struct{ d *otherDriver }

func (*otherConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no") }
func (*otherConn) Close() error                        { return nil }

func (c *otherConn) Begin() (driver.Tx, error) {
	c.d.tx = nil
	return c, nil
}

func (c *otherConn) Commit() error {
	if c.d.commitErr != nil {
		return c.d.commitErr
	}
	c.d.committed = append(c.d.committed, c.d.tx...)
	return nil
}

func (c *otherConn) Rollback() error { return nil }

func (c *otherConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.d.log = append(c.d.log, query)
	var values []driver.Value
	for _, arg := range args {
		if arg.Value == "bad" {
			return nil, errors.New("constraint failed")
		}
		values = append(values, arg.Value)
	}
	if strings.Count(query, "$") != len(args) || len(args) > 65535 {
		return nil, fmt.Errorf("%d parameters for %.40s", len(args), query)
	}
	c.d.tx = append(c.d.tx, values)
	return driver.RowsAffected(len(args)), nil
}

func TestOnAnotherDriverRowsGoInByValues(t *testing.T) {
	d := &otherDriver{}
	db := sql.OpenDB(d)
	defer db.Close()
	var told refusals
	b := newInserter[batchItem](t, db, "shop.item", lifeguard.BatchConfig{
		MaxRows: 40_000, OnRowError: told.onRowError,
		OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}},
	})
	rows := items(40_000)
	rows[35_000].Name = "bad"
	addAll(t, b, rows)
	stats, err := b.Close(t.Context())
	if err == nil || stats.Written != 39_999 || stats.Refused != 1 || !slices.Equal(told.indexes(), []int{35_000}) {
		t.Errorf("%+v, %v, %v", stats, err, told.indexes())
	}
	var ids []int64
	for _, values := range d.committed {
		for i := 0; i < len(values); i += 2 {
			id, ok := values[i].(int64)
			if !ok {
				t.Fatalf("the id is a %T", values[i])
			}
			ids = append(ids, id)
		}
	}
	if len(ids) != 39_999 || !slices.IsSorted(ids) {
		t.Errorf("%d rows, in order: %v", len(ids), slices.IsSorted(ids))
	}
	const begins, ends = `insert into "shop"."item" ("id", "name") values ($1, $2), ($3, $4)`, ` on conflict ("id") do update set "name" = excluded."name"`
	if q := d.log[0]; !strings.HasPrefix(q, begins) || !strings.HasSuffix(q, ends) {
		t.Errorf("%.100s … %s", q, q[len(q)-60:])
	}
}

func TestOnAnotherDriverALostCommitIsUncertain(t *testing.T) {
	d := &otherDriver{commitErr: errors.New("connection reset")}
	db := sql.OpenDB(d)
	defer db.Close()
	b := newInserter[[]any](t, db, "item", lifeguard.BatchConfig{Columns: []string{"id"}})
	addAll(t, b, [][]any{{1}, {2}})
	_, err := b.Close(t.Context())
	var batchErr *lifeguard.BatchError
	if !errors.Is(err, lifeguard.ErrBatchUncertain) || !errors.As(err, &batchErr) || batchErr.Unwritten != 2 {
		t.Errorf("%v", err)
	}
	if _, err := lifeguard.CopyInto(t.Context(), db, "item", slices.Values(items(1))); err == nil {
		t.Error("CopyInto works without pgx")
	}
}
