package lifeguard_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestAnUpsertEndsWithTheLastRowOfAKey(t *testing.T) {
	type tagged struct {
		ID   int64
		Name string
		Tags []string
	}
	for name, columns := range map[string]string{
		"by unnest":            "tags text",
		"by a temporary table": "tags text[]", // unnest would take it apart
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			mustExec(t, db, "create table item (id bigint unique, name text, times int not null default 0, "+columns+")")
			mustExec(t, db, "insert into item (id, name) select n, 'old' from generate_series(0, 99) n")
			countStatements(t, db)
			cfg := lifeguard.BatchConfig{
				Columns:    []string{"id", "name"},
				MaxRows:    300,
				OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}},
			}
			if name != "by unnest" {
				cfg.Columns = append(cfg.Columns, "tags")
				cfg.OnConflict.Update = []string{"tags", "name"}
			}
			b := newInserter[tagged](t, db, "item", cfg)
			for i := range 1_000 { // each key five times, in each chunk more than once
				addAll(t, b, []tagged{{int64(i % 200), fmt.Sprint("new ", i/200), []string{"a", "b"}}})
			}
			stats := closed(t, b)
			if stats.Written != 1_000 || stats.Refused != 0 {
				t.Errorf("%+v", stats)
			}
			if n := one[int](t, db, "select count(*) from item where name = 'new 4'"); n != 200 {
				t.Errorf("%d rows have the last value", n)
			}
			if n := one[int](t, db, "select count(*) from item"); n != 200 {
				t.Errorf("%d rows", n)
			}
			if n := one[int](t, db, "select count(*) from statements"); n != 4 {
				t.Errorf("4 chunks took %d statements", n)
			}
		})
	}
}

func TestEqualKeysAreEqualAsTheirTypeSays(t *testing.T) {
	type priced struct {
		Key  *string
		Name string
	}
	db := open(t)
	mustExec(t, db, "create table item (key numeric unique, name text)")
	b := newInserter[priced](t, db, "item", lifeguard.BatchConfig{
		OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"key"}},
	})
	addAll(t, b, []priced{{new("1.0"), "a"}, {nil, "d"}, {new("1.00"), "b"}, {nil, "e"}, {new("1"), "c"}})
	closed(t, b)
	if got := one[string](t, db, "select string_agg(name, ' ' order by name) from item"); got != "c d e" {
		t.Errorf("%q", got)
	}
}

func TestIgnoringConflictsKeepsWhatIsThere(t *testing.T) {
	for _, keys := range [][]string{nil, {"id"}} {
		db := open(t)
		mustExec(t, db, "create table item (id bigint primary key, name text)")
		mustExec(t, db, "insert into item values (1, 'old')")
		b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
			OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictIgnore, Keys: keys},
		})
		addAll(t, b, []batchItem{{1, "new"}, {2, "first"}, {2, "second"}})
		closed(t, b)
		if got := one[string](t, db, "select string_agg(name, ' ' order by id) from item"); got != "old first" {
			t.Errorf("%q", got)
		}
	}
}

func TestRowsThatAnUpsertRefusesAreFound(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint primary key check (id <> 333), name text)")
	var told refusals
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
		OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}},
		OnRowError: told.onRowError,
	})
	addAll(t, b, items(1_000))
	if stats, err := b.Close(t.Context()); err == nil || stats.Written != 999 || stats.Refused != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
	if got := told.indexes(); len(got) != 1 || got[0] != 333 {
		t.Errorf("refused %v", got)
	}
}

func TestAConflictsColumnsMustExist(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint primary key, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
		OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{`id") do nothing; --`}},
	})
	if err := b.Add(t.Context(), batchItem{}); err == nil {
		t.Error("accepted")
	}
	for _, c := range []lifeguard.Conflict{
		{Keys: []string{"id"}},
		{Action: lifeguard.ConflictUpdate},
		{Action: lifeguard.ConflictIgnore, Update: []string{"name"}},
		{Action: 9},
	} {
		if _, err := lifeguard.NewBatchInserter[batchItem](db, "item", lifeguard.BatchConfig{OnConflict: c}); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

func TestViewsAndRowLevelSecurityAreNoObstacle(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	mustExec(t, db, "create table item (id bigint generated always as identity, name text)")
	mustExec(t, db, "create view items as select * from item")
	b := newInserter[batchItem](t, db, "items", lifeguard.BatchConfig{Columns: []string{"name"}})
	addAll(t, b, items(10))
	closed(t, b)

	mustExec(t, db, "grant all on item to pg_monitor") // a role that is there and no superuser
	mustExec(t, db, "alter table item enable row level security")
	mustExec(t, db, "create policy own on item with check (name <> 'item 7')")
	tenant := openDSN(t, withSettings(dsn, "options=-crole%3Dpg_monitor"))
	var told refusals
	b = newInserter[batchItem](t, tenant, "item", lifeguard.BatchConfig{Columns: []string{"id", "name"}, OnRowError: told.onRowError})
	addAll(t, b, items(10))
	stats, err := b.Close(t.Context())
	if err == nil || stats.Written != 9 || !slices.Equal(told.indexes(), []int{7}) {
		t.Errorf("%+v, %v, %v", stats, err, told.indexes())
	}
	if n := one[int](t, db, "select count(*) from item"); n != 19 {
		t.Errorf("%d rows", n)
	}
}
