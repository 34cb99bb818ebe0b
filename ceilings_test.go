package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestTheLowestCeilingIsTheLimit(t *testing.T) {
	t.Parallel()
	got := 0
	c := &ceilings{set: func(n int) { got = n }}
	for _, step := range []struct {
		change func(int)
		n      int
		want   int
	}{
		{c.setUser, 10, 10},
		{c.setAuto, 6, 6},
		{c.setFleet, 8, 6},
		{c.setAuto, 9, 8},
		{c.setUser, 3, 3},
		{c.setUser, 10, 8},
		{c.setFleet, 20, 9},
	} {
		if step.change(step.n); got != step.want {
			t.Errorf("after %d the limit is %d and not %d", step.n, got, step.want)
		}
	}
}

func TestAutoIsAValueOfTheLimit(t *testing.T) {
	cfg, err := ParseConfig("postgres://u@127.0.0.1:1/d?lifeguard_limit=auto")
	if err != nil || cfg.Limit != AutoLimit {
		t.Fatalf("%v, %v", cfg.Limit, err)
	}
	t.Setenv("LIFEGUARD_LIMIT", "3")
	cfg, err = ParseConfig("postgres://u@127.0.0.1:1/d?lifeguard_limit=auto")
	if err != nil || cfg.Limit != 3 {
		t.Errorf("the environment does not override auto: %v, %v", cfg.Limit, err)
	}
	t.Setenv("LIFEGUARD_LIMIT", "auto")
	cfg, err = ParseConfig("postgres://u@127.0.0.1:1/d?lifeguard_limit=3")
	if err != nil || cfg.Limit != AutoLimit {
		t.Errorf("the environment cannot say auto: %v, %v", cfg.Limit, err)
	}
	for _, wrong := range []int{-1, -3} {
		cfg.Limit = wrong
		if _, err := NewConnector(cfg); err == nil || !strings.Contains(err.Error(), "or auto") {
			t.Errorf("%d: %v", wrong, err)
		}
	}
	cfg.Limit = 0
	cfg.MaxConns = -2
	if _, err := NewConnector(cfg); err == nil {
		t.Error("auto is no value of pool_max_conns")
	}
}

