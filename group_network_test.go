package lifeguard_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// network stands between the driver and the server.
type network struct {
	refuse atomic.Bool // cancel requests
	stuck  atomic.Bool // what is written, until a deadline
}

type stuckConn struct {
	net.Conn
	network *network

	mu       sync.Mutex
	deadline time.Time
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &stuckConn{Conn: conn, network: n}, nil
}

func (c *stuckConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *stuckConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *stuckConn) Write(b []byte) (int, error) {
	if cancels := len(b) == 16 && binary.BigEndian.Uint32(b[4:]) == 80877102; cancels && c.network.refuse.Load() {
		return 0, errors.New("refused by the test")
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.network.stuck.Load() && strings.Contains(string(b), "lifeguard_group_") && b[0] == 'B' {
		c.mu.Lock()
		over := !c.deadline.IsZero() && time.Now().After(c.deadline)
		c.mu.Unlock()
		if over {
			return 0, os.ErrDeadlineExceeded
		}
		<-tick.C
	}
	return c.Conn.Write(b)
}

// networkDB is lockedGroupDB over a network.
func networkDB(t *testing.T, conns int, with func(*lifeguard.Config)) (*sql.DB, string, *network) {
	t.Helper()
	dsn, n := pgtest.DSN(t), new(network)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = n.dial
	config := lifeguard.Config{ConnConfig: cfg, MaxConns: conns, Group: lifeguard.GroupOn}
	if with != nil {
		with(&config)
	}
	connector, err := lifeguard.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(100)
	t.Cleanup(func() { _ = db.Close() })
	outside(t, dsn, "create table t (id int8 primary key, n int8, name text)")
	outside(t, dsn, "insert into t select i, i * i, 'n' || i from generate_series(1, 200) i")
	outside(t, dsn, "create table b as select * from t")
	return db, dsn, n
}

// squares asks for one of the squares in a table, and wants it.
func squares(ctx context.Context, db *sql.DB, table string, i int) error {
	got, err := resultOf(ctx, db, "select n from "+table+" where id = $1", i)
	if err == nil && (len(got.rows) != 1 || got.rows[0][0] != int64(i*i)) {
		err = fmt.Errorf("%d in %s: %v", i, table, got.rows)
	}
	return err
}

func TestNobodyReadsTheRestOfAGroupThatCouldNotBeCancelled(t *testing.T) {
	db, dsn, n := networkDB(t, 1, nil)
	errs := make(chan error, 3)
	unlock, done := blocked(t, db, dsn, func() []func() {
		errs = make(chan error, 3)
		return []func(){
			func() { errs <- squares(t.Context(), db, "t", 3) },
			func() { errs <- squares(t.Context(), db, "b", 4) },
			func() { errs <- squares(t.Context(), db, "t", 5) },
		}
	})
	n.refuse.Store(true)
	if err := <-errs; err != nil {
		t.Errorf("the leader gets %v", err)
	}
	eventually(t, "the riders have been sent back", func() bool { return stats(t, db).Limiter.Queued == 2 })
	unlock()
	done.Wait()
	if closed := stats(t, db).Pool.Closed["dirty"]; closed != 1 {
		t.Errorf("%d connections were given up", closed)
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("a rider gets %v", err)
		}
	}
	for i := range 20 {
		if err := squares(t.Context(), db, "t", i+1); err != nil {
			t.Error(err)
		}
	}
}

