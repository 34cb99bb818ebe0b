package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// withinReason is a context that ends only if something hangs.
func withinReason(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestSessionModeHasStdlibsLifeCycle(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	history := func(db *sql.DB, opened *atomic.Int64) string {
		defer db.Close()
		ctx := withinReason(t)
		told := ""
		note := func(what string) {
			st := db.Stats()
			// database/sql closes surplus connections at once; the server may take a moment
			eventually(t, fmt.Sprintf("%s: %d backends", what, st.OpenConnections), func() bool { return backends(t, out) == st.OpenConnections })
			told += fmt.Sprintf("%s: open %d idle %d in use %d max idle closed %d max lifetime closed %d hooks %d\n", what,
				st.OpenConnections, st.Idle, st.InUse, st.MaxIdleClosed, st.MaxLifetimeClosed, opened.Load())
		}
		hold := func(n int) []*sql.Conn {
			var conns []*sql.Conn
			for range n {
				conn, err := db.Conn(ctx)
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			return conns
		}
		release := func(conns []*sql.Conn) {
			for _, conn := range conns {
				mustClose(t, conn)
			}
		}
		note("opened")
		if err := db.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
		note("a ping")
		conns := hold(6)
		note("six held, without a statement")
		release(conns)
		note("released to two idle")
		db.SetMaxIdleConns(4)
		release(hold(6))
		note("released to four idle")
		db.SetMaxIdleConns(1)
		note("one idle")
		db.SetMaxIdleConns(-1)
		note("none idle")
		release(hold(3))
		note("none kept")
		db.SetMaxIdleConns(5)
		release(hold(5))
		db.SetConnMaxLifetime(time.Nanosecond)
		conns = hold(2)
		note("too old when taken")
		release(conns)
		note("too old when released")
		db.SetConnMaxLifetime(0)
		db.SetMaxOpenConns(3)
		conns = hold(3)
		note("three at most")
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		_, err := db.Conn(short)
		cancel()
		told += showError(err)
		release(conns)
		note("end")
		return told
	}
	count := func(opened *atomic.Int64) func(context.Context, *pgx.Conn) error {
		return func(context.Context, *pgx.Conn) error { opened.Add(1); return nil }
	}

	var plainOpened, guardOpened atomic.Int64
	plain := &hooks{}
	plainDB := sql.OpenDB(countingConnector{plain.connector(t, dsn), &plainOpened})
	want := history(plainDB, &plainOpened)

	cfg := parse(t, withSettings(dsn, "lifeguard_mode=session"))
	cfg.AfterConnect = count(&guardOpened)
	got := history(openConfig(t, cfg), &guardOpened)
	if got != want {
		t.Errorf("stdlib:\n%slifeguard:\n%s", want, got)
	}
}

type countingConnector struct {
	driver.Connector
	opened *atomic.Int64
}

func (c countingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err == nil {
		c.opened.Add(1)
	}
	return conn, err
}

func TestInSessionModeNobodyWaitsForEver(t *testing.T) {
	for _, maxOpen := range []int{0, 1, 2, 5} {
		for _, maxIdle := range []int{0, 2, 20} {
			t.Run(fmt.Sprintf("open %d idle %d", maxOpen, maxIdle), func(t *testing.T) {
				db := open(t, "lifeguard_mode=session", "pool_max_conns=2")
				db.SetMaxOpenConns(maxOpen)
				db.SetMaxIdleConns(maxIdle)
				ctx := withinReason(t)
				var wg sync.WaitGroup
				for g := range 20 {
					wg.Go(func() {
						for i := range 10 {
							short, cancel := ctx, context.CancelFunc(func() {})
							if (g+i)%3 == 0 { // some give up while they wait
								short, cancel = context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
							}
							_, err := db.ExecContext(short, "select 1")
							cancel()
							if err != nil && (g+i)%3 != 0 {
								t.Errorf("statement %d: %v", i, err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

func TestInSessionModeAnAbandonedAttemptToConnectIsUsedByTheNext(t *testing.T) {
	cfg := parse(t, withSettings(pgtest.DSN(t), "lifeguard_mode=session", "pool_max_conns=1"))
	gate, entered := make(chan struct{}), make(chan struct{}, 10)
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	db := openConfig(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- db.PingContext(ctx) }()
	<-entered
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left is told %v", err)
	}
	close(gate)
	if err := db.PingContext(withinReason(t)); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func TestInSessionModeAWarmUpTakesNobodysPlace(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	db := openDSN(t, withSettings(dsn, "lifeguard_mode=session", "pool_max_conns=2", "pool_min_conns=2"))
	begun := time.Now() // it may be that nothing is warmed up in this mode
	eventually(t, "warm-up", func() bool { return backends(t, out) == 2 || time.Since(begun) > 300*time.Millisecond })
	ctx := withinReason(t)
	for i := range 2 {
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatalf("checkout %d of 2: %v", i+1, err)
		}
		defer conn.Close()
		if err := conn.PingContext(ctx); err != nil {
			t.Error(err)
		}
	}
}

// database/sql does not call ResetSession on every connection that it hands out: not
// on one that its opener made for a caller who left meanwhile (sql.go, putConn with
// resetSession false). So an idle connection must be taken out of the pool's reach by
// its first use, not by ResetSession.
func TestInSessionModeAConnectionInUseIsNotTakenAway(t *testing.T) {
	connector, err := lifeguard.NewConnector(parse(t, withSettings(pgtest.DSN(t), "lifeguard_mode=session", "pool_max_conns=1")))
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close()
	c, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := c.(*lifeguard.Conn) //nolint:errcheck // Connect returns no other
	if !conn.IsValid() {        // given to database/sql's free list
		t.Fatal("not valid")
	}
	tx, err := conn.BeginTx(t.Context(), driver.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	other, err := connector.Connect(short)
	if err == nil {
		_ = other.Close()
		t.Error("a second connection was made of one")
	}
	if err := tx.Commit(); err != nil {
		t.Errorf("the connection in use was taken away: %v", err)
	}
	_ = conn.Close()
}

// A connection that database/sql's opener made, for a caller who left, lies in its free
// list without having been used. Somebody who waits for a place must get it.
func TestInSessionModeAConnectionThatNobodyUsedYetGivesWay(t *testing.T) {
	connector, err := lifeguard.NewConnector(parse(t, withSettings(pgtest.DSN(t), "lifeguard_mode=session", "pool_max_conns=1")))
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close()
	idle, err := connector.Connect(t.Context()) // putConnDBLocked: no IsValid, no ResetSession
	if err != nil {
		t.Fatal(err)
	}
	other, err := connector.Connect(withinReason(t))
	if err != nil {
		t.Errorf("waits beside a connection that nobody uses: %v", err)
	} else if err := other.(driver.Pinger).Ping(t.Context()); err != nil { //nolint:errcheck // *lifeguard.Conn is one
		t.Error(err)
	}
	if err := idle.(driver.Pinger).Ping(t.Context()); err != nil && !errors.Is(err, driver.ErrBadConn) { //nolint:errcheck // *lifeguard.Conn is one
		t.Errorf("the one that gave way says %v, which database/sql does not retry", err)
	}
	_ = idle.Close()
	if other != nil {
		_ = other.Close()
	}
}

func TestSessionModeKeepsStateBetweenCheckouts(t *testing.T) {
	db := open(t, "lifeguard_mode=session")
	db.SetMaxOpenConns(1)
	mustExec(t, db, "create temp table scratch (n int)")
	for range 10 {
		mustExec(t, db, "insert into scratch values (1)")
	}
	var n int
	if err := db.QueryRow("select count(*) from scratch").Scan(&n); err != nil || n != 10 {
		t.Errorf("%d rows, %v", n, err)
	}
	runtime.KeepAlive(db)
}
