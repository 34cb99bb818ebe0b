package cdc

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func (l *listener) ended(reason Reason) {
	l.t.Helper()
	eventually(l.t, "it ends for "+string(reason)+"; "+l.log.String(), func() bool { return l.Stats().Ends[reason] > 0 })
}

// terminate ends the walsenders of the database.
func (l *listener) terminate() {
	l.t.Helper()
	l.exec("select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()")
}

func TestAStreamThatTheServerEndsComesBack(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	before := l.version(l.oid("item"))
	l.terminate()
	l.ended(SlotLost)
	if l.version(l.oid("item")) == before {
		t.Error("what was kept is still valid")
	}
	l.ready()
	if got := l.bumps("insert into parent values (1000)", "item", "parent"); got != "parent " {
		t.Errorf("told of %q", got)
	}
	log := l.log.String()
	if strings.Count(log, "every query goes to the server") != 1 || strings.Count(log, "hears of changes again") != 1 {
		t.Errorf("the log:\n%s", log)
	}
}

func TestTheControlConnectionMayBreakToo(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	l.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'cdc' and backend_type = 'client backend'`)
	eventually(t, "it ends", func() bool { return l.Stats().Confirmed < 0 })
	l.ready()
	eventually(t, "one slot is left", func() bool { return slots(t, l.conn) == 1 })
}

func TestAProcessThatIsKilledLeavesNoSlot(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	other := startVictim(t, l.dsn, "", 0)
	if n := slots(t, l.conn); n != 2 {
		t.Errorf("%d slots", n)
	}
	other.kill()
	eventually(t, "its slot is gone", func() bool { return slots(t, l.conn) == 1 })
	var n int
	if err := l.conn.QueryRow(t.Context(), "select count(*) from pg_replication_slots where not temporary").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d slots that stay, %v", n, err)
	}
}

func TestOneBeatsForAllAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	second := start(l.config(), false)
	t.Cleanup(second.Close)
	third := start(l.config(), false)
	t.Cleanup(third.Close)
	for _, c := range []*Consumer{second, third} {
		eventually(t, "it serves", func() bool { return c.Serves(l.cfg.Now()) })
		if c.Stats().Leads {
			t.Error("two lead")
		}
	}
	if !l.Stats().Leads {
		t.Error("nobody leads")
	}
	l.Close()
	eventually(t, "another leads", func() bool { return second.Stats().Leads != third.Stats().Leads })
	for _, c := range []*Consumer{second, third} {
		before := c.Stats().Confirmations
		eventually(t, "it is confirmed", func() bool { return c.Stats().Confirmations > before+2 })
	}
}

func TestAConsumerThatFallsBehindDropsItsSlot(t *testing.T) {
	t.Parallel()
	l := listen(t, shop, func(c *Config) { c.MaxLag = 1 << 20 })
	l.ready()
	release := make(chan struct{})
	l.register.mu.Lock()
	l.onChange = func([]Relation) { <-release } // the reader stands still
	l.register.mu.Unlock()
	l.exec("insert into parent values (1000)")
	l.exec("insert into item select i, repeat('x', 200) from generate_series(1000, 20000) i")
	eventually(t, "it is behind", func() bool {
		l.wake()
		return l.Stats().Lag > 1<<20
	})
	close(release)
	l.ended(Behind)
	l.ready()
	eventually(t, "one slot is left", func() bool { return slots(t, l.conn) == 1 })
}

func TestALargeTransactionMakesItServeNothing(t *testing.T) {
	t.Parallel()
	l := listen(t, shop, func(c *Config) { c.Bound = 100 * time.Millisecond })
	l.ready()
	table := l.oid("item")
	rows := "50000"
	if rounds(t, 0) > 0 {
		rows = "500000"
	}
	l.confirmed()
	before := l.version(table)
	began := l.cfg.Now()
	l.exec("insert into item select i, repeat('x', 50) from generate_series(1000, 1000 + " + rows + ") i")
	committed := l.cfg.Now()
	served, gap := 0, time.Duration(0)
	for l.version(table) == before {
		now := l.cfg.Now()
		if l.Serves(now) && l.version(table) == before {
			served++
			gap = max(gap, now-committed)
		}
	}
	t.Logf("%s rows: written in %v, told %v later, served for %v of it", rows, committed-began, l.cfg.Now()-committed, gap)
	if gap > l.cfg.Bound {
		t.Errorf("served without the transaction %v after it was committed; the bound is %v", gap, l.cfg.Bound)
	}
	l.ready()
}

func TestNewTablesDoNotRestartTheStreamEachTime(t *testing.T) {
	t.Parallel()
	l := listen(t, shop+InstallSQL)
	l.ready()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		l.exec("create table new_" + name + " (id int primary key)")
	}
	eventually(t, "all are covered", func() bool { return l.Covers([]Relation{l.oid("new_a"), l.oid("new_e")}) })
	if n := l.Stats().Ends[Republished]; n == 0 || n > 2 {
		t.Errorf("%d restarts", n)
	}
	before := l.Stats().SchemaChanges
	l.exec("create temp table scratch (id int primary key) on commit drop; create temp table scratch2 (id int primary key); drop table scratch2")
	l.confirmed()
	if after := l.Stats().SchemaChanges; after != before {
		t.Errorf("temporary tables count as %d changes of the schema", after-before)
	}
}

// withUser is the DSN of another role.
func withUser(t testing.TB, dsn, user string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

func TestRightsThatAreMissing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	admin := connect(t, dsn)
	for _, sql := range []string{
		"create role cdc_none login", "create role cdc_some login replication", shop,
		"revoke create on database " + admin.Config().Database + " from public",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_, _ = admin.Exec(context.Background(), "drop role cdc_none, cdc_some")
	})
	as := func(user string) *listener {
		l := &listener{register: &register{versions: map[Relation]int{}}, t: t, dsn: withUser(t, dsn, user), log: &syncBuffer{}, epoch: time.Now(), conn: admin}
		l.Consumer = start(l.config(), false)
		t.Cleanup(l.gone)
		return l
	}
	as("cdc_none").ended(Forbidden)
	some := as("cdc_some")
	some.ended(NoPublication)
	if some.serves() {
		t.Error("it serves")
	}
	some.exec("create publication lifeguard for table item")
	some.ready()
	if !some.Covers([]Relation{some.oid("item")}) || some.Covers([]Relation{some.oid("parent")}) {
		t.Error("what somebody else published counts, and nothing else")
	}
	some.exec("alter role cdc_some noreplication")
	some.terminate()
	some.ended(Forbidden)
	some.exec("alter role cdc_some replication")
	some.ready()
	some.exec("alter publication lifeguard set (publish = 'insert')")
	some.terminate()
	eventually(t, "it does not do", func() bool { return some.Stats().Ends[NoPublication] > 1 })
	some.exec("drop publication lifeguard")
	some.exec("create publication lifeguard for all tables")
	some.ready()
	if !some.Covers([]Relation{some.oid("parent"), some.oid("item")}) {
		t.Error("all tables are covered")
	}
}

func TestAServerThatIsNotSetUp(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
	l := listenOn(t, server.DSN(""), shop)
	l.ended(WALLevel)
	if l.serves() || l.Stats().State == Streaming {
		t.Error("it serves")
	}
	// It comes back by itself when that is mended.
	l.exec("alter system set wal_level = 'logical'; ")
	l.exec("alter system set max_replication_slots = 1")
	l.exec("alter system set max_wal_senders = 2")
	_ = l.conn.Close(t.Context())
	if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	l.conn = connect(t, l.dsn)
	l.ready()
	// Another finds no slot, until this one goes.
	other := start(l.config(), false)
	t.Cleanup(other.Close)
	eventually(t, "there is no room", func() bool { return other.Stats().Ends[NoRoom] > 0 })
	l.Close()
	eventually(t, "there is", func() bool { return other.Serves(l.cfg.Now()) })
	// A crash.
	epoch := l.version(0)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it serves nothing", func() bool { return !other.Serves(l.cfg.Now()) })
	if l.version(0) == epoch {
		t.Error("what was kept is still valid")
	}
	if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return other.Serves(l.cfg.Now()) })
}

func TestBothConnectionsMustReachOneServer(t *testing.T) {
	t.Parallel()
	here, there := pgtest.DSN(t), pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}).DSN("")
	var moved atomic.Bool
	l := listenOn(t, here, shop, func(c *Config) {
		c.Connect = func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			if replication && !moved.Load() {
				return connectTo(there)(ctx, replication)
			}
			return connectTo(here)(ctx, replication)
		}
	})
	l.ended(Proxied)
	moved.Store(true)
	l.ready()
}

func TestCloseDoesNotWaitForASlotThatIsNotReady(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	blocker := connect(t, dsn)
	for _, sql := range []string{shop, "begin", "select pg_current_xact_id()"} {
		if _, err := blocker.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	l := listenOn(t, dsn, "select 1")
	eventually(t, "the slot is being made", func() bool { return slots(t, l.conn) == 1 })
	l.Close()
	eventually(t, "it is given up", func() bool { return slots(t, l.conn) == 0 })
}