func TestALockThatStopsAllOfAGroupCostsNoConnection(t *testing.T) {
	db, dsn, _ := networkDB(t, 1, nil)
	var ctx context.Context
	var cancel context.CancelFunc
	var pid int
	if err := db.QueryRowContext(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	unlock, done := blocked(t, db, dsn, func() []func() {
		ctx, cancel = context.WithCancel(t.Context()) //nolint:fatcontext // one for each attempt
		calls := make([]func(), 12)
		for i := range calls {
			calls[i] = func() { _ = squares(ctx, db, "b", i+1) }
		}
		return calls
	})
	cancel()
	eventually(t, "no slot is in use", func() bool { return stats(t, db).Limiter.InFlight == 0 })
	var now int
	if err := db.QueryRowContext(t.Context(), "select pg_backend_pid()").Scan(&now); err != nil || now != pid {
		t.Errorf("session %d has become %d: %v", pid, now, err)
	}
	unlock()
	done.Wait()
}

func TestALeaderWithoutResultDoesNotWaitForOthers(t *testing.T) {
	db, dsn, n := networkDB(t, 1, nil)
	var ctx context.Context
	var cancel context.CancelFunc
	gone, rider := make(chan error, 1), make(chan error, 1)
	ask := func(ctx context.Context, zero int) error {
		_, err := resultOf(ctx, db, "select 100 / (n - $1) from t where id = 3", zero)
		return err
	}
	known := func() { _ = ask(t.Context(), 1) }
	untilRidden(t, db, func() { together(t, db, 1, known, known, known, known) })
	unlock, done := blocked(t, db, dsn, func() []func() {
		ctx, cancel = context.WithCancel(t.Context()) //nolint:fatcontext // one for each attempt
		gone, rider = make(chan error, 1), make(chan error, 1)
		for range 6 {
			_ = ask(t.Context(), 1)
		}
		return []func(){
			func() { gone <- ask(ctx, 9) }, // divides by zero
			func() { rider <- squares(t.Context(), db, "b", 4) },
		}
	})
	n.refuse.Store(true)
	cancel()
	select {
	case err := <-gone:
		if !errors.Is(err, context.Canceled) && !isSQLState(err, "22012") {
			t.Errorf("the leader gets %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the leader waits for its rider")
	}
	n.refuse.Store(false)
	unlock()
	done.Wait()
	if err := <-rider; err != nil {
		t.Error(err)
	}
}

func TestAGroupThatCannotBeWrittenIsSentElsewhere(t *testing.T) {
	db, _, n := networkDB(t, 1, nil)
	ask := func() {
		if err := squares(t.Context(), db, "t", 3); err != nil {
			t.Error(err)
		}
	}
	untilRidden(t, db, func() { together(t, db, 1, ask, ask, ask, ask) })
	before := stats(t, db).Group.Alone
	for limit := time.Now().Add(30 * time.Second); stats(t, db).Group.Alone == before; {
		if time.Now().After(limit) {
			t.Fatal("no group was stuck")
		}
		n.stuck.Store(true)
		together(t, db, 1, ask, ask, ask, ask, ask)
		n.stuck.Store(false)
	}
}

func TestAPanicInAHookLeavesNoRiderBehind(t *testing.T) {
	var panics atomic.Bool
	db, _, _ := networkDB(t, 1, func(cfg *lifeguard.Config) {
		cfg.ConnConfig.OnPgError = func(_ *pgconn.PgConn, err *pgconn.PgError) bool {
			var stack [8 << 10]byte
			inGroup := strings.Contains(string(stack[:runtime.Stack(stack[:], false)]), "readGroup")
			if panics.Load() && inGroup && err.Code == "22012" {
				panics.Store(false)
				panic("a hook of the application")
			}
			return true
		}
	})
	const query = "select 100 / (n - $1) from t where id = 3"
	ask := func(zero int) func() {
		return func() {
			defer func() { _ = recover() }()
			if got, err := resultOf(t.Context(), db, query, zero); zero != 9 && (err != nil || len(got.rows) != 1) {
				t.Errorf("%v, %v", got, err)
			}
		}
	}
	untilRidden(t, db, func() { together(t, db, 1, ask(1), ask(1), ask(2), ask(3)) })
	before := stats(t, db).Group.Groups
	for limit := time.Now().Add(30 * time.Second); stats(t, db).Group.Groups == before; {
		if time.Now().After(limit) {
			t.Fatal("no group was sent")
		}
		for range 6 {
			ask(1)()
		}
		held := mustBegin(t, db)
		var done sync.WaitGroup
		for i, zero := range []int{1, 9, 2, 3} {
			done.Go(ask(zero))
			eventually(t, "it waits", func() bool { return stats(t, db).Limiter.Queued == i+1 })
		}
		panics.Store(true)
		if err := held.Rollback(); err != nil {
			t.Error(err)
		}
		done.Wait()
		panics.Store(false)
	}
	eventually(t, "no slot is in use", func() bool { return stats(t, db).Limiter.InFlight == 0 })
	for i := range 10 {
		if err := squares(t.Context(), db, "t", i+1); err != nil {
			t.Error(err)
		}
	}
}
