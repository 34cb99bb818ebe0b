package lifeguard_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// refusals collects what OnRowError is told.
type refusals struct {
	rows []any
	errs []*lifeguard.RowError
}

func (r *refusals) onRowError(row any, err *lifeguard.RowError) {
	r.rows, r.errs = append(r.rows, row), append(r.errs, err)
}

func (r *refusals) indexes() []int {
	var out []int
	for _, err := range r.errs {
		out = append(out, int(err.Index))
	}
	slices.Sort(out)
	return out
}

const secret = "s3cret value"

func TestRefusedRowsAreFoundAndAllOthersLand(t *testing.T) {
	for name, test := range map[string]struct {
		table  []string
		spoil  func(*batchItem)
		code   string
		column string
	}{
		"unique": {
			[]string{"create table item (id bigint, name text unique)", "insert into item values (-1, '" + secret + "')"},
			func(i *batchItem) { i.Name = secret }, "23505", "name",
		},
		"check":          {[]string{"create table item (id bigint check (id >= 0), name text)"}, func(i *batchItem) { i.ID = -2; i.Name = secret }, "23514", "id"},
		"length":         {[]string{"create table item (id bigint, name varchar(11))"}, func(i *batchItem) { i.Name = secret }, "22001", "name"},
		"not null":       {[]string{"create table item (id bigint, name text, twice text not null generated always as (nullif(name, '" + secret + "')) stored)"}, func(i *batchItem) { i.Name = secret }, "23502", "twice"},
		"a domain":       {[]string{"create domain short as text check (length(value) < 12)", "create table item (id bigint, name short)"}, func(i *batchItem) { i.Name = secret }, "23514", "name"},
		"an enum":        {[]string{"create type kind as enum ('dog', 'cat')", "create table item (id bigint, name kind)"}, func(i *batchItem) { i.Name = secret }, "22P02", "name"},
		"json":           {[]string{"create table item (id bigint, name jsonb)"}, func(i *batchItem) { i.Name = secret }, "22P02", "name"},
		"an encoding":    {[]string{"create table item (id bigint, name text)"}, func(i *batchItem) { i.Name = secret + "\xff" }, "22021", "name"},
		"a partition":    {[]string{"create table item (id bigint, name text) partition by list (name)", "create table p partition of item for values in ('dog')"}, func(i *batchItem) { i.Name = secret }, "23514", ""},
		"a foreign key":  {[]string{"create table owner (id bigint primary key)", "insert into owner select generate_series(0, 5000)", "create table item (id bigint references owner, name text)"}, func(i *batchItem) { i.ID = -1; i.Name = secret }, "23503", "id"},
		"a deferred key": {[]string{"create table owner (id bigint primary key)", "insert into owner select generate_series(0, 5000)", "create table item (id bigint references owner deferrable initially deferred, name text)"}, func(i *batchItem) { i.ID = -1; i.Name = secret }, "23503", "id"},
		"a trigger": {[]string{
			"create table item (id bigint, name text)",
			"create function fuss() returns trigger language plpgsql as $$ begin if new.id < 0 then raise exception 'no %', new.name; end if; return new; end $$",
			"create trigger fuss before insert on item for each row execute function fuss()",
		}, func(i *batchItem) { i.ID = -1; i.Name = secret }, "P0001", ""},
		"a trigger after": {[]string{
			"create table item (id bigint, name text)",
			"create function fuss() returns trigger language plpgsql as $$ begin if new.id < 0 then raise exception using errcode = 'ZZ001'; end if; return null; end $$",
			"create trigger fuss after insert on item for each row execute function fuss()",
		}, func(i *batchItem) { i.ID = -1; i.Name = secret }, "ZZ001", ""},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			for _, query := range test.table {
				mustExec(t, db, query)
			}
			valid := "dog"
			if name == "json" {
				valid = `{"a": 1}`
			}
			var told refusals
			b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 500, OnRowError: told.onRowError})
			bad := []int{0, 250, 499, 500, 501, 502, 1230, 1239}
			for i := range 1_240 {
				row := batchItem{int64(i), valid}
				if name == "unique" {
					row.Name = fmt.Sprint(i)
				}
				if slices.Contains(bad, i) {
					test.spoil(&row)
				}
				if err := b.Add(t.Context(), row); err != nil {
					t.Fatal(err)
				}
			}
			stats, err := b.Close(t.Context())
			if got := told.indexes(); !slices.Equal(got, bad) {
				t.Errorf("refused %v, not %v", got, bad)
			}
			if n := one[int](t, db, "select count(*) from item where id >= 0"); n != 1_240-len(bad) {
				t.Errorf("%d rows landed", n)
			}
			if stats.Refused != int64(len(bad)) || stats.Written != int64(1_240-len(bad)) || stats.Pending != 0 {
				t.Errorf("%+v", stats)
			}
			var batchErr *lifeguard.BatchError
			if !errors.As(err, &batchErr) || batchErr.Refused != int64(len(bad)) || batchErr.First.Index != 0 || batchErr.Cause != nil {
				t.Fatalf("Close says %v", err)
			}
			for i, rowErr := range told.errs {
				var pgErr *pgconn.PgError
				if !errors.As(rowErr, &pgErr) || pgErr.Code != test.code {
					t.Fatalf("row %d: %v", rowErr.Index, rowErr.Err)
				}
				if got := strings.Join(rowErr.Columns, ", "); got != test.column {
					t.Errorf("columns %q, not %q (%q)", got, test.column, pgErr.Where)
				}
				if row, ok := told.rows[i].(batchItem); !ok || !strings.HasPrefix(row.Name, secret) && row.ID >= 0 {
					t.Errorf("the dead letter is %+v", row)
				}
				if strings.Contains(rowErr.Error()+err.Error(), secret) {
					t.Errorf("the error tells a value: %v", rowErr)
				}
			}
		})
	}
}

