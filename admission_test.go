package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func connectorOf(t testing.TB, db *sql.DB) *lifeguard.Connector {
	t.Helper()
	c, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// queued waits until n callers wait for admission.
func queued(t testing.TB, c *lifeguard.Connector, n int) {
	t.Helper()
	eventually(t, "callers wait in the queue", func() bool { return c.Stats().Limiter.Queued == n })
}

// hold takes a slot, by an idle transaction, until the returned function is called.
func hold(t testing.TB, db *sql.DB) (release func()) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			t.Error(err)
		}
	}
}

func TestByDefaultNobodyWithoutADeadlineIsRefused(t *testing.T) {
	db := open(t, "pool_max_conns=2")
	var wg sync.WaitGroup
	for range 200 { // the queue's default bound, 100 × the limit
		wg.Go(func() {
			if _, err := db.ExecContext(t.Context(), "select pg_sleep(0.001)"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := connectorOf(t, db).Stats().Limiter
	for _, r := range st.Refusals {
		if r.Count != 0 {
			t.Errorf("%d refusals because of %s", r.Count, r.Reason)
		}
	}
	if st.Priorities[2].Waits == 0 {
		t.Error("nobody waited: the test tests nothing")
	}
}

func TestARefusalSaysWhyAndIsNotRetried(t *testing.T) {
	db := open(t, "pool_max_conns=1", "lifeguard_queue=1", "lifeguard_queue_timeout=100ms")
	c := connectorOf(t, db)
	release := hold(t, db)
	defer release()

	waiting := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(t.Context(), "select 1")
		waiting <- err
	}()
	queued(t, c, 1)
	_, err := db.ExecContext(t.Context(), "select 2")
	var overload *lifeguard.OverloadError
	if !errors.As(err, &overload) || !errors.Is(err, lifeguard.ErrOverloaded) {
		t.Fatalf("error is %v", err)
	}
	if overload.Reason != lifeguard.ReasonQueueFull || overload.Limit != 1 || overload.Queued != 1 || overload.RetryAfter <= 0 {
		t.Errorf("refused with %+v", overload)
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, driver.ErrSkip) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is taken for another error", err)
	}
	if err := <-waiting; !errors.As(err, &overload) || overload.Reason != lifeguard.ReasonTimeout || overload.Waited < 100*time.Millisecond {
		t.Errorf("after lifeguard_queue_timeout: %v", err)
	}
	for _, r := range c.Stats().Limiter.Refusals {
		if want := map[lifeguard.OverloadReason]uint64{lifeguard.ReasonQueueFull: 1, lifeguard.ReasonTimeout: 1}[r.Reason]; r.Count != want {
			t.Errorf("%d refusals because of %s, not %d: a refusal was tried again", r.Count, r.Reason, want)
		}
	}
}

func TestACallersOwnCancellationStaysItsOwn(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	release := hold(t, db)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "select 1")
		result <- err
	}()
	queued(t, connectorOf(t, db), 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || errors.Is(err, lifeguard.ErrOverloaded) {
		t.Errorf("error is %v", err)
	}
}

func TestACallerWhoCannotBeServedInTimeIsRefusedAtOnce(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	c := connectorOf(t, db)
	for range 20 { // the limiter learns what a statement takes
		mustExec(t, db, "select pg_sleep(0.02)")
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = db.ExecContext(t.Context(), "select pg_sleep(0.02)")
				}
			}
		})
	}
	eventually(t, "a queue stands", func() bool { return c.Stats().Limiter.Queued >= 15 })
	killed := c.Stats().Pool.Closed["cancelled"]
	refused := 0
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		_, err := db.ExecContext(ctx, "select pg_sleep(0.02)")
		cancel()
		var overload *lifeguard.OverloadError
		if errors.As(err, &overload) && overload.Reason == lifeguard.ReasonDeadline {
			refused++
		}
	}
	close(stop)
	wg.Wait()
	if refused < 45 {
		t.Errorf("%d of 50 hopeless callers were refused", refused)
	}
	if now := c.Stats().Pool.Closed["cancelled"]; now != killed {
		t.Errorf("%d connections were killed by deadlines", now-killed)
	}
}

