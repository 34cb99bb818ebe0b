package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// turnConn counts how often the client turns from sending to waiting: round trips.
type turnConn struct {
	net.Conn
	turns *atomic.Int64
	sent  atomic.Bool
}

func (c *turnConn) Write(b []byte) (int, error) {
	if !c.sent.Swap(true) {
		c.turns.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *turnConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.sent.Store(false)
	}
	return n, err
}

// openCachedCounted is openCached over connections whose round trips are counted.
func openCachedCounted(t *testing.T, schema string, settings ...string) (*cachedDB, *atomic.Int64) {
	t.Helper()
	dsn := pgtest.DSN(t)
	plain := openDSN(t, dsn)
	mustExec(t, plain, schema)
	db, turns := openCounted(t, withSettings(dsn, append([]string{"lifeguard_cache=local"}, settings...)...))
	return openCachedOn(t, db, plain, dsn), turns
}

// openCounted is openDSN over connections whose round trips are counted.
func openCounted(t *testing.T, dsn string) (*sql.DB, *atomic.Int64) {
	t.Helper()
	cfg := parse(t, dsn)
	turns := &atomic.Int64{}
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &turnConn{Conn: conn, turns: turns}, nil
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db, turns
}

// A write that is known costs the round trips that it costs without a cache, and its
// transaction one more where triggers may write elsewhere.
func TestWhatAWriteCostsInRoundTrips(t *testing.T) {
	const schema = cacheSchema + `
		create table audited (id serial, name text); create table stamped (id serial, name text, at timestamptz);
		create table log (name text);
		create function note() returns trigger language plpgsql as $$ begin
			insert into log values (new.name) on conflict do nothing; update other set name = 'noted' where id = 1; return new; end $$;
		create trigger note after insert on audited for each row execute function note();
		create function stamp() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$;
		create trigger stamp before insert on stamped for each row execute function stamp()`
	c, turns := openCachedCounted(t, schema, "pool_max_conns=1")
	c.SetMaxOpenConns(1)
	auto := func(text string) func() {
		return func() { mustExec(t, c, text, "x") }
	}
	inTx := func(texts ...string) func() {
		return func() {
			tx, err := c.Begin()
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range texts {
				mustExec(t, tx, text, "x")
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	const plain, stamped, audited = "update item set name = $1 where id = 1", "insert into stamped (name) values ($1)", "insert into audited (name) values ($1)"
	for _, w := range []struct {
		name string
		want int64
		do   func()
	}{
		{"an autocommit write", 1, auto(plain)},
		{"with a trigger that computes", 1, auto(stamped)},
		{"with a trigger that writes", 1, auto(audited)},
		{"a transaction", 3, inTx(plain)},
		{"a transaction of two", 4, inTx(plain, stamped)},
		{"a transaction with a trigger that writes", 4, inTx(audited)}, // and what it has locked
		{"a transaction with a setting", 4, inTx("select set_config('app.tenant', $1, true)", plain)},
		{"a block", 1, func() { mustExec(t, c, "do $$ begin update item set name = 'done' where id = 2; end $$") }},
	} {
		for range 4 { // is learnt
			w.do()
		}
		before := turns.Load()
		w.do()
		if n := turns.Load() - before; n != w.want {
			t.Errorf("%s: %d round trips, not %d", w.name, n, w.want)
		}
		c.warm(allItems)
		c.same("after "+w.name, allItems)
	}
}

// A text that comes once costs what it costs without a cache, two round trips, since pgx
// prepares it. At its second sighting it is analysed, in one; the third fills, and then it
// costs none.
func TestWhatAReadCostsInRoundTrips(t *testing.T) {
	c, turns := openCachedCounted(t, cacheSchema, "pool_max_conns=1")
	c.warm(allItems) // the connection is known, and so is the table
	var all []string
	for n := range 5 { // a connection that was idle for long is asked whether it lives
		var took []int64
		for range 5 {
			before := turns.Load()
			c.read(fmt.Sprint("select name, ", n, " from item where id = $1"), 3)
			took = append(took, turns.Load()-before)
		}
		if all = append(all, fmt.Sprint(took)); all[n] == "[2 2 1 0 0]" {
			return
		}
	}
	t.Errorf("%v", all)
}

// A Connector without a cache tells those of the process that have one what it writes. That
// costs it two round trips on each new connection, and nothing on one that is known.
func TestWhatANeighbourWithoutACacheCosts(t *testing.T) {
	const write = "update other set name = $1 where id = 1"
	neighbour := func(c *cachedDB) (newConn, known int64) {
		db, turns := openCounted(t, withSettings(c.dsn, "pool_max_conns=2"))
		defer db.Close()
		for range 3 { // the text is learnt, and what functions could do
			mustExec(t, db, write, "x")
		}
		first, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		mustExec(t, first, write, "x")
		before := turns.Load()
		mustExec(t, db, write, "x") // on the second connection
		newConn = turns.Load() - before
		before = turns.Load()
		for range 5 {
			mustExec(t, db, write, "x")
		}
		return newConn, (turns.Load() - before) / 5 // a connection that was idle for long is asked whether it lives
	}
	c := openCached(t, cacheSchema)
	told, known := neighbour(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	alone, _ := neighbour(c)
	if told-alone != 2 || known != 1 {
		t.Errorf("%d round trips more on a new connection, and %d on a known one", told-alone, known)
	}
}