func TestEveryPatternOfRefusalsIsResolved(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table owner (id bigint primary key)")
	mustExec(t, db, "insert into owner select generate_series(0, 300)")
	mustExec(t, db, "create table item (id bigint references owner check (id < 1000), name text, place bigserial)")
	for round := range 40 {
		mustExec(t, db, "truncate item")
		var told refusals
		b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 1 + rand.N(90), OnRowError: told.onRowError})
		var bad []int
		share := rand.N(5)
		for i := range 200 {
			row := batchItem{int64(i), "x"}
			if rand.N(10) < share {
				bad = append(bad, i)
				row.ID = []int64{500, 5000}[rand.N(2)] // the foreign key, or the check
			}
			addAll(t, b, []batchItem{row})
		}
		_, _ = b.Close(t.Context())
		if got := told.indexes(); !slices.Equal(got, bad) {
			t.Fatalf("round %d: refused %v, not %v", round, got, bad)
		}
		ids := scanned[int64](t, db, "select id from item order by place")
		if len(ids) != 200-len(bad) || !slices.IsSorted(ids) {
			t.Fatalf("round %d: %d rows landed of %d, in order: %v", round, len(ids), 200-len(bad), slices.IsSorted(ids))
		}
	}
}

// countStatements makes each committed INSERT or COPY into item leave a row in statements.
func countStatements(t *testing.T, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "create table statements (n int)")
	mustExec(t, db, "create function count_it() returns trigger language plpgsql as $$ begin insert into statements values (1); return null; end $$")
	mustExec(t, db, "create trigger count_it after insert on item for each statement execute function count_it()")
}

func TestOneRefusedRowCostsOneMoreRoundOfItsChunk(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint primary key, name text)")
	mustExec(t, db, "insert into item values (7000, 'there')")
	countStatements(t, db)
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{})
	addAll(t, b, items(10_000))
	_, err := b.Close(t.Context())
	var batchErr *lifeguard.BatchError
	if !errors.As(err, &batchErr) || batchErr.Refused != 1 || batchErr.First.Index != 7000 || batchErr.Written != 9_999 {
		t.Errorf("%v", err)
	}
	if n := one[int](t, db, "select count(*) from statements"); n != 1 {
		t.Errorf("the rest took %d transactions, not 1", n)
	}
}

func TestMoreRefusalsThanMaxRowErrorsStopTheLoading(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint primary key, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 10, MaxRowErrors: 3})
	for range 100 {
		if err := b.Add(t.Context(), batchItem{1, "the same"}); err != nil {
			if !errors.Is(err, lifeguard.ErrBatchRowErrors) {
				t.Errorf("Add says %v", err)
			}
			break
		}
	}
	stats, err := b.Close(t.Context())
	var batchErr *lifeguard.BatchError
	if !errors.As(err, &batchErr) || !errors.Is(err, lifeguard.ErrBatchRowErrors) {
		t.Fatalf("Close says %v", err)
	}
	if batchErr.Refused != 4 || batchErr.Written != 1 || batchErr.Unwritten != stats.Added-5 {
		t.Errorf("%+v of %d", batchErr, stats.Added)
	}
}