func TestTheAdaptiveLimitLearnsFromStatementsOnTheServer(t *testing.T) {
	db := openFleet(t, pgtest.DSN(t)+"&lifeguard_limit=auto&pool_max_conns=20")
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if got := connector.Stats().Limiter.Limit; got != autoStart {
		t.Errorf("it starts with %d", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 40 {
		load.Go(func() {
			n := 0
			for ctx.Err() == nil {
				if err := db.QueryRowContext(ctx, "select count(*) from generate_series(1, 3000)").Scan(&n); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	waitFor(t, "windows are judged", func() bool { return connector.Stats().Auto.Windows > 5 })
	waitFor(t, "a probe", func() bool { return connector.Stats().Auto.Probes > 0 })
	if st := connector.Stats(); st.Auto.Fingerprints != 1 || st.Auto.Slowdown <= 0 {
		t.Errorf("%+v", st.Auto)
	}
	if err := connector.SetLimit(2); err != nil {
		t.Fatal(err)
	}
	if got := connector.Stats().Limiter.Limit; got > 2 {
		t.Errorf("SetLimit(2), and the limit is %d", got)
	}
	stop()
	load.Wait()

	before := connector.Stats().Auto
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	connector.core.auto.mu.Lock()
	samples := connector.core.auto.window.n
	connector.core.auto.mu.Unlock()
	if _, err := tx.ExecContext(t.Context(), "select 1"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	connector.core.auto.mu.Lock()
	defer connector.core.auto.mu.Unlock()
	if n := connector.core.auto.window.n; n != samples || len(connector.core.auto.known) != before.Fingerprints {
		t.Errorf("a transaction's statements or a ping were samples: %d, then %d", samples, n)
	}
}

func TestAFleetsShareBoundsTheAdaptiveLimit(t *testing.T) {
	db := openFleet(t, pgtest.DSN(t)+"&lifeguard_limit=auto&pool_max_conns=20&lifeguard_fleet_budget=3&application_name=both")
	waitFor(t, "the share", func() bool { return fleetStats(t, db).Share == 3 })
	connector, _ := FromDB(db)
	if st := connector.Stats(); st.Limiter.Limit != 3 || st.Auto.Limit != autoStart {
		t.Errorf("limit %d, auto %d", st.Limiter.Limit, st.Auto.Limit)
	}
	if st := connector.Stats(); st.Limiter.MaxQueue != 100*20 {
		t.Errorf("the queue's bound follows a limit that nobody set: %d", st.Limiter.MaxQueue)
	}
}

// A pool that is resized at random under load must neither lose a waiter nor a place.
func TestAPoolThatIsResizedUnderLoadLosesNothing(t *testing.T) {
	db := openFleet(t, pgtest.DSN(t)+"&pool_max_conns=8&pool_min_conns=1")
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	co, err := connector.ready()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var load sync.WaitGroup
	for i := range 16 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				bounded, cancel := t.Context(), context.CancelFunc(func() {})
				impatient := i%4 == 0
				if impatient {
					bounded, cancel = context.WithTimeout(ctx, time.Duration(n%5)*time.Millisecond)
				}
				_, err := db.ExecContext(bounded, "select pg_sleep(0.001)")
				cancel()
				if err != nil && (!impatient || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrOverloaded)) {
					t.Error(err)
				}
			}
		})
	}
	load.Go(func() { // the fleet, and its looks
		for n := 0; ctx.Err() == nil; n++ {
			share := 1 + n%8
			co.ceilings.setFleet(share)
			co.pool.setMax(share)
			bounded, cancel := context.WithTimeout(ctx, time.Duration(n%3)*time.Millisecond)
			if ph, err := co.pool.borrow(bounded); err == nil {
				co.pool.put(ph)
			}
			cancel()
		}
	})
	load.Wait()
	co.ceilings.setFleet(2)
	co.pool.setMax(2)
	waitFor(t, "two connections at most", func() bool {
		st := connector.Stats().Pool
		return st.Total <= 2 && st.InUse == 0 && st.Opening == 0
	})
	if n := co.pool.stats().Closed[endFleet.String()]; n == 0 {
		t.Error("nothing was closed for being too many")
	}
	co.pool.mu.Lock()
	defer co.pool.mu.Unlock()
	if co.pool.borrower != nil || len(co.pool.waiting) != 0 {
		t.Error(fmt.Sprint("somebody still waits: ", co.pool.borrower != nil, len(co.pool.waiting)))
	}
}

func TestAConnectionThatIsOneTooManyIsClosedAtTheEndOfItsLease(t *testing.T) {
	db := openFleet(t, pgtest.DSN(t)+"&pool_max_conns=4")
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	var conns []*sql.Conn
	for range 3 {
		conn, err := db.Conn(t.Context())
		if err == nil {
			_, err = conn.ExecContext(t.Context(), "select 1")
		}
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	connector.core.pool.setMax(1)
	if st := connector.Stats().Pool; st.Total != 3 {
		t.Errorf("of three leased connections %d are left", st.Total)
	}
	for _, conn := range conns {
		if _, err := conn.ExecContext(t.Context(), "select 1"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
	waitFor(t, "one is left", func() bool { return connector.Stats().Pool.Total == 1 })
}

func TestALookCountsAsAConnection(t *testing.T) {
	db := openFleet(t, pgtest.DSN(t)+"&pool_max_conns=4")
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	pool := connector.core.pool
	pool.setMax(1)
	borrowed, err := pool.borrow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(t.Context(), "select 1")
		done <- err
	}()
	waitFor(t, "the statement is admitted and waits for a connection, or has one", func() bool {
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return len(pool.waiting) == 1 || pool.total > 1
	})
	if st := connector.Stats().Pool; st.Total != 1 {
		t.Errorf("%d connections, and one is allowed", st.Total)
	}
	pool.put(borrowed)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The fleet looks in a goroutine of its own, where the panic of an application's hook
// would end the process.
func TestALookSurvivesTheApplicationsHooks(t *testing.T) {
	cfg, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	inner := stdlib.GetConnector(*cfg, stdlib.OptionResetSession(func(context.Context, *pgx.Conn) error {
		panic("the application's")
	}))
	connector, err := WrapConnector(inner, Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close()
	pool := connector.core.pool
	first, err := pool.borrow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool.put(first)
	if _, err := pool.borrow(t.Context()); !errors.Is(err, errHookPanicked) {
		t.Fatalf("a second look got %v", err)
	}
	waitFor(t, "its place is free", func() bool { return connector.Stats().Pool.Total == 0 })
}