func TestStatementsOfAnOpenTransactionNeverQueue(t *testing.T) {
	db := open(t, "pool_max_conns=1", "lifeguard_queue=0")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		mustExec(t, tx, "select 1")
		if _, err := db.ExecContext(t.Context(), "select 1"); !errors.Is(err, lifeguard.ErrOverloaded) {
			t.Fatalf("another caller: %v", err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestPriorityDecidesWhoIsNext(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	c := connectorOf(t, db)
	release := hold(t, db)
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	for i, who := range []struct {
		name string
		p    lifeguard.Priority
	}{{"bulk", lifeguard.Bulk}, {"normal", lifeguard.Normal}, {"critical", lifeguard.Critical}} {
		wg.Go(func() {
			ctx := lifeguard.WithPriority(t.Context(), who.p)
			conn, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := conn.ExecContext(ctx, "select 1"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, who.name)
			mu.Unlock()
		})
		queued(t, c, i+1)
	}
	release()
	wg.Wait()
	if got := strings.Join(order, " "); got != "critical normal bulk" {
		t.Errorf("served %s", got)
	}
}

func TestANestedCheckoutIsRecognised(t *testing.T) {
	nested := func(t *testing.T, db *sql.DB) error {
		t.Helper()
		ctx := lifeguard.Scope(t.Context())
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		_, err = db.ExecContext(ctx, "select 1")
		return err
	}
	if err := nested(t, open(t, "pool_max_conns=2")); err != nil {
		t.Errorf("with a free slot: %v", err)
	}
	if err := nested(t, open(t, "pool_max_conns=1")); !errors.Is(err, lifeguard.ErrNestedAcquire) {
		t.Errorf("where waiting can never end: %v", err)
	}
	if err := nested(t, open(t, "pool_max_conns=2", "lifeguard_nested=refuse")); !errors.Is(err, lifeguard.ErrNestedAcquire) {
		t.Errorf("in strict mode: %v", err)
	}
}

func TestTransactionsLeaveTheLastSlots(t *testing.T) {
	db := open(t, "pool_max_conns=2", "lifeguard_tx_share=0.5")
	release := hold(t, db)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := db.BeginTx(ctx, nil); err == nil {
		t.Error("a second transaction took the last slot")
	}
	mustExec(t, db, "select 1")
}

func TestSlotsSayWhoHoldsTheDatabase(t *testing.T) {
	db := open(t, "pool_max_conns=4")
	c := connectorOf(t, db)
	mustExec(t, db, "create table pets (name text)")
	tx, err := db.BeginTx(lifeguard.WithTenant(lifeguard.WithPriority(t.Context(), lifeguard.High), "acme"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	mustExec(t, tx, "insert into pets values ('secret')")
	rows, err := db.QueryContext(t.Context(), "select generate_series(1, 3)") //nolint:rowserrcheck // none is read
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()

	states := map[lifeguard.SlotState]lifeguard.SlotInfo{}
	for _, s := range c.Slots() {
		states[s.State] = s
	}
	idle := states[lifeguard.SlotIdleInTx]
	if idle.SQL != "INSERT pets" || !idle.Tx || idle.Tenant != "acme" || idle.Priority != lifeguard.High || idle.Fingerprint == 0 {
		t.Errorf("the transaction's slot is %+v", idle)
	}
	if reading, ok := states[lifeguard.SlotRowsOpen]; !ok || reading.SQL != "SELECT" {
		t.Errorf("the open result's slot is %+v", reading)
	}
	if len(states) != 2 {
		t.Errorf("slots are %+v", states)
	}
}

func TestAStallIsLoggedOnce(t *testing.T) {
	var log logBook
	db, _ := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.MaxConns = 1
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	})
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "select 'secret'")
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, _ = db.ExecContext(ctx, "select 1")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	lines := log.String()
	if n := strings.Count(lines, "idle in the application's hands"); n != 1 {
		t.Errorf("%d lines about the stall:\n%s", n, lines)
	}
	if !strings.Contains(lines, `"idle_in_tx":1`) || !strings.Contains(lines, `"queued":1`) || strings.Contains(lines, "secret") {
		t.Errorf("the line is\n%s", lines)
	}
}

func TestTheLimitCanBeChangedAtWork(t *testing.T) {
	db := open(t, "pool_max_conns=4", "lifeguard_limit=1")
	c := connectorOf(t, db)
	var running, worst atomic.Int32
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mustExec(t, conn, "select 1")
				worst.Store(max(worst.Load(), running.Add(1)))
				mustExec(t, conn, "select pg_sleep(0.001)")
				running.Add(-1)
				_ = conn.Close()
			}
		})
	}
	eventually(t, "work is done one at a time", func() bool { return c.Stats().Limiter.Priorities[2].Admitted > 20 })
	if worst.Load() > 1 {
		t.Errorf("%d in flight with a limit of 1", worst.Load())
	}
	if err := c.SetLimit(4); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the raised limit is used", func() bool { return running.Load() == 4 })
	if err := c.SetLimit(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lowered limit holds", func() bool { return c.Stats().Limiter.InFlight <= 1 })
	for _, n := range []int{0, 5, -1} {
		if err := c.SetLimit(n); err == nil || !strings.Contains(err.Error(), "from 1 to pool_max_conns (4)") {
			t.Errorf("SetLimit(%d) says %v", n, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestClosingWakesWhoWaits(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=1"))
	release := hold(t, db)
	const waiters = 5
	results := make(chan error, waiters)
	for range waiters {
		go func() {
			_, err := db.ExecContext(t.Context(), "select 1")
			results <- err
		}()
	}
	queued(t, connectorOf(t, db), waiters)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range waiters {
		if err := <-results; err == nil {
			t.Error("a waiter was served after Close")
		}
	}
	release()
}

// A statement whose deadline passes on the server tells how long others of its shape
// need, at once: when the next comes with hardly more time, it does not get that far.
func TestOneStatementThatExpiresSavesTheNext(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	const long = "select pg_sleep(5)"
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := db.ExecContext(ctx, long)
		return err
	}
	attempt := func() error {
		for range 40 {
			if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("five seconds in 200 ms: %v", err)
		}
		defer hold(t, db)()
		return ask(500 * time.Millisecond)
	}
	for range 5 { // on a busy machine what was learned may be out of date when the next comes
		var over *lifeguard.OverloadError
		if err := attempt(); errors.As(err, &over) && over.Reason == lifeguard.ReasonDeadline && over.Waited == 0 {
			return
		}
	}
	t.Error("five times a statement was let in that needs more time than it has")
}
