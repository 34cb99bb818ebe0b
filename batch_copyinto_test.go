package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestCopyIntoIsPartOfTheTransaction(t *testing.T) {
	for _, driver := range []string{lifeguard.DriverName, "pgx"} {
		t.Run(driver, func(t *testing.T) {
			db, err := sql.Open(driver, pgtest.DSN(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			mustExec(t, db, "create table item (id bigint primary key, name text)")
			for _, commit := range []bool{false, true} {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, tx, "insert into item values (-1, 'by hand')")
				n, err := lifeguard.CopyInto(t.Context(), tx, "public.item", slices.Values(items(20_000)))
				if err != nil || n != 20_000 {
					t.Fatalf("%d rows, %v", n, err)
				}
				mustExec(t, tx, "insert into item values (-2, 'by hand')")
				if err := map[bool]func() error{false: tx.Rollback, true: tx.Commit}[commit](); err != nil {
					t.Fatal(err)
				}
				want := map[bool]int{false: 0, true: 20_002}[commit]
				if n := one[int](t, db, "select count(*) from item"); n != want {
					t.Errorf("%d rows, not %d", n, want)
				}
			}
		})
	}
}

func TestCopyIntoWorksOnAConnAndADB(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id int generated always as identity, a text, b numeric)")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rows := [][]any{{"x", 1.5}, {nil, "2.50"}}
	for _, on := range []lifeguard.Execer{conn, db} {
		if n, err := lifeguard.CopyInto(t.Context(), on, "item", slices.Values(rows)); err != nil || n != 2 {
			t.Errorf("%d rows, %v", n, err)
		}
	}
	none := slices.Values([]batchItem(nil))
	mustExec(t, db, "create table other (id bigint, name text)")
	if n, err := lifeguard.CopyInto(t.Context(), db, "other", none); err != nil || n != 0 {
		t.Errorf("no rows: %d, %v", n, err)
	}
	if got := one[string](t, db, "select string_agg(id || coalesce(a, '-') || b, ' ' order by id) from item"); got != "1x1.5 2-2.50 3x1.5 4-2.50" {
		t.Errorf("%q", got)
	}
}

func TestCopyIntoReportsWhatWentWrong(t *testing.T) {
	db := open(t)
	mustExec(t, db, "create table item (id int2 primary key, name text)")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := backendPID(t, conn)

	var columnErr *lifeguard.ColumnError
	rows := items(40_000) // beyond an int2
	if _, err := lifeguard.CopyInto(t.Context(), conn, "item", slices.Values(rows)); !errors.As(err, &columnErr) || columnErr.Column != "id" {
		t.Errorf("a value that does not fit: %v", err)
	}
	var pgErr *pgconn.PgError
	twice := slices.Concat(items(10), items(10))
	if _, err := lifeguard.CopyInto(t.Context(), conn, "item", slices.Values(twice)); !errors.As(err, &pgErr) || pgErr.Code != "23505" {
		t.Errorf("a key twice: %v", err)
	}
	panics := func(func(batchItem) bool) { panic("no rows") }
	if _, err := lifeguard.CopyInto(t.Context(), conn, "item", panics); err == nil {
		t.Error("a panicking iterator: no error")
	}
	if _, err := lifeguard.CopyInto(t.Context(), conn, "nothing", slices.Values(rows)); err == nil {
		t.Error("a missing table: no error")
	}
	if now := backendPID(t, conn); now != pid {
		t.Error("the connection was lost")
	}
	if n := one[int](t, db, "select count(*) from item"); n != 0 {
		t.Errorf("%d rows", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	endless := func(yield func(batchItem) bool) {
		for i := 0; yield(batchItem{ID: int64(i % 100)}); i++ {
			if i == 10_000 {
				cancel()
			}
		}
	}
	mustExec(t, db, "alter table item drop constraint item_pkey")
	if _, err := lifeguard.CopyInto(ctx, db, "item", endless); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
