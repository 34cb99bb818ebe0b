package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type batchItem struct {
	ID   int64
	Name string
}

func items(n int) []batchItem {
	rows := make([]batchItem, n)
	for i := range rows {
		rows[i] = batchItem{int64(i), fmt.Sprintf("item %d", i)}
	}
	return rows
}

func newInserter[T any](t testing.TB, db *sql.DB, table string, cfg lifeguard.BatchConfig) *lifeguard.BatchInserter[T] {
	t.Helper()
	b, err := lifeguard.NewBatchInserter[T](db, table, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.Close(context.Background()) })
	return b
}

func addAll[T any](t testing.TB, b *lifeguard.BatchInserter[T], rows []T) {
	t.Helper()
	for i, row := range rows {
		if err := b.Add(t.Context(), row); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
	}
}

func closed[T any](t testing.TB, b *lifeguard.BatchInserter[T]) lifeguard.BatchStats {
	t.Helper()
	stats, err := b.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// scanned returns the first column of a query.
func scanned[T any](t testing.TB, db *sql.DB, query string, args ...any) []T {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func one[T any](t testing.TB, db *sql.DB, query string, args ...any) T {
	t.Helper()
	rows := scanned[T](t, db, query, args...)
	if len(rows) != 1 {
		t.Fatalf("%s: %d rows", query, len(rows))
	}
	return rows[0]
}

func TestEveryRowAddedIsInTheTableAfterClose(t *testing.T) {
	for _, n := range []int{0, 1, 9_999, 10_000, 10_001, 35_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			db := open(t)
			mustExec(t, db, "create table item (id bigint primary key, name text not null)")
			b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{})
			addAll(t, b, items(n))
			stats := closed(t, b)
			if got := one[int](t, db, "select count(*) from item where name = 'item ' || id"); got != n {
				t.Errorf("%d rows, not %d", got, n)
			}
			if stats.Added != int64(n) || stats.Written != int64(n) || stats.Pending != 0 || stats.PendingBytes != 0 {
				t.Errorf("%+v", stats)
			}
			if want := int64((n + 9_999) / 10_000); stats.Chunks != want {
				t.Errorf("%d chunks, not %d", stats.Chunks, want)
			}
		})
	}
}

func TestOneWorkerKeepsTheOrder(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text, place bigserial)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 100})
	addAll(t, b, items(5_000))
	closed(t, b)
	if ids := scanned[int64](t, db, "select id from item order by place"); !slices.IsSorted(ids) || len(ids) != 5_000 {
		t.Errorf("%d rows, sorted: %v", len(ids), slices.IsSorted(ids))
	}
}

func TestManyGoroutinesMayAddAtOnce(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint primary key, name text)")
	b := newInserter[*batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 97, Workers: 3, MaxPendingBytes: 20_000})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1_000 {
				if err := b.Add(t.Context(), &batchItem{int64(g*1_000 + i), "x"}); err != nil {
					t.Error(err)
					return
				}
				if i%300 == 0 {
					if err := b.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	closed(t, b)
	if n := one[int](t, db, "select count(*) from item"); n != 8_000 {
		t.Errorf("%d rows", n)
	}
}

func TestFlushReturnsWhenWhatWasAddedIsIn(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{FlushInterval: -1})
	for i := range 5 {
		addAll(t, b, items(10))
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := one[int](t, db, "select count(*) from item"); n != 10*(i+1) {
			t.Errorf("%d rows", n)
		}
	}
}

func TestARowDoesNotWaitLongerThanFlushInterval(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text)")
	flushed := make(chan lifeguard.FlushInfo, 1)
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
		FlushInterval: 10 * time.Millisecond,
		OnFlush:       func(info lifeguard.FlushInfo) { flushed <- info },
	})
	addAll(t, b, items(3))
	select {
	case info := <-flushed:
		if info.Rows != 3 || info.Written != 3 || info.Err != nil {
			t.Errorf("%+v", info)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not flushed")
	}
}

func TestAddAfterCloseIsAnError(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{})
	addAll(t, b, items(1))
	closed(t, b)
	if err := b.Add(t.Context(), batchItem{}); !errors.Is(err, lifeguard.ErrBatchClosed) {
		t.Errorf("Add: %v", err)
	}
	if err := b.TryAdd(t.Context(), batchItem{}); !errors.Is(err, lifeguard.ErrBatchClosed) {
		t.Errorf("TryAdd: %v", err)
	}
	if stats := closed(t, b); stats.Written != 1 {
		t.Errorf("the second Close: %+v", stats)
	}
}

