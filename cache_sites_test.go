package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// aliases are other DSNs of the same database: by each address that the server listens on.
func (c *cachedDB) aliases() map[string]string {
	c.t.Helper()
	var port, listens, sockets string
	const query = "select current_setting('port'), current_setting('listen_addresses'), current_setting('unix_socket_directories')"
	if err := c.plain.QueryRowContext(c.t.Context(), query).Scan(&port, &listens, &sockets); err != nil {
		c.t.Fatal(err)
	}
	u, err := url.Parse(c.dsn)
	if err != nil {
		c.t.Fatal(err)
	}
	found := map[string]string{"the same DSN": c.dsn}
	at := func(name, host string) {
		other, query := *u, u.Query()
		query.Set("host", host)
		query.Set("port", port)
		other.RawQuery = query.Encode()
		found[name] = other.String()
	}
	if listens != "" {
		at("localhost", "localhost")
		at("127.0.0.1", "127.0.0.1")
	}
	if dir, _, _ := strings.Cut(sockets, ","); dir != "" {
		at("socket", strings.TrimSpace(dir))
	}
	return found
}

// waysToWrite change item 1's name to $1.
func waysToWrite() map[string]func(context.Context, *sql.DB, string) error {
	const update = "update item set name = $1 where id = 1"
	return map[string]func(context.Context, *sql.DB, string) error{
		"Exec": func(ctx context.Context, db *sql.DB, name string) error {
			_, err := db.ExecContext(ctx, update, name)
			return err
		},
		"Query": func(ctx context.Context, db *sql.DB, name string) error {
			var got string
			return db.QueryRowContext(ctx, update+" returning name", name).Scan(&got)
		},
		"Tx": func(ctx context.Context, db *sql.DB, name string) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, update, name); err != nil {
				return err
			}
			return tx.Commit()
		},
		"Raw": func(ctx context.Context, db *sql.DB, name string) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.Raw(func(dc any) error {
				pg, err := lifeguard.PgxConn(dc)
				if err != nil {
					return err
				}
				_, err = pg.Exec(ctx, update, name)
				return err
			})
		},
		"function": func(ctx context.Context, db *sql.DB, name string) error {
			_, err := db.ExecContext(ctx, "select rename($1)", name)
			return err
		},
	}
}

const rename = `create function rename(text) returns void language sql as 'update item set name = $1 where id = 1';`

