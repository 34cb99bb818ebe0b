package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestADoneContextIsReportedAndKillsNothing(t *testing.T) {
	db := open(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := backendPID(t, conn)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.ExecContext(done, "select 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	if _, err := conn.QueryContext(done, "select 1"); !errors.Is(err, context.Canceled) { //nolint:sqlclosecheck,rowserrcheck // it fails
		t.Errorf("query: %v", err)
	}
	if _, err := conn.BeginTx(done, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("begin: %v", err)
	}
	if _, err := conn.PrepareContext(done, "select 1"); !errors.Is(err, context.Canceled) { //nolint:sqlclosecheck // it fails
		t.Errorf("prepare: %v", err)
	}
	if err := conn.PingContext(done); !errors.Is(err, context.Canceled) {
		t.Errorf("ping: %v", err)
	}
	if now := backendPID(t, conn); now != pid {
		t.Errorf("backend %d became %d", pid, now)
	}
}

func TestAStormOfCancellationsLeaksNothing(t *testing.T) {
	for _, cancelMode := range []string{"close", "keep"} {
		t.Run(cancelMode, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			db := openDSN(t, withSettings(dsn, "pool_max_conns=4", "lifeguard_cancel="+cancelMode))
			out := observer(t, dsn)
			mustExec(t, db, "select 1")
			before := runtime.NumGoroutine()

			var cancelled, unanswered atomic.Int64
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					// Long enough that some get a connection, too short for any answer. It
					// is a cancellation and no deadline: those would be refused at once.
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					stop := time.AfterFunc(20*time.Millisecond, cancel)
					defer stop.Stop()
					_, err := db.ExecContext(ctx, "select pg_sleep(10)")
					switch {
					case errors.Is(err, context.Canceled):
						cancelled.Add(1)
					case errors.Is(err, lifeguard.ErrOverloaded):
						unanswered.Add(1)
					default:
						t.Errorf("a cancelled statement says %v", err)
					}
				})
			}
			stormEnds := make(chan struct{})
			go func() { wg.Wait(); close(stormEnds) }()
			worst := 0
			for storm := true; storm; {
				select {
				case <-stormEnds:
					storm = false
				default:
				}
				worst = max(worst, backends(t, out))
			}
			if worst > 4 {
				t.Errorf("%d backends at once with pool_max_conns=4", worst)
			}
			for range 200 { // nothing that was cancelled hits a later statement
				mustExec(t, db, "select 1")
			}
			eventually(t, "all leases end", func() bool { return db.Stats().InUse == 0 })
			eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before+4 })

			st := connectorOf(t, db).Stats().Pool
			t.Logf("%d cancelled, %d refused; %d connections opened, %d closed by cancellation", cancelled.Load(), unanswered.Load(), st.Opened, st.Closed["cancelled"])
			if cancelled.Load() == 0 {
				t.Error("nothing was cancelled: the test tests nothing")
			}
			if cancelMode == "keep" && st.Opened > 4 {
				t.Errorf("%d connections were opened: cancellation cost some", st.Opened)
			}
			if cancelMode == "close" {
				eventually(t, "every connection that was opened is open or was cancelled", func() bool {
					st := connectorOf(t, db).Stats().Pool
					return st.Opened == st.Closed["cancelled"]+uint64(st.Idle)
				})
			}
		})
	}
}

func TestKeptConnectionsSurviveCancellation(t *testing.T) {
	db := open(t, "pool_max_conns=1", "lifeguard_cancel=keep")
	pid := backendPID(t, db)
	kept := 0
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := db.ExecContext(ctx, "select pg_sleep(10)")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v", err)
		}
		var pgErr *pgconn.PgError
		now := backendPID(t, db)
		if errors.As(err, &pgErr) && pgErr.Code == "57014" && now == pid {
			kept++
		}
		pid = now
	}
	if kept < 18 { // a starved server may take longer than it is given to answer
		t.Errorf("of 20 cancelled statements %d kept their connection and have the server's error", kept)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "select 1")
	cancel()
	eventually(t, "database/sql rolls back", func() bool { return errors.Is(tx.Commit(), sql.ErrTxDone) })
	if now := backendPID(t, db); now != pid {
		t.Errorf("the cancelled transaction cost backend %d", pid)
	}
}

func TestATransactionWhoseContextEndsIsRolledBack(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=1"))
	mustExec(t, db, "create table t (n int)")
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := backendPID(t, tx)
	mustExec(t, tx, "insert into t values (1)")
	cancel()
	var n int
	if err := db.QueryRowContext(t.Context(), "select count(*) from t").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
	if now := backendPID(t, db); now != pid {
		t.Errorf("a transaction idle at the end of its context cost its connection")
	}
	if err := tx.Commit(); err == nil {
		t.Error("commit after the context ended reports success")
	}
}
