package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// sentPlainly matches the message that runs a text without arguments.
func sentPlainly(text string) func([]byte) bool {
	return func(b []byte) bool { return len(b) > 0 && b[0] == 'Q' && bytes.Contains(b, []byte(text)) }
}

// openCachedCut is openCached over connections that can be cut.
func openCachedCut(t *testing.T, cut *cutter, settings ...string) *cachedDB {
	t.Helper()
	dsn := pgtest.DSN(t)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	mustExec(t, plain, cacheSchema)
	db := openCut(t, cut, withSettings(dsn, append([]string{"lifeguard_cache=local"}, settings...)...))
	return openCachedOn(t, db, plain, dsn)
}

// holdItem keeps writers of an item waiting on the server.
func (c *cachedDB) holdItem(id int) (release func()) {
	c.t.Helper()
	tx, err := c.plain.BeginTx(context.Background(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := tx.Exec("select from item where id = $1 for update", id); err != nil {
		c.t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// lateConn delivers one message only when its sender has given up long ago.
type lateConn struct {
	net.Conn
	late *lateness
	cut  atomic.Bool
}

type lateness struct {
	armed   atomic.Bool
	matches func([]byte) bool
	deliver chan struct{} // closed: now
	done    chan struct{} // closed: delivered and answered
}

func (l *lateness) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &lateConn{Conn: conn, late: l}, nil
}

func (c *lateConn) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil // nor does the server hear that the client has gone
	}
	if !c.late.matches(b) || !c.late.armed.CompareAndSwap(true, false) {
		return c.Conn.Write(b)
	}
	c.cut.Store(true)
	_ = c.SetReadDeadline(time.Now())
	message := bytes.Clone(b)
	go func() {
		defer close(c.late.done)
		<-c.late.deliver
		_, _ = c.Conn.Write(message)
		_ = c.Conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Conn.Read(make([]byte, 1000))
		_ = c.Conn.Close()
	}()
	return len(b), nil
}

func (c *lateConn) Read(b []byte) (int, error) {
	if c.cut.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b)
	if c.cut.Load() {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *lateConn) Close() error {
	if c.cut.Load() {
		return nil
	}
	return c.Conn.Close()
}

func (c *lateConn) SetDeadline(t time.Time) error {
	if c.cut.Load() {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

func TestAWriteThatArrivesLateStaysFencedOffUntilThen(t *testing.T) {
	const write = "update item set name = 'late' where id = 1"
	late := &lateness{matches: sentPlainly(write), deliver: make(chan struct{}), done: make(chan struct{})}
	dsn := pgtest.DSN(t)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
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
	c.warm(allItems)
	mustExec(t, c, write) // so that it is analysed
	mustExec(t, c, "update item set name = 'early' where id = 1")
	c.warm(allItems)

	conn, err := c.Conn(t.Context()) // which does not try again
	if err != nil {
		t.Fatal(err)
	}
	late.armed.Store(true)
	if _, err := conn.ExecContext(t.Context(), write); err == nil {
		t.Fatal("no error")
	}
	_ = conn.Close()
	if c.stats().Unsettled != 1 {
		t.Errorf("%+v", c.stats())
	}
	for range 20 { // the backend is idle: it has not got the message
		if c.isWarm(allItems) && c.stats().Unsettled == 1 {
			t.Fatal("a hit while a write may still arrive")
		}
		<-time.After(5 * time.Millisecond) // time for the questions after the backend
	}
	close(late.deliver)
	<-late.done
	for c.stats().Unsettled > 0 {
		want, err := readAll(t.Context(), plain, oneItem, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.read(oneItem, 1); strings.Contains(want, "|late|") && got != want {
			t.Fatalf("%q after %q was visible", got, want)
		}
	}
	c.same("after the backend is gone", allItems)
	c.warm(allItems)
}

func TestATerminatedBackendsWriteIsSettled(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(allItems)
	release := c.holdItem(1)
	failed := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(context.Background(), "update item set name = 'x' where id = 1")
		failed <- err
	}()
	eventually(t, "the write to wait", func() bool { return c.blocked() == 1 })
	mustExec(t, c.plain, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	release()
	eventually(t, "the outcome", func() bool { return c.stats().Unsettled == 0 })
	c.same("after the backend is gone", allItems)
	c.warm(allItems)
}

func TestACancelledWriteIsSettled(t *testing.T) {
	for _, cancel := range []string{"close", "keep"} {
		t.Run(cancel, func(t *testing.T) {
			c := openCached(t, cacheSchema, "lifeguard_cancel="+cancel)
			c.warm(allItems)
			release := c.holdItem(1)
			ctx, stop := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := c.ExecContext(ctx, "update item set name = 'x' where id = 1")
				failed <- err
			}()
			eventually(t, "the write to wait", func() bool { return c.blocked() == 1 })
			if c.isWarm(allItems) {
				t.Error("a hit while a write is under way")
			}
			stop()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			release()
			eventually(t, "the outcome", func() bool { return c.stats().Unsettled == 0 })
			c.same("after the outcome is known", allItems)
			c.warm(allItems)
		})
	}
}

func TestALostAnswerToCommitNeverShowsOldRows(t *testing.T) {
	cut := &cutter{commits: sentPlainly("commit\x00")}
	cut.choose = func() kindOfCut { return []kindOfCut{cutNot, cutBefore, cutAfter}[rand.N(3)] }
	c := openCachedCut(t, cut, "pool_max_conns=6")
	mustExec(t, c, "create table counter (id int primary key, n int); insert into counter values (1, 0)")
	const read = "select n from counter where id = 1"
	c.warm(read)
	cut.armed.Store(true)
	seen := 0
	value := func(q rowQuerier) (n int) {
		t.Helper()
		rows, err := q.QueryContext(t.Context(), read)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if !rows.Next() || rows.Scan(&n) != nil {
			t.Fatal(rows.Err())
		}
		return n
	}
	lost := int64(0)
	for i := 1; cut.after.Load() < cuts(t, 15); i++ {
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, "update counter set n = $1 where id = 1", i)
		if err := tx.Commit(); err != nil {
			lost++
		} else if got := value(c.DB); got < i {
			t.Fatalf("%d was committed, and %d read", i, got)
		}
		for range 5 {
			before := value(c.plain)
			got := value(c.DB)
			if got < before || got < seen {
				t.Fatalf("read %d after %d and %d had been visible", got, before, seen)
			}
			seen = got
		}
	}
	cut.armed.Store(false)
	eventually(t, "every outcome", func() bool { return c.stats().Unsettled == 0 })
	if value(c.DB) != value(c.plain) {
		t.Error("the last value differs")
	}
	if lost == 0 || c.stats().Invalidations["unsettled"] == 0 {
		t.Errorf("%d commits failed: %+v", lost, c.stats())
	}
}

// kindOfCut names the type where a variable hides it.
type kindOfCut = cut

func TestAReadNeverFallsBehindWhatWasAcknowledged(t *testing.T) {
	c := openCached(t, cacheSchema+"create table counter (id int primary key, n int); insert into counter values (1, 0)", "pool_max_conns=8")
	const read = "select n from counter where id = 1"
	c.warm(read)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var started, acknowledged atomic.Int64
	var reads atomic.Int64
	var wait sync.WaitGroup
	write := func(ctx context.Context, n int64) error {
		if n%3 == 0 {
			_, err := c.ExecContext(ctx, "update counter set n = $1 where id = 1 and n < $1", n)
			return err
		}
		if n%3 == 1 {
			_, err := readAll(ctx, c.DB, "update counter set n = $1 where id = 1 and n < $1 returning n", n)
			return err
		}
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "update counter set n = $1 where id = 1 and n < $1", n); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if n%5 == 0 {
			_ = tx.Rollback()
			return errors.New("rolled back")
		}
		return tx.Commit()
	}
	wait.Go(func() { // one writer: values only grow
		for ctx.Err() == nil {
			n := started.Add(1)
			each, cancel := context.WithCancel(ctx)
			if n%7 == 0 {
				time.AfterFunc(time.Duration(rand.N(1000))*time.Microsecond, cancel)
			}
			if err := write(each, n); err == nil {
				acknowledged.Store(n)
			}
			cancel()
		}
	})
	wait.Go(func() {
		for ctx.Err() == nil {
			_, _ = c.plain.ExecContext(ctx, `select pg_terminate_backend(pid) from pg_stat_activity
				where datname = current_database() and pid <> pg_backend_pid() and query like 'update%' order by random() limit 1`)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	for range 8 {
		wait.Go(func() {
			last := int64(0)
			for ctx.Err() == nil {
				low := acknowledged.Load()
				var n int64
				if err := c.QueryRowContext(ctx, read).Scan(&n); err != nil {
					continue
				}
				if high := started.Load(); n < low || n > high || n < last {
					t.Errorf("read %d; acknowledged before %d, started %d, read before %d", n, low, high, last)
					return
				}
				last = n
				reads.Add(1)
			}
		})
	}
	wait.Wait()
	st := c.stats()
	t.Logf("%d reads, %d writes, %d hits, %d shared, %d misses; %v", reads.Load(), started.Load(), st.Hits, st.Shared, st.Misses, st.Invalidations)
	if st.Hits+st.Shared == 0 {
		t.Error("nothing came from memory")
	}
}
