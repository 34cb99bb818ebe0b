package lifeguard_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// endOthers terminates every backend of the database but the one that is asked.
const endOthers = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

func TestALostConnectionSparesWhatIsKept(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	c.warm(allItems)
	lost := c.stats()
	for range 3 {
		if _, err := c.plain.Exec(endOthers); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the loss", func() bool {
			var n int
			if err := c.QueryRow("select 1 -- past the cache\n where random() < 2").Scan(&n); err != nil {
				t.Log(err)
			}
			return c.names.Stats().Pool.Closed["lost"] > 0
		})
	}
	if !c.survived(allItems) || !c.survived(oneItem, 1) {
		t.Errorf("the server lives: %v", c.stats().Invalidations)
	}
	if n := c.stats().Invalidations["connection_lost"] - lost.Invalidations["connection_lost"]; n > 0 {
		t.Errorf("%d invalidations", n)
	}
}

func TestACommitThatDidNotWaitForItsLogIsNotKeptBeforeThat(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_writer_delay": "10s", "autovacuum": "off"}})
	dsn := server.DSN("")
	plain := openDSN(t, dsn)
	mustExec(t, plain, cacheSchema)
	const update = "update item set name = name || '!' where id = 1"
	for _, tx := range []bool{false, true} {
		for _, off := range []bool{false, true} {
			c := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=local")), plain, dsn)
			mustExec(t, c, update) // is analysed
			c.warm(allItems)
			fenced := c.stats().Bypasses["fenced"]
			conn, err := c.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tx && off:
				mustExec(t, conn, "begin")
				mustExec(t, conn, "set local synchronous_commit = off")
				mustExec(t, conn, update)
				mustExec(t, conn, "commit")
			case off:
				mustExec(t, conn, "set synchronous_commit = off")
				mustExec(t, conn, update)
			default:
				mustExec(t, conn, update)
			}
			for range 4 { // the first may find its session unknown
				c.same("after", allItems)
			}
			if got := c.stats().Bypasses["fenced"] > fenced; got != off {
				t.Errorf("transaction %v, off %v: fenced %v", tx, off, got)
			}
			mustExec(t, plain, "update other set name = name where id = 1") // writes the log
			c.warm(allItems)
			c.same("in the end", allItems)
			_ = conn.Close()
			_ = c.Close()
		}
	}
}

func TestAReloadedConfigurationIsNoticed(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{})
	dsn := server.DSN("")
	plain := openDSN(t, dsn)
	mustExec(t, plain, "create table moment (at timestamptz); insert into moment values ('2024-01-01 00:00+00')")
	c := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=local")), plain, dsn)
	const query = "select at::text from moment"
	c.warm(query)
	before := c.read(query)
	mustExec(t, c, "alter system set timezone = 'Asia/Tokyo'")
	c.warm(query)
	var ok bool
	if err := c.QueryRow("select pg_reload_conf()").Scan(&ok); err != nil || !ok {
		t.Fatal(ok, err)
	}
	eventually(t, "another time zone", func() bool { return c.read(query) != before })
	for range 10 {
		if c.read(query) == before {
			t.Fatal("the old one again")
		}
	}
	c.warm(query)
	c.same("in the end", query)
}

func TestALostBackendWhoseStartNobodyHasReadIsEnded(t *testing.T) {
	const write = "update item set name = 'raw' where id = 1"
	late := &lateness{matches: sentPlainly(write), deliver: make(chan struct{}), done: make(chan struct{})}
	dsn := pgtest.DSN(t)
	plain := openDSN(t, dsn)
	mustExec(t, plain, cacheSchema)
	cfg := parse(t, withSettings(dsn, "lifeguard_cache=local"))
	cfg.ConnConfig.DialFunc = late.dial
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	c := openCachedOn(t, db, plain, dsn)
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late.armed.Store(true)
	err = conn.Raw(func(driverConn any) error {
		pg, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		return pg.PgConn().Exec(t.Context(), write).Close()
	})
	if err == nil {
		t.Fatal("no error")
	}
	_ = conn.Close()
	if c.stats().Unsettled != 1 {
		t.Fatalf("%+v", c.stats())
	}
	eventually(t, "the end of the backend", func() bool { return c.stats().Unsettled == 0 })
	close(late.deliver)
	<-late.done
	c.warm(allItems)
	c.same("after", allItems)
}

func TestRawSaysWhyNothingIsAnsweredFromMemory(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Raw(func(driverConn any) error { _, err := lifeguard.PgxConn(driverConn); return err }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reason", func() bool {
		c.read(oneItem, 1)
		return c.stats().Bypasses["raw"] > 0
	})
	_ = conn.Close()
	c.warm(oneItem, 1)
}

func TestAHijackedConnectionIsTheApplications(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the pool waits for pgx to clean up, which it does not do then")
	}
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var mine *pgconn.PgConn
	err = conn.Raw(func(driverConn any) error {
		pg, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		hijacked, err := pg.PgConn().Hijack()
		if err != nil {
			return err
		}
		mine, err = pgconn.Construct(hijacked)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	<-time.After(2500 * time.Millisecond) // longer than a lost backend may live
	if err := mine.Exec(t.Context(), "update item set name = 'mine' where id = 1").Close(); err != nil {
		t.Fatal(err)
	}
	c.same("after a write of the application's own", oneItem, 1)
	if err := mine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the backend", func() bool { return c.stats().Unsettled == 0 })
	c.warm(oneItem, 1)
	c.same("after its end", oneItem, 1)
}
