package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// withStandby starts a standby, and has commits of the primary wait for it.
func withStandby(t testing.TB, primary *pgtest.Server, synchronousCommit string) *pgtest.Server {
	t.Helper()
	standby := pgtest.NewStandby(t, primary, map[string]string{"cluster_name": "second"})
	admin, err := pgx.Connect(t.Context(), primary.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	for _, text := range []string{
		"alter system set synchronous_standby_names = 'second'",
		"alter system set synchronous_commit = " + synchronousCommit, "select pg_reload_conf()",
	} {
		if _, err := admin.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the standby is a synchronous one", func() bool {
		var n int
		err := admin.QueryRow(t.Context(), "select count(*) from pg_stat_replication where sync_state = 'sync' and state = 'streaming'").Scan(&n)
		return err == nil && n == 1
	})
	return standby
}

// Behind a standby that has stopped to replay, every commit is heard of long before it is visible.
func TestNothingStaleIsKeptWhileAStandbyDoesNotReplay(t *testing.T) {
	primary := logicalServer(t)
	standby := withStandby(t, primary, "remote_apply")
	onStandby, err := pgx.Connect(t.Context(), standby.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = onStandby.Close(context.Background()) }()
	replay := func(how string) {
		t.Helper()
		if _, err := onStandby.Exec(t.Context(), "select pg_wal_replay_"+how+"()"); err != nil {
			t.Fatal(err)
		}
	}
	c := openCDC(t, primary, cacheSchema, "lifeguard_cache_bound=10s")
	const query = "select name from item where id = $1"
	held := 0
	for round := range 10 {
		c.warm(query, 1)
		replay("pause")
		eventually(t, "the replay is paused", func() bool {
			var state string
			return onStandby.QueryRow(t.Context(), "select pg_get_wal_replay_pause_state()").Scan(&state) == nil && state == "paused"
		})
		commits, refused := c.stats().CDC.Commits, c.stats().CDC.Refused
		var writer sync.WaitGroup
		var written atomic.Bool
		name := fmt.Sprint("round ", round)
		writer.Go(func() {
			if _, err := c.plain.ExecContext(t.Context(), "update item set name = $1 where id = 1", name); err != nil {
				t.Error(err)
			}
			written.Store(true)
		})
		eventually(t, "the commit is heard of", func() bool { return c.stats().CDC.Commits > commits })
		for range 3 {
			c.same("while it waits", query, 1)
		}
		if !written.Load() && c.stats().CDC.Refused-refused == 3 {
			held++
		}
		replay("resume")
		writer.Wait()
		for range 3 {
			var got string
			if err := c.QueryRowContext(t.Context(), query, 1).Scan(&got); err != nil || got != name {
				t.Errorf("after it is visible: %q, %v; want %q", got, err, name)
			}
		}
	}
	if held < 5 { // the first may come before the server waits
		t.Errorf("only %d of 10 commits have waited: this shows little", held)
	}
}

// The DSN names both servers. What the second is told after it was promoted is never older
// than the bound, and nothing that the first one answered outlives it.
func TestNoReadIsStaleAfterAFailover(t *testing.T) {
	const bound = 500 * time.Millisecond
	primary := logicalServer(t)
	dsn, _, err := primary.CreateDatabase(t.Context()) // goes with the server, which does not come back
	if err != nil {
		t.Fatal(err)
	}
	if err := pgxDo(t.Context(), dsn, func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), "create table counter (id int primary key, n bigint); insert into counter values (1, 0)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	standby := withStandby(t, primary, "on") // so that what was acknowledged is not lost
	first, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(standby.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	first.Host += "," + second.Host
	both := withSettings(first.String(), "target_session_attrs=read-write", "connect_timeout=5")
	plain, err := sql.Open("pgx", both)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	c := openCachedOn(t, openDSN(t, withSettings(both, "lifeguard_cache=cdc", "lifeguard_cache_bound="+bound.String())), plain, both)
	c.warm("select n from counter where id = $1", 1)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acknowledged countLog
	var others sync.WaitGroup
	others.Go(func() {
		for n := int64(1); ctx.Err() == nil; {
			// A write whose answer was lost is repeated: it sets the same count.
			if _, err := plain.ExecContext(t.Context(), "update counter set n = $1 where id = 1", n); err != nil {
				idle(ctx, 20*time.Millisecond)
				continue
			}
			acknowledged.add(n)
			n++
			idle(ctx, time.Duration(n%5)*time.Millisecond)
		}
	})
	var reads, failed, stale atomic.Int64
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				var n int64
				if err := c.QueryRowContext(t.Context(), "select n from counter where id = $1", 1).Scan(&n); err != nil {
					failed.Add(1) // there is no server
					idle(ctx, 5*time.Millisecond)
					continue
				}
				if age := acknowledged.age(n, began); age > bound {
					stale.Add(1)
				}
				if reads.Add(1)%64 == 0 {
					idle(ctx, time.Millisecond)
				}
			}
		})
	}
	hits := func(more uint64) {
		t.Helper()
		before := c.stats().Hits
		eventually(t, "it serves from memory", func() bool { return c.stats().Hits > before+more })
	}
	hits(100)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	var promoted bool
	if err := pgxDo(t.Context(), standby.DSN(""), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "select pg_promote()").Scan(&promoted)
	}); err != nil || !promoted {
		t.Fatal(promoted, err)
	}
	hits(100)
	stop()
	others.Wait()
	t.Logf("%d reads, %d without a server; %+v", reads.Load(), failed.Load(), c.stats().CDC)
	if stale.Load() > 0 {
		t.Errorf("%d of %d reads are older than the bound", stale.Load(), reads.Load())
	}
}

// A prepared transaction is neither seen nor waited for until it is committed, by whomever.
func TestCommitPreparedOfOthersIsSeen(t *testing.T) {
	c := openCDC(t, logicalServer(t, "max_prepared_transactions", "5"), cacheSchema)
	const query = "select name from item where id = $1"
	prepare := func(name string) {
		t.Helper()
		mustExec(t, c.plain, "begin; update item set name = '"+name+"' where id = 1; prepare transaction 'two-phase'")
	}
	for _, end := range []string{"commit prepared 'two-phase'", "rollback prepared 'two-phase'"} {
		c.warm(query, 1)
		prepare("prepared, and " + end[:6])
		c.heard()
		c.same("while it is prepared", query, 1)
		c.warm(query, 1)
		mustExec(t, c.plain, end)
		c.heard()
		c.same(end, query, 1)
		c.warm(query, 1)
	}
	// A stream that begins meanwhile has not heard of it, and serves nothing before its end.
	prepare("prepared before the stream")
	mustExec(t, c.plain, "select pg_terminate_backend(active_pid) from pg_replication_slots where active")
	eventually(t, "the stream has ended", func() bool { return c.stats().CDC.Restarts["slot_lost"] > 0 })
	eventually(t, "the next slot is being made", func() bool {
		var n int
		return c.plain.QueryRowContext(t.Context(), "select count(*) from pg_replication_slots").Scan(&n) == nil && n == 1
	})
	hits := c.stats().Hits
	for range 5 {
		c.same("while another stream waits for it", query, 1)
	}
	if st := c.stats(); st.CDC.State == "streaming" || st.Hits != hits {
		t.Errorf("it serves: %+v", st.CDC)
	}
	mustExec(t, c.plain, "commit prepared 'two-phase'")
	c.heard()
	c.same("after it", query, 1)
	c.warm(query, 1)
}
