package pgtest

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // a driver
)

func TestOpenHasItsTablesAndGoesWithTheTest(t *testing.T) {
	var db *sql.DB
	t.Run("test", func(t *testing.T) {
		db = Open(t, "pgx", `create table pets (id serial primary key, "Name" text, born timestamptz, note text default 'none');
			create schema shop; create table shop.owners (name text)`, "create index on pets (born)")
		born := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
		Insert(t, db, "pets", Row{"Name": "it's", "born": born}, Row{"Name": nil, "note": "x"}, Row{})
		Insert(t, db, "shop.owners", Row{"name": "Ada"})
		var got string
		err := db.QueryRowContext(t.Context(), `select string_agg(concat_ws('|', id, "Name", born at time zone 'utc', note), ' ' order by id)
			|| (select name from shop.owners) from pets`).Scan(&got)
		if want := "1|it's|2020-01-02 03:04:05|none 2|x 3|noneAda"; err != nil || got != want {
			t.Errorf("got %q, want %q, error %v", got, want, err)
		}

		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		Insert(t, tx, "pets", Row{"Name": "undone"})
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		var n int
		if err := db.QueryRowContext(t.Context(), "select count(*) from pets").Scan(&n); err != nil || n != 3 {
			t.Errorf("%d rows, error %v", n, err)
		}
	})
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("the database is open after its test")
	}
}

// failing is a test that ends at its first error.
type failing struct {
	testing.TB
}

func (failing) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func TestWhatCannotBePreparedFailsTheTest(t *testing.T) {
	db := Open(t, "pgx", "create table pets (id int)")
	for _, test := range []struct {
		text string
		do   func()
	}{
		{"syntax error", func() { Open(failing{t}, "pgx", "create index table") }},
		{"unknown driver", func() { Open(failing{t}, "none") }},
		{"pgtest: insert row 1 into pets", func() { Insert(failing{t}, db, "pets", Row{"id": 1}, Row{"colour": 2}) }},
		{`relation "pets; drop table pets" does no`, func() { Insert(failing{t}, db, "pets; drop table pets", Row{}) }},
	} {
		if got := failure(test.do); !strings.Contains(got, test.text) {
			t.Errorf("got %q, want %q", got, test.text)
		}
	}
}

// failure runs a test that fails, and returns why.
func failure(do func()) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprint(p)
		}
	}()
	do()
	return ""
}
