package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
)

// step is one write through a database with a cache.
type step struct {
	name   string
	others bool // what was read from the other table must survive
	do     func(t *testing.T, c *cachedDB)
}

func sqlStep(name string, others bool, texts ...string) step {
	return step{name, others, func(t *testing.T, c *cachedDB) {
		t.Helper()
		for _, text := range texts {
			mustExec(t, c, text)
		}
	}}
}

// txStep runs texts on one connection.
func txStep(name string, others bool, texts ...string) step {
	return step{name, others, func(t *testing.T, c *cachedDB) {
		conn, err := c.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, text := range texts {
			mustExec(t, conn, text)
		}
	}}
}

var cacheWrites = []step{
	sqlStep("insert", true, "insert into item values (100, 'new')"),
	sqlStep("update", true, "update item set name = 'changed' where id = 1"),
	sqlStep("delete", true, "delete from item where id = 2"),
	sqlStep("upsert", true, "insert into item values (1, 'x') on conflict (id) do update set name = excluded.name"),
	sqlStep("truncate", true, "truncate item"),
	sqlStep("modifying CTE", true, "with d as (delete from item where id > 40 returning id) select count(*) from d"),
	sqlStep("several statements", false, "update item set name = 'a' where id = 1; update item set name = 'b' where id = 2"),
	sqlStep("several statements with a transaction", false, "begin; update item set name = 'a' where id = 1; commit"),
	sqlStep("DO", false, "do $$ begin update item set name = 'done' where id = 3; end $$"),
	sqlStep("CALL", false, "create procedure p() language sql as $$ update item set name = 'called' where id = 4 $$", "call p()"),
	sqlStep("a function in a query", false,
		"create function f() returns int language sql as $$ update item set name = 'function' where id = 5; select 1 $$", "select f()"),
	sqlStep("DDL", false, "alter table item rename column name to label", "alter table item rename column label to name", "drop table if exists item2", "update item set name = 'after'"),
	sqlStep("rename", false, "alter table item rename to item_old", "create table item as select id, 'other ' || id as name from item_old"),
	sqlStep("trigger", false, `create function touch() returns trigger language plpgsql as $$ begin update item set name = 'touched' where id = 9; return new; end $$;
		create trigger touch after insert on other for each row execute function touch()`, "insert into other values (200, 'x')"),
	sqlStep("cascade", false, "create table child (id int primary key, item int references item on delete cascade); insert into child values (1, 1)",
		"delete from item where id = 1"),
	txStep("BEGIN and COMMIT by hand", true, "begin", "update item set name = 'hand' where id = 1", "commit"),
	txStep("END", true, "start transaction", "update item set name = 'hand' where id = 1", "end"),
	txStep("COMMIT AND CHAIN", true, "begin", "update item set name = 'chain' where id = 1", "commit and chain", "rollback"),
	txStep("savepoint", true, "begin", "savepoint a", "update item set name = 'x' where id = 1", "rollback to a", "update item set name = 'y' where id = 2", "commit"),
	txStep("SET LOCAL in a transaction", true, "begin", "set local search_path = public", "update item set name = 'x' where id = 1", "commit"),
	txStep("two phases", false, "begin", "update item set name = 'two' where id = 1", "prepare transaction 'cache'", "commit prepared 'cache'"),
	txStep("DDL in a transaction", false, "begin", "alter table item add column more int default 5", "update item set name = 'x'", "commit"),
	txStep("prepared by SQL", false, "prepare w as update item set name = 'prepared' where id = $1", "execute w(3)"),
	txStep("another schema's table of the same name", false, "create schema hidden", "create table hidden.item (id int, name text)", "set search_path = hidden", "insert into item values (1, 'hidden')", "reset search_path", "insert into item values (777, 'seen')"),
	{"insert returning", true, func(t *testing.T, c *cachedDB) {
		if got := c.read("insert into item values (300, 'r') returning id"); got != "300|\n" {
			t.Error(got)
		}
	}},
	{"returning, closed early", true, func(t *testing.T, c *cachedDB) {
		rows, err := c.QueryContext(t.Context(), "update item set name = 'early' returning id")
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		rows.Close()
	}},
	{"prepared statement", true, func(t *testing.T, c *cachedDB) {
		st, err := c.PrepareContext(t.Context(), "update item set name = $1 where id = $2")
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if _, err := st.ExecContext(t.Context(), "prepared", 6); err != nil {
			t.Fatal(err)
		}
	}},
	{"transaction", true, writeInTx(nil, "update item set name = 'tx' where id = 1", "insert into item values (400, 'tx')")},
	{"serializable transaction", true, writeInTx(&sql.TxOptions{Isolation: sql.LevelSerializable}, "update item set name = 'tx' where id = 1")},
	{"prepared statement in a transaction", true, func(t *testing.T, c *cachedDB) {
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		st, err := tx.PrepareContext(t.Context(), "update item set name = $1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.ExecContext(t.Context(), "prepared"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}},
	{"trigger in a transaction", true, func(t *testing.T, c *cachedDB) {
		mustExec(t, c, `create table log (id int); create function note() returns trigger language plpgsql as $$ begin update item set name = 'noted' where id = 9; return new; end $$;
			create trigger note after insert on log for each row execute function note()`)
		c.warm(allItems)
		c.warm(allOthers)
		writeInTx(nil, "insert into log values (1)")(t, c)
	}},
	{"raw", false, func(t *testing.T, c *cachedDB) {
		conn, err := c.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		err = conn.Raw(func(driverConn any) error {
			pg, err := lifeguard.PgxConn(driverConn)
			if err != nil {
				return err
			}
			b := &pgx.Batch{}
			b.Queue("update item set name = 'raw'")
			return pg.SendBatch(t.Context(), b).Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		c.same("before the sql.Conn is closed", allItems)
	}},
	{"CopyInto", true, func(t *testing.T, c *cachedDB) {
		rows := slices.Values([]cacheRow{{1000, "copied"}, {1001, "copied"}})
		if _, err := lifeguard.CopyInto(t.Context(), c.DB, "item", rows); err != nil {
			t.Fatal(err)
		}
	}},
	{"CopyInto in a transaction", true, func(t *testing.T, c *cachedDB) {
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lifeguard.CopyInto(t.Context(), tx, "item", slices.Values([]cacheRow{{1000, "copied"}})); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}},
	{"a rewritten text", false, func(t *testing.T, c *cachedDB) {
		if _, err := c.ExecContext(t.Context(), "select 1", rewriteTo("update item set name = 'rewritten'")); err != nil {
			t.Fatal(err)
		}
	}},
	{"named arguments", false, func(t *testing.T, c *cachedDB) {
		if _, err := c.ExecContext(t.Context(), "update item set name = @name", pgx.NamedArgs{"name": "named"}); err != nil {
			t.Fatal(err)
		}
	}},
}

type cacheRow struct {
	ID   int
	Name string
}

type rewriteTo string

func (r rewriteTo) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return string(r), nil, nil
}

const allOthers = "select id, name from other order by id"

func writeInTx(opts *sql.TxOptions, texts ...string) func(t *testing.T, c *cachedDB) {
	return func(t *testing.T, c *cachedDB) {
		tx, err := c.BeginTx(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			mustExec(t, tx, text)
		}
		// Nobody else sees it yet.
		c.same("before COMMIT", allItems)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoWriteLeavesAnOldResultBehind(t *testing.T) {
	for _, mode := range []string{"checkout", "session"} {
		for _, w := range cacheWrites {
			t.Run(mode+"/"+w.name, func(t *testing.T) {
				c := openCached(t, cacheSchema, "lifeguard_mode="+mode)
				for round := range 2 { // a text that was not analysed, and one that may be
					if mode == "checkout" {
						c.warm(allItems)
						c.warm(allOthers)
					} else {
						for range 5 {
							c.read(allItems)
							c.read(allOthers)
						}
					}
					if round == 1 && w.name != "update" && w.name != "transaction" {
						break
					}
					w.do(t, c)
					if w.others && mode == "checkout" && !c.survived(allOthers) {
						t.Error("the other table's result is gone")
					}
					c.same("after", allItems)
					c.same("after", allOthers)
					mustExec(t, c, "delete from item where id = 400")
				}
			})
		}
	}
}

func TestARollbackLeavesResultsAsTheyAre(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(allItems)
	tx, err := c.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "update item set name = 'never'")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if !c.survived(allItems) {
		t.Error("a rollback made the result invalid")
	}
	c.same("after ROLLBACK", allItems)
	if _, err := c.ExecContext(t.Context(), "insert into item values (1, 'twice')"); err == nil {
		t.Fatal("no error")
	}
	if !c.survived(allItems) {
		t.Error("a failed statement made the result invalid")
	}
}

func TestARowBeingReturnedFencesItsTableOff(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(allItems)
	rows, err := c.QueryContext(t.Context(), "update item set name = 'x' returning id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for range 2 {
		if c.isWarm(allItems) {
			t.Error("a hit while the rows are being read")
		}
	}
	if n := c.stats().Bypasses["fenced"]; n == 0 {
		t.Errorf("%+v", c.stats())
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil {
		t.Fatal(err)
	}
	c.same("after", allItems)
	c.warm(allItems)
}

func TestATransactionReadsItsOwnWrites(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	tx, err := c.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	mustExec(t, tx, "update item set name = 'mine' where id = 1")
	if got, err := readAll(t.Context(), tx, oneItem, 1); err != nil || got != "1|mine|\n" {
		t.Errorf("%q, %v", got, err)
	}
	if !c.isWarm(oneItem, 1) {
		t.Error("an open transaction fences others off")
	}
}

func TestSettingsBelongToTheQuestion(t *testing.T) {
	c := openCached(t, cacheSchema+`
		create schema s; create table s.item (id int, name text); insert into s.item values (1, 'in s');
		create table moment (at timestamptz); insert into moment values ('2024-01-01 00:00+00');`, "pool_max_conns=1")
	c.SetMaxOpenConns(1)
	c.warm(oneItem, 1)
	mustExec(t, c, "set search_path = s")
	for range 6 {
		if got := c.read(oneItem, 1); got != "1|in s|\n" {
			t.Fatalf("with another search_path: %q", got)
		}
	}
	mustExec(t, c, "reset search_path")
	if got := c.read(oneItem, 1); got != "1|item 1|\n" {
		t.Fatalf("after RESET: %q", got)
	}
	const asText = "select at::text from moment"
	for range 6 {
		c.read(asText)
	}
	before := c.read(asText)
	c.read("select set_config('TimeZone', 'Asia/Tokyo', false)")
	if after := c.read(asText); after == before {
		t.Errorf("after set_config still %q", after)
	}
	mustExec(t, c, "create temp table item (id int, name text)")
	if got := c.read(oneItem, 1); got != "" {
		t.Errorf("a temporary table is hidden by %q", got)
	}
}

func TestBatchesAreSeen(t *testing.T) {
	for _, upsert := range []bool{false, true} {
		t.Run(fmt.Sprint("upsert ", upsert), func(t *testing.T) {
			c := openCached(t, cacheSchema)
			c.warm(allItems)
			cfg := lifeguard.BatchConfig{}
			if upsert {
				cfg.OnConflict = lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}
			}
			b, err := lifeguard.NewBatchInserter[cacheRow](c.DB, "item", cfg)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				id := 500 + i
				if upsert {
					id = 1 + i
				}
				if err := b.Add(t.Context(), cacheRow{id, "batch"}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.same("after the batch", allItems)
			c.warm(allItems)
		})
	}
}