// lockTable keeps writers out until the returned function is called.
func lockTable(t testing.TB, dsn, table string) (unlock func()) {
	t.Helper()
	conn := observer(t, dsn)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table "+table+" in share mode"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestAddWaitsForRoomAndHonoursItsContext(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	mustExec(t, db, "create table item (id bigint, name text)")
	const most = 50_000
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 100, MaxPendingBytes: most})
	unlock := lockTable(t, dsn, "item")

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var err error
	added := 0
	for ; err == nil; added++ {
		err = b.Add(short, batchItem{int64(added), "a row of some bytes"})
	}
	added--
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a full inserter's Add says %v", err)
	}
	if err := b.TryAdd(t.Context(), batchItem{}); !errors.Is(err, lifeguard.ErrBatchFull) {
		t.Errorf("a full inserter's TryAdd says %v", err)
	}
	if stats := b.Stats(); stats.PendingBytes < most || stats.PendingBytes > most+100 || stats.Pending != int64(added) {
		t.Errorf("added %d: %+v", added, stats)
	}
	unlock()
	if stats := closed(t, b); stats.Written != int64(added) {
		t.Errorf("%+v", stats)
	}
}

func TestCloseStopsPromptlyWhenItsContextEnds(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 100, FlushInterval: -1})
	addAll(t, b, items(100))
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	unlock := lockTable(t, dsn, "item")
	defer unlock()
	addAll(t, b, items(250))

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	stats, err := b.Close(short)
	if took := time.Since(start); took > 15*time.Second { // the lock outlasts the test
		t.Errorf("took %v", took)
	}
	var batchErr *lifeguard.BatchError
	if !errors.As(err, &batchErr) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Close says %v", err)
	}
	if batchErr.Written != 100 || batchErr.Unwritten != 250 || stats.Written != 100 {
		t.Errorf("%+v", batchErr)
	}
	if n := one[int](t, db, "select count(*) from item"); n != 100 {
		t.Errorf("%d rows", n)
	}
}

func TestAFaultOfTheTableStopsTheLoading(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 10})
	addAll(t, b, items(10))
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "drop table item")
	addAll(t, b, items(10))
	err := b.Flush(t.Context())
	var batchErr *lifeguard.BatchError
	if !errors.As(err, &batchErr) || batchErr.Written != 10 || batchErr.Unwritten != 10 || batchErr.Refused != 0 {
		t.Errorf("Flush says %v", err)
	}
	if err := b.Add(t.Context(), batchItem{}); err == nil {
		t.Error("Add goes on")
	}
	if _, err := b.Close(t.Context()); !errors.As(err, &batchErr) || batchErr.Unwritten != 10 {
		t.Errorf("Close says %v", err)
	}
}

func TestAMissingTableOrColumnIsTheFirstAddsError(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint)")
	if err := newInserter[batchItem](t, db, "nothing", lifeguard.BatchConfig{}).Add(t.Context(), batchItem{}); err == nil {
		t.Error("a missing table is accepted")
	}
	if err := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{}).Add(t.Context(), batchItem{}); err == nil {
		t.Error("a missing column is accepted")
	}
}

func TestIdentityDefaultAndGeneratedColumnsAreLeftOut(t *testing.T) {
	type owned struct {
		batchItem           // ID and Name
		Created   time.Time `db:"created,default"`
		Twice     int64
		Hidden    int `db:"-"`
		private   int
	}
	db := open(t)
	mustExec(t, db, `create schema "Odd ""shop"""`)
	mustExec(t, db, `create table "Odd ""shop"""."a.table" (id bigint generated always as identity (start with 10),
		name text, created timestamptz not null default now(), twice bigint generated always as (length(name) * 2) stored)`)
	b := newInserter[owned](t, db, `"Odd ""shop"""."a.table"`, lifeguard.BatchConfig{})
	addAll(t, b, []owned{{batchItem: batchItem{ID: 1, Name: "abc"}}, {batchItem: batchItem{ID: 2, Name: "de"}, private: 1}})
	closed(t, b)
	got := scanned[string](t, db, `select id || name || twice from "Odd ""shop"""."a.table" where created > now() - interval '1 minute' order by id`)
	if !slices.Equal(got, []string{"10abc6", "11de4"}) {
		t.Errorf("%v", got)
	}

	named := newInserter[owned](t, db, `"Odd ""shop"""."a.table"`, lifeguard.BatchConfig{Columns: []string{"id", "name"}})
	addAll(t, named, []owned{{batchItem: batchItem{ID: 1, Name: "named"}}})
	closed(t, named)
	if id := one[int](t, db, `select id from "Odd ""shop"""."a.table" where name = 'named'`); id != 1 {
		t.Errorf("id %d", id)
	}
}

func TestInsertManyLoadsWhatAnIteratorYields(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id bigint, name text)")
	stats, err := lifeguard.InsertMany(t.Context(), db, "item", slices.Values(items(1234)), lifeguard.BatchConfig{MaxRows: 500})
	if err != nil || stats.Written != 1234 || stats.Chunks != 3 {
		t.Errorf("%+v, %v", stats, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := func(yield func(batchItem) bool) {
		for i := 0; yield(batchItem{ID: int64(i)}); i++ {
			if i == 1000 {
				cancel()
			}
		}
	}
	if _, err := lifeguard.InsertMany(ctx, db, "item", endless, lifeguard.BatchConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
