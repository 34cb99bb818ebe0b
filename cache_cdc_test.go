package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// logicalServer starts a server whose log can be decoded.
func logicalServer(t testing.TB, settings ...string) *pgtest.Server {
	t.Helper()
	options := pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}
	for i := 0; i < len(settings); i += 2 {
		options.Settings[settings[i]] = settings[i+1]
	}
	return pgtest.NewServer(t, options)
}

// openCDC opens a database with lifeguard_cache=cdc. Beside it, plain is somebody else.
func openCDC(t testing.TB, server *pgtest.Server, schema string, settings ...string) *cachedDB {
	t.Helper()
	dsn, drop, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = drop(context.Background()) })
	plain, err := sql.Open("pgx", withSettings(dsn, "default_query_exec_mode=describe_exec"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	if _, err := plain.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	db := openDSN(t, withSettings(dsn, append([]string{"lifeguard_cache=cdc", "lifeguard_cache_bound=2s"}, settings...)...))
	return openCachedOn(t, db, plain, dsn)
}

// heard waits until everything that was visible before is known.
func (c *cachedDB) heard() {
	c.t.Helper()
	before := time.Now()
	eventually(c.t, "a confirmation", func() bool {
		st := c.stats().CDC
		if st.State == "idle" {
			c.read("select 1") // nothing is confirmed while nobody reads
		}
		age := st.Confirmed
		return age >= 0 && time.Now().Add(-age).After(before)
	})
}

func TestOthersWritesAreSeen(t *testing.T) {
	c := openCDC(t, logicalServer(t), cacheSchema+`
		create table parent (id int primary key); create table child (id int primary key, parent int references parent on delete cascade);
		insert into parent select generate_series(1, 50); insert into child select i, i from generate_series(1, 50) i;
		create table logged (id serial primary key, what text);
		create function note() returns trigger language plpgsql as 'begin insert into logged (what) values (tg_op); return null; end';
		create trigger note after insert or update or delete on other for each statement execute function note();
		create table part (id int, day int, primary key (id, day)) partition by range (day);
		create table part_1 partition of part for values from (0) to (10);
		create table part_2 partition of part for values from (10) to (20);
		insert into part select i, i from generate_series(1, 15) i;`)
	queries := []string{
		"select * from item order by id", "select count(*) from other", "select count(*) from parent",
		"select count(*) from child", "select count(*) from logged", "select * from part order by id, day",
		"select p.id from parent p left join child c on c.parent = p.id where c.id is null order by 1",
	}
	for _, q := range queries {
		c.warm(q)
	}
	for _, write := range []string{
		"update item set name = 'theirs' where id = 7",
		"insert into other values (1000, 'x')",
		"delete from parent where id = 3",
		"truncate child",
		"update part set day = 15 where id = 5",
		"truncate part_1",
		"do $$ begin delete from item where id = 1; commit; delete from other where id = 2; end $$",
	} {
		mustExec(t, c.plain, write)
		c.heard()
		for _, q := range queries {
			c.same(write, q)
			c.warm(q)
		}
	}
	if err := pgxDo(t.Context(), c.dsn, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("2000\tcopied\n"), "copy item from stdin")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.heard()
	c.same("COPY", queries[0])
	// One's own are seen at once.
	for i := range 100 {
		c.warm(queries[0])
		mustExec(t, c, "update item set name = $1 where id = 9", fmt.Sprint("mine ", i))
		c.same("one's own write", queries[0])
	}
	st := c.stats()
	if st.CDC.State != "streaming" || st.CDC.Commits == 0 || st.Invalidations["others"] == 0 || !st.CDC.Leads {
		t.Errorf("%+v\n%+v", st, st.CDC)
	}
}

func pgxDo(ctx context.Context, dsn string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return do(conn)
}

func TestWhatIsNotInTheLogIsNotKept(t *testing.T) {
	c := openCDC(t, logicalServer(t), cacheSchema+"create table bare (id int); create unlogged table quick (id int primary key)")
	c.warm(oneItem, 1)
	for table, reason := range map[string]string{"bare": "unpublished", "quick": "unlogged"} {
		for range 5 {
			c.read("select * from " + table)
		}
		if n := c.stats().Bypasses[reason]; n == 0 {
			t.Errorf("%s: no bypass for %s; %v", table, reason, c.stats().Bypasses)
		}
	}
	mustExec(t, c, "insert into bare values (1)")
	mustExec(t, c, "update bare set id = 2") // fails on a table that is published without a key
	mustExec(t, c.plain, "update bare set id = 3")
	x, err := c.names.ExplainCache(t.Context(), "select * from bare")
	if err != nil || x.Cacheable || x.Reason != "unpublished" {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestDDLAndRefreshOfOthersAreSeen(t *testing.T) {
	for _, announced := range []bool{true, false} {
		t.Run(fmt.Sprint("announced=", announced), func(t *testing.T) {
			schema := cacheSchema + "create view v as select id, name from item; create materialized view m as select count(*) as n from item; create unique index on m (n);"
			if announced {
				schema += cdc.InstallSQL
			}
			c := openCDC(t, logicalServer(t), schema, "lifeguard_cdc_poll=100ms")
			c.warm("select * from v order by id")
			c.warm("select * from m")
			eventually(t, "the trigger is noticed", func() bool { return c.stats().CDC.Announced == announced })
			for _, ddl := range []string{
				"create or replace view v as select id, upper(name) as name from item",
				"delete from item where id = 1; refresh materialized view m",
				"delete from item where id = 2; refresh materialized view concurrently m",
				"alter table item add column more int default 7",
				"drop view v; create view v as select id, 'constant' as name from item",
			} {
				changes := c.stats().CDC.SchemaChanges
				mustExec(t, c.plain, ddl)
				eventually(t, "it is noticed", func() bool { return c.stats().CDC.SchemaChanges > changes })
				c.heard()
				for _, q := range []string{"select * from v order by id", "select * from m", "select * from item order by id"} {
					c.same(ddl, q)
					c.warm(q)
				}
			}
		})
	}
}

// The gate is sent with the query: what is read while a commit waits for a standby is right,
// is not kept, and takes no round trip more.
func TestACommitThatIsNotVisibleYetKeepsResultsFromBeingKept(t *testing.T) {
	server := logicalServer(t)
	c := openCDC(t, server, cacheSchema)
	c.warm("select name from item where id = $1", 1)
	mustExec(t, c.plain, "alter system set synchronous_standby_names = 'nobody'")
	mustExec(t, c.plain, "select pg_reload_conf()")
	writer, err := pgx.Connect(t.Context(), c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close(context.Background()) }()
	write := func(name string) *sync.WaitGroup {
		var done sync.WaitGroup
		done.Go(func() { _, _ = writer.Exec(t.Context(), "update item set name = $1 where id = 1", name) })
		return &done
	}
	// released lets a commit go that waits, and reports whether one does.
	released := func() bool {
		var n int
		err := c.plain.QueryRowContext(t.Context(), "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep' and pid = $1",
			writer.PgConn().PID()).Scan(&n)
		return err == nil && n > 0
	}
	// A setting that is in force is not enough: commits look at a flag that the checkpointer sets.
	eventually(t, "commits wait for a standby", func() bool {
		done, over := write("before"), make(chan struct{})
		go func() { done.Wait(); close(over) }()
		for {
			select {
			case <-over:
				return false
			case <-time.After(time.Millisecond):
				if released() {
					<-over
					return true
				}
			}
		}
	})
	for round := range 10 {
		c.warm("select name from item where id = $1", 1)
		commits := c.stats().CDC.Commits
		done := write(fmt.Sprint("round ", round))
		eventually(t, "the commit is heard of", func() bool { return c.stats().CDC.Commits > commits })
		refused := c.stats().CDC.Refused
		for range 3 {
			c.same("while it is not visible", "select name from item where id = $1", 1)
		}
		if got := c.stats().CDC.Refused - refused; got != 3 {
			t.Errorf("%d of 3 fills were refused", got)
		}
		eventually(t, "the standby is given up", released)
		done.Wait()
		c.same("after it is visible", "select name from item where id = $1", 1)
		c.same("and once more", "select name from item where id = $1", 1)
	}
	mustExec(t, c.plain, "alter system reset synchronous_standby_names")
	mustExec(t, c.plain, "select pg_reload_conf()")
}

func TestNothingIsServedUntilTheSlotIsReady(t *testing.T) {
	server := logicalServer(t)
	dsn := server.DSN("")
	blocker, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blocker.Close(context.Background()) }()
	for _, text := range []string{cacheSchema, "begin; select pg_current_xact_id()"} {
		if _, err := blocker.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	c := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=cdc")), plain, dsn)
	for range 20 {
		c.same("before", oneItem, 1)
	}
	st := c.stats()
	if st.Hits != 0 || st.Bypasses["unconfirmed"] == 0 || st.CDC.State == "streaming" {
		t.Errorf("%+v %+v", st, st.CDC)
	}
	if _, err := blocker.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	c.warm(oneItem, 1)
}

// GORM and sqlx side by side, each with its own pool, and two ways to the server.
func TestPoolsOfAProcessShareAStream(t *testing.T) {
	c := openCDC(t, logicalServer(t), cacheSchema)
	c.warm(oneItem, 1)
	walsenders := func() (n int) {
		t.Helper()
		if err := c.plain.QueryRowContext(t.Context(), "select count(*) from pg_stat_replication").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	slots := func() (n int) {
		t.Helper()
		if err := c.plain.QueryRowContext(t.Context(), "select count(*) from pg_replication_slots").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var others []*cachedDB
	for name, dsn := range c.aliases() {
		other := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=cdc", "lifeguard_cache_bound=3s")), c.plain, dsn)
		other.warm(oneItem, 1)
		if n, m := walsenders(), slots(); n != 1 || m != 1 {
			t.Errorf("with %s: %d walsenders, %d slots", name, n, m)
		}
		others = append(others, other)
	}
	check := func(what string, of ...*cachedDB) {
		t.Helper()
		mustExec(t, c.plain, "update item set name = $1 where id = 1", what)
		for _, o := range of {
			o.heard()
			o.same(what, oneItem, 1)
			o.warm(oneItem, 1)
		}
	}
	check("with all", append(others, c)...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	check("without the first", others...)
	for _, o := range others {
		if n := o.stats().CDC.Restarts; n["slot_lost"]+n["unreachable"] != 0 {
			t.Errorf("the stream has ended with the first: %v", n)
		}
	}
	for i, o := range others {
		if n := walsenders(); n != 1 {
			t.Errorf("%d walsenders before the %d. is closed", n, i+2)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last takes the stream with it", func() bool { return walsenders() == 0 && slots() == 0 })
}
