package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// What other query caches for database/sql were found to do wrong, one test each. The names
// are those of the libraries that fail it: sqlcache, entcache v0.1.0, gorm/caches v4.0.5.
var peerFailures = []struct {
	name string
	test func(t *testing.T, c *cachedDB)
}{
	{"sqlcache: QueryRow is never a hit", func(t *testing.T, c *cachedDB) {
		before := c.stats().Hits
		for range 8 {
			var name string
			if err := c.QueryRow("select name from item where id = $1", 7).Scan(&name); err != nil || name != "item 7" {
				t.Fatalf("%q %v", name, err)
			}
		}
		if n := c.stats().Hits - before; n < 4 {
			t.Errorf("%d hits of 8", n)
		}
	}},
	{"sqlcache, entcache: the own committed write is not seen", func(t *testing.T, c *cachedDB) {
		c.warm(oneItem, 7)
		mustExec(t, c, "update item set name = 'written' where id = 7")
		if got := c.read(oneItem, 7); got != "7|written|\n" {
			t.Errorf("%q", got)
		}
	}},
	{"sqlcache, gorm/caches: a value that is rolled back is served to others", func(t *testing.T, c *cachedDB) {
		c.warm(oneItem, 7)
		tx, err := c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, "update item set name = 'never' where id = 7")
		for range 5 {
			if got, err := readAll(t.Context(), tx, oneItem, 7); err != nil || got != "7|never|\n" {
				t.Errorf("in the transaction %q %v", got, err)
			}
			c.same("beside it", oneItem, 7)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if got := c.read(oneItem, 7); got != "7|item 7|\n" {
				t.Errorf("after it %q", got)
			}
		}
	}},
	{"sqlcache: the own write is not seen in its transaction", func(t *testing.T, c *cachedDB) {
		c.warm(oneItem, 7)
		tx, err := c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		mustExec(t, tx, "update item set name = 'mine' where id = 7")
		if got, err := readAll(t.Context(), tx, oneItem, 7); err != nil || got != "7|mine|\n" {
			t.Errorf("%q %v", got, err)
		}
	}},
	{"sqlcache: another search_path gets the first one's rows", func(t *testing.T, c *cachedDB) {
		mustExec(t, c.plain, "create schema tenant; create table tenant.item as select id, 'of the tenant' as name from public.item")
		c.warm(oneItem, 7)
		conn, err := c.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mustExec(t, conn, "set search_path = tenant")
		for range 5 {
			if got, err := readAll(t.Context(), conn, oneItem, 7); err != nil || got != "7|of the tenant|\n" {
				t.Errorf("%q %v", got, err)
			}
		}
		mustExec(t, conn, "reset search_path")
		for range 5 {
			c.same("in public", oneItem, 7)
		}
	}},
	{"sqlcache: a hit waits when the pool is exhausted", func(t *testing.T, c *cachedDB) {
		c.warm(oneItem, 7)
		var held []*sql.Tx
		for range 2 {
			tx, err := c.Begin()
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, tx)
			var one int
			if err := tx.QueryRow("select 1").Scan(&one); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got, err := readAll(ctx, c.DB, oneItem, 7); err != nil || got != "7|item 7|\n" {
			t.Errorf("%q %v", got, err)
		}
		for _, tx := range held {
			_ = tx.Rollback()
		}
	}},
	{"sqlcache: all who miss at once ask", func(t *testing.T, c *cachedDB) {
		c.warm(allItems)
		mustExec(t, c, "update item set name = name where id = 1")
		release := c.lockItems()
		before := c.stats()
		var readers sync.WaitGroup
		for range 16 {
			readers.Go(func() { c.read(allItems) })
		}
		eventually(t, "one to ask", func() bool { return c.blocked() == 1 })
		release()
		readers.Wait()
		if n := c.stats().Misses - before.Misses; n > 2 {
			t.Errorf("%d of 16 have asked: %+v", n, c.stats())
		}
	}},
	{"sqlcache: the columns' types are lost", func(t *testing.T, c *cachedDB) {
		for range 6 {
			want, got := columnsOf(t, c.plain, allItems), columnsOf(t, c.DB, allItems)
			if want != got {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}},
	{"entcache: who closes early leaves one row for all", func(t *testing.T, c *cachedDB) {
		for range 6 {
			rows, err := c.Query(allItems)
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() {
				t.Error("no row")
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
			if err := rows.Err(); err != nil {
				t.Error(err)
			}
			c.same("after an early Close", allItems)
		}
	}},
	{"gorm/caches: two lists of arguments have one key", func(_ *testing.T, c *cachedDB) {
		const both = "select $1::text, $2::text"
		for range 6 {
			for _, args := range [][]any{{"x y", "z"}, {"x", "y z"}, {"x", " y z"}, {"", "x y z"}, {nil, "x"}, {"x", nil}, {"<nil>", "x"}, {"1", "2"}, {"12", ""}} {
				c.same("arguments", both, args...)
			}
		}
		for range 6 {
			c.same("a number", "select $1::text", "1")
			c.same("a number", "select $1::text", []byte("1"))
			c.same("a number", "select $1::int", 1)
			c.same("a number", "select $1::int", int64(1))
			c.same("a number", "select $1::float8", 1.0)
		}
	}},
	{"gorm/caches: a write past the library is not noticed", func(t *testing.T, c *cachedDB) {
		for i, write := range []func(name string) error{
			func(name string) error {
				_, err := c.Exec(fmt.Sprintf("update item set name = '%s' where id = 7", name))
				return err
			},
			func(name string) error {
				return c.QueryRow("update item set name = $1 where id = 7 returning id", name).Scan(new(int))
			},
			func(name string) error {
				conn, err := c.Conn(t.Context())
				if err != nil {
					return err
				}
				defer conn.Close()
				return conn.Raw(func(driverConn any) error {
					pg := driverConn.(interface{ Conn() *pgx.Conn }).Conn() //nolint:errcheck,forcetypeassert // a test may panic
					_, err := pg.Exec(t.Context(), "update item set name = $1 where id = 7", name)
					return err
				})
			},
		} {
			c.warm(oneItem, 7)
			name := fmt.Sprint("past ", i)
			if err := write(name); err != nil {
				t.Fatal(err)
			}
			if got := c.read(oneItem, 7); got != "7|"+name+"|\n" {
				t.Errorf("%q after %q", got, name)
			}
		}
	}},
}

func TestWhatOtherCachesGetWrong(t *testing.T) {
	for _, f := range peerFailures {
		t.Run(f.name, func(t *testing.T) { f.test(t, openCached(t, cacheSchema, "pool_max_conns=2")) })
	}
}

func columnsOf(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got, err := described(rows)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