func TestWritesThroughAnyConnectorOfTheProcessAreNoticed(t *testing.T) {
	c := openCached(t, cacheSchema+rename)
	n := 0
	for alias, dsn := range c.aliases() {
		t.Log(alias)
		for _, mode := range []string{"local", "off", "ttl&lifeguard_cache_ttl=1h"} {
			writer := openDSN(t, withSettings(dsn, "lifeguard_cache="+mode))
			for way, write := range waysToWrite() {
				for range 2 { // known at the second time
					c.warm(oneItem, 1)
					n++
					if err := write(t.Context(), writer, fmt.Sprint("name ", n)); err != nil {
						t.Fatal(err)
					}
					c.same(alias+", "+mode+", "+way, oneItem, 1)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d writes", n)
	}
}

func TestAWriterWithoutACacheSparesOtherTables(t *testing.T) {
	c := openCached(t, cacheSchema)
	writer := openDSN(t, c.dsn)
	for range 3 { // the second time it is known
		mustExec(t, writer, "update item set name = name where id = 1")
	}
	c.warm(allOthers)
	c.warm(oneItem, 1)
	mustExec(t, writer, "update item set name = name where id = 1")
	if !c.survived(allOthers) {
		t.Error("gone")
	}
	if c.survived(oneItem, 1) {
		t.Error("still there")
	}
}

func TestATransactionThatIsOlderThanTheCacheIsWaitedFor(t *testing.T) {
	plain := openCached(t, cacheSchema)
	dsn := plain.dsn
	if err := plain.Close(); err != nil { // nobody has a cache
		t.Fatal(err)
	}
	writer := openDSN(t, dsn)
	tx, err := writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "update item set name = 'new' where id = 1"); err != nil {
		t.Fatal(err)
	}
	c := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=local")), plain.plain, dsn)
	for range 6 {
		c.same("before COMMIT", oneItem, 1)
	}
	if st := c.stats(); st.Entries != 0 || st.Bypasses["earlier_leases"] == 0 {
		t.Errorf("%+v", st)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	c.same("after COMMIT", oneItem, 1)
	c.warm(oneItem, 1)
	mustExec(t, writer, "update item set name = 'newer' where id = 1")
	c.same("a later write", oneItem, 1)
}

func TestASessionChangedWhenNobodyLookedIsReadAgain(t *testing.T) {
	first := openCached(t, cacheSchema+"create schema s; create table s.item (id int primary key, name text); insert into s.item values (1, 'of s')")
	writer := openDSN(t, withSettings(first.dsn, "pool_max_conns=1"))
	const update = "update item set name = name || '!' where id = 1"
	for range 3 {
		mustExec(t, writer, update) // its session is known, and the text in it
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, writer, "set search_path = s")
	c := openCachedOn(t, openDSN(t, withSettings(first.dsn, "lifeguard_cache=local")), first.plain, first.dsn)
	const ofS = "select name from s.item where id = 1"
	c.warm(ofS)
	mustExec(t, writer, update)
	c.same("the table of the new search_path", ofS)
}

func TestDDLThroughAnotherConnectorIsNoticed(t *testing.T) {
	c := openCached(t, cacheSchema+"create view named as select name from item where id = 1")
	others := map[string]*sql.DB{"local": openDSN(t, withSettings(c.dsn, "lifeguard_cache=local")), "off": openDSN(t, c.dsn)}
	for mode, other := range others {
		c.warm("select * from named")
		mustExec(t, other, "create or replace view named as select '"+mode+"' || name as name from other where id = 2")
		c.same(mode+", a view", "select * from named")
		c.warm("select * from named")
		mustExec(t, other, "update other set name = name || '!' where id = 2")
		c.same(mode+", a table of the new view", "select * from named")
		// A trigger that the first connector has not been told of.
		mustExec(t, c, "update item set name = name where id = 2")
		mustExec(t, c, "update item set name = name where id = 2")
		mustExec(t, other, `create or replace function carry() returns trigger language plpgsql as
			'begin update other set name = name || ''?'' where id = 2; return new; end';
			create or replace trigger carry after update on item for each row execute function carry()`)
		c.warm("select * from named")
		mustExec(t, c, "update item set name = name where id = 2")
		c.same(mode+", a trigger", "select * from named")
		mustExec(t, other, "drop trigger carry on item")
	}
}

func TestACommitWhoseConnectorIsClosedIsAskedForByOthers(t *testing.T) {
	c := openCached(t, cacheSchema)
	writer, err := sql.Open(lifeguard.DriverName, withSettings(c.dsn, "lifeguard_cache=local"))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, writer, "update item set name = name where id = 2")
	c.warm(allItems)
	release := c.holdItem(1)
	ctx, stop := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := writer.ExecContext(ctx, "update item set name = 'late' where id = 1")
		failed <- err
	}()
	eventually(t, "the write to wait", func() bool { return c.blocked() == 1 })
	stop()
	if err := <-failed; err == nil {
		t.Error("the write did not fail")
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	eventually(t, "an end to the doubt", func() bool { return c.stats().Unsettled == 0 })
	c.same("afterwards", allItems)
	c.warm(allItems)
}

func TestReopenedConnectorsShareTheLedger(t *testing.T) {
	c := openCached(t, cacheSchema)
	for i := range 5 {
		again, err := sql.Open(lifeguard.DriverName, withSettings(c.dsn, "lifeguard_cache=local"))
		if err != nil {
			t.Fatal(err)
		}
		c.warm(oneItem, 1)
		mustExec(t, again, fmt.Sprintf("update item set name = 'name %d' where id = 1", i))
		c.same("written by the other", oneItem, 1)
		other := openCachedOn(t, again, c.plain, c.dsn)
		other.warm(oneItem, 1)
		mustExec(t, c, fmt.Sprintf("update item set name = 'again %d' where id = 1", i))
		other.same("written by the first", oneItem, 1)
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheTTLModeIgnoresOthersToo(t *testing.T) {
	c := openCached(t, cacheSchema)
	aged := openCachedOn(t, openDSN(t, withSettings(c.dsn, "lifeguard_cache=ttl", "lifeguard_cache_ttl=1h")), c.plain, c.dsn)
	aged.warm(oneItem, 1)
	mustExec(t, c, "update item set name = 'new' where id = 1")
	if got := aged.read(oneItem, 1); got != "1|item 1|\n" {
		t.Errorf("%q", got)
	}
}

func TestARestartSeenByOneConnectorIsSeenByAll(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{})
	dsn := server.DSN("")
	local := withSettings(dsn, "lifeguard_cache=local", "pool_health_check_period=1h")
	plain := openDSN(t, dsn)
	mustExec(t, plain, cacheSchema)
	c := openCachedOn(t, openDSN(t, local), plain, dsn)
	c.warm(oneItem, 1)
	if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	other := openDSN(t, local)
	mustExec(t, other, "update item set name = 'after the restart' where id = 1")
	if got := c.read(oneItem, 1); got != "1|after the restart|\n" {
		t.Errorf("%q", got)
	}
}
