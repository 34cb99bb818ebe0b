package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// With db.SetMaxOpenConns(1) an application has one session, whatever the cache itself asks
// the server meanwhile, and wherever a query's flight runs.
func TestOneOpenConnectionIsOneSessionWhateverTheCacheAsks(t *testing.T) {
	for _, settings := range [][]string{nil, {"lifeguard_cancel=keep"}, {"lifeguard_mode=session"}} {
		t.Run(fmt.Sprint(settings), func(t *testing.T) {
			c := openCached(t, cacheSchema, append(settings, "pool_max_conns=4")...)
			c.SetMaxOpenConns(1)
			var curious sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer curious.Wait()
			defer cancel()
			var asked atomic.Int64
			curious.Go(func() { // takes a connection that is idle, as the cache's own questions do
				for ctx.Err() == nil {
					_, _ = c.names.ExplainCache(ctx, oneItem, 1)
					asked.Add(1)
				}
			})
			staysOneSession(t, c, func() {
				for now := asked.Load(); asked.Load() < now+2; {
					runtime.Gosched()
				}
			})
		})
	}
}

// staysOneSession lets others ask between the application's statements.
func staysOneSession(t *testing.T, c *cachedDB, lets func()) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	pid := backendOf(t, c)
	mustExec(t, c, "create temporary table mine (n int)")
	for i := range 150 {
		want := strconv.Itoa(i)
		mustExec(t, c, "select set_config('app.x', $1, false)", want)
		what := someOperation(t, c, r, i)
		if i%2 == 0 {
			lets()
		}
		var got string
		if err := c.QueryRowContext(t.Context(), "show app.x").Scan(&got); err != nil || got != want {
			t.Fatalf("%d: after %s the setting is %q, want %q: %v", i, what, got, want, err)
		}
		if now := backendOf(t, c); now != pid {
			t.Fatalf("%d: after %s the backend is %s, before %s", i, what, now, pid)
		}
	}
	mustExec(t, c, "insert into mine values (1)")
}

func backendOf(t *testing.T, c *cachedDB) (pid string) {
	t.Helper()
	if err := c.QueryRowContext(t.Context(), "select pg_backend_pid()::text").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// someOperation does one of what makes the cache ask: in the end it has no lease.
func someOperation(t *testing.T, c *cachedDB, r *rand.Rand, i int) string {
	t.Helper()
	switch r.IntN(9) {
	case 0: // of which nobody knows whether it waits for its log
		mustExec(t, c, "begin; update item set name = name || '!' where id = 1; commit")
		return "several statements"
	case 1:
		mustExec(t, c, fmt.Sprintf("create table extra%d (n int)", i))
		return "DDL"
	case 2:
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, "set local synchronous_commit = off")
		mustExec(t, tx, "update other set name = name || '?' where id = $1", 1+r.IntN(9))
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		return "a commit that does not wait for its log"
	case 3:
		conn, err := c.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Raw(func(any) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		return "Raw"
	case 4:
		if err := c.names.InvalidateCache("item"); err != nil {
			t.Fatal(err)
		}
		return "InvalidateCache"
	case 5:
		mustExec(t, c, "update item set name = $1 where id = 2", strconv.Itoa(i))
		return "a write"
	case 6:
		st, err := c.PrepareContext(t.Context(), oneItem)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		var row sql.NullString
		_ = st.QueryRowContext(t.Context(), 1).Scan(&row)
		return "a prepared statement"
	default:
		for range 3 {
			if _, err := readAll(t.Context(), c, oneItem, 1+r.IntN(3)); err != nil {
				t.Fatal(err)
			}
		}
		return "reads"
	}
}
