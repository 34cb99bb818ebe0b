package lifeguard_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/needs"
)

// In a transaction, a function that replaces another one leaves no lock, and the catalog is
// not forgotten.
func TestAFunctionThatReplacesAnotherInATransactionIsNoticed(t *testing.T) {
	c := openCached(t, cacheSchema+`
		create function rate() returns int immutable language sql as 'select 1';
		create function deploy() returns int language plpgsql as $$ begin
			execute 'create or replace function rate() returns int immutable language sql as ''select 2''';
			return 1; end $$`)
	const query = "select id * rate() from item where id = $1"
	c.warm(query, 7)
	tx, err := c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "select deploy()")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the first ones find the session unknown
		c.same("after COMMIT", query, 7)
	}
}

// dblink commits at once, whatever becomes of the transaction around it.
func TestWhatAFunctionCommitsElsewhereOutlivesARollback(t *testing.T) {
	c := openCached(t, cacheSchema+"create extension if not exists dblink")
	c.warm(oneItem, 1)
	tx, err := c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var done string
	err = tx.QueryRow("select dblink_exec($1, 'update item set name = ''linked'' where id = 1')", c.dsn).Scan(&done)
	if err != nil {
		needs.Lacking(t, "dblink, of PostgreSQL's contrib: %v", err)
	}
	c.same("before ROLLBACK", oneItem, 1)
	_ = tx.Rollback()
	c.same("after ROLLBACK", oneItem, 1)
}

// The function of a deferred trigger is replaced between the statement and COMMIT.
func TestADeferredTriggerThatIsReplacedBeforeCommitCounts(t *testing.T) {
	c := openCached(t, cacheSchema+`
		create function chk() returns trigger language plpgsql as $$ begin return null; end $$;
		create constraint trigger chk after insert on item deferrable initially deferred for each row execute function chk()`)
	const insert = "insert into item values ($1, 'x')"
	for id := range 4 { // known
		tx, err := c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, insert, 1000+id)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, insert, 2000)
	mustExec(t, c, `create or replace function chk() returns trigger language plpgsql as $$ begin
		update other set name = 'deferred' where id = 1; return null; end $$`)
	const others = "select name from other where id = $1"
	c.warm(others, 1)
	mustExec(t, tx, "select count(*) from pg_class") // hears of the new function
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		c.same("after COMMIT", others, 1)
	}
}

// A STABLE function may change settings, and is not looked at when its text is new.
func TestAStableFunctionMayChangeTheSearchPath(t *testing.T) {
	c := openCached(t, `create schema a; create schema b;
		create table a.item (id int, name text); insert into a.item values (1, 'of a');
		create table b.item (id int, name text); insert into b.item values (1, 'of b');
		create function be(text) returns text stable language sql as $$ select set_config('search_path', $1, false) $$`)
	c.SetMaxOpenConns(1)
	mustExec(t, c, "set search_path to a")
	c.warm("select name from item where id = $1", 1)
	var now string
	if err := c.QueryRow("select public.be('b')").Scan(&now); err != nil {
		t.Fatal(err)
	}
	if got := c.read("select name from item where id = $1", 1); got != "of b|\n" {
		t.Errorf("got %q under search_path %s", got, now)
	}
}

type panics struct{}

func (panics) Value() (driver.Value, error) { panic("an argument's") }

// A panic in an argument's method leaves the fence up for ever.
func TestAPanicOfAnArgumentTakesItsFenceDown(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	func() {
		defer func() { _ = recover() }()
		_, err := c.Exec("update item set name = $1 where id = 3", panics{})
		t.Log("no panic:", err)
	}()
	for range 6 {
		c.read(oneItem, 1)
	}
	if !c.isWarm(oneItem, 1) {
		t.Errorf("never again: %v", c.stats().Bypasses["fenced"])
	}
}

// Overlapping transactions keep each other from being known, in a database that has one
// function in C, as nearly every extension brings.
func TestOverlappingTransactionsAreNotTakenForDDL(t *testing.T) {
	c := openCached(t, cacheSchema+"create function plus(int, int) returns int immutable strict language internal as 'int4pl'")
	const update = "update item set name = $1 where id = $2"
	const read = "select name from item where id = $1"
	begin := func() *sql.Tx {
		tx, err := c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	a := begin()
	for i := range 40 { // the next one begins before the one before commits
		b := begin()
		mustExec(t, a, update, "x", 1+i%2)
		var name string
		if err := a.QueryRow(read, 1).Scan(&name); err != nil {
			t.Fatal(err)
		}
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		a = b
	}
	_ = a.Rollback()
	before := c.stats().Invalidations
	a = begin()
	for i := range 20 {
		b := begin()
		mustExec(t, a, update, "x", 1+i%2)
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		a = b
	}
	_ = a.Rollback()
	if n := c.stats().Invalidations["ddl"] - before["ddl"]; n > 2 {
		t.Errorf("%d of 20 commits of a known text were taken for DDL: %v", n, c.stats().Invalidations)
	}
}

// SET LOCAL makes the session unknown though COMMIT restores it.
func TestSetLocalEndsWithItsTransaction(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.SetMaxOpenConns(1)
	c.warm(oneItem, 1)
	hits := c.stats().Hits
	for range 20 {
		tx, err := c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, "set local app.tenant = 'x'")
		_ = tx.Rollback()
		c.read(oneItem, 1)
	}
	if n := c.stats().Hits - hits; n < 15 {
		t.Errorf("%d hits of 20: %v", n, c.stats().Bypasses["session_unknown"])
	}
}

// A procedure that writes one table costs every text its analysis.
func TestACallForgetsNoAnalysis(t *testing.T) {
	c := openCached(t, cacheSchema+"create procedure p() language sql as $$ update other set name = 'p' where id = 4 $$")
	c.warm(oneItem, 1)
	before := c.stats().Hits
	for range 20 {
		mustExec(t, c, "call p()")
		c.read(oneItem, 1)
		c.read(oneItem, 1)
		c.read(oneItem, 1)
	}
	if n := c.stats().Hits - before; n < 38 || c.stats().Invalidations["ddl"] > 0 {
		t.Errorf("%d hits of 40, %v", n, c.stats().Invalidations)
	}
}

func TestWhatIsCommittedElsewhereByEXECUTEOrFETCHOutlivesARollback(t *testing.T) {
	c := openCached(t, cacheSchema+"create extension if not exists dblink")
	if _, err := c.plain.Exec("select dblink_exec($1, 'select 1')", c.dsn); err != nil && !strings.Contains(err.Error(), "statement returning results not allowed") {
		needs.Lacking(t, "dblink, of PostgreSQL's contrib: %v", err)
	}
	const w = "update item set name = 'linked %d' where id = 1"
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, texts := range [][]string{
		{"prepare p as select dblink_exec('%s', $$%s$$)", "begin", "execute p", "rollback"},
		{"begin", "declare c cursor for select dblink_exec('%s', $$%s$$)", "WARM", "fetch c", "rollback"},
		{"begin", "do $d$ begin perform dblink_exec('%s', $$%s$$); end $d$", "rollback"},
	} {
		c.warm(allItems)
		for _, text := range texts {
			if text == "WARM" {
				c.warm(allItems)
				continue
			}
			if strings.Contains(text, "%s") {
				text = fmt.Sprintf(text, c.dsn, fmt.Sprintf(w, i))
			}
			if _, err := conn.ExecContext(t.Context(), text); err != nil {
				t.Log(text, err)
			}
		}
		c.same(fmt.Sprint("case ", i), allItems)
	}
}
