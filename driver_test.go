package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestOpeningMakesNoConnection(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	out := observer(t, dsn)

	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n := backends(t, out); n != 0 {
		t.Errorf("a sql.Conn that did nothing has %d backends", n)
	}
	if backendPID(t, conn) == 0 {
		t.Error("no backend")
	}
	if n := backends(t, out); n != 1 {
		t.Errorf("after one statement there are %d backends, not 1", n)
	}
}

func TestAThousandIdleConnectionsCostNoBackend(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	db.SetMaxIdleConns(1000)
	out := observer(t, dsn)

	var conns []*sql.Conn
	for range 1000 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	if open := db.Stats().OpenConnections; open != 1000 {
		t.Fatalf("database/sql has %d connections, not 1000", open)
	}
	if n := backends(t, out); n != 0 {
		t.Errorf("%d backends", n)
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if idle := db.Stats().Idle; idle != 1000 {
		t.Errorf("%d connections are idle, not 1000", idle)
	}
}

func TestAStatementGivesItsConnectionBack(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	for range 10 {
		mustExec(t, db, "select 1")
		if backendPID(t, db) == 0 {
			t.Fatal("no backend")
		}
	}
	rows, err := db.QueryContext(t.Context(), "select generate_series(1, 3)")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := db.PingContext(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with rows open on the only connection, ping says %v", err)
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil { //nolint:sqlclosecheck // what follows needs its connection
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestSessionStateLastsForACheckout(t *testing.T) {
	db := open(t, "pool_max_conns=4")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustExec(t, conn, "create temp table scratch (n int)")
	mustExec(t, conn, "set application_name = 'pinned'")

	var wg sync.WaitGroup
	for range 16 { // others must not get the pinned connection
		wg.Go(func() {
			var name string
			if err := db.QueryRow("select current_setting('application_name')").Scan(&name); err != nil || name == "pinned" {
				t.Errorf("another caller sees %q, %v", name, err)
			}
		})
	}
	wg.Wait()
	mustExec(t, conn, "insert into scratch values (1)")
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "insert into scratch values (2)")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRowContext(t.Context(), "select count(*) from scratch").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestOneVirtualConnectionMeansOneSession(t *testing.T) {
	db := open(t, "pool_max_conns=4")
	warm, err := db.Conn(t.Context()) // another physical connection, so that affinity matters
	if err != nil {
		t.Fatal(err)
	}
	backendPID(t, db)
	backendPID(t, warm)
	if err := warm.Close(); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(1)
	db.SetMaxOpenConns(1)
	first := backendPID(t, db)
	mustExec(t, db, "set application_name = 'one session'")
	for range 20 {
		if pid := backendPID(t, db); pid != first {
			t.Fatalf("backend %d, then %d", first, pid)
		}
	}
}

func TestTheLimitOfPhysicalConnectionsHolds(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=3"))
	out := observer(t, dsn)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				short, stop := context.WithTimeout(ctx, 3*time.Millisecond)
				_, _ = db.ExecContext(short, "select pg_sleep(0.002)")
				stop()
			}
		})
	}
	worst := 0
	for range 200 {
		worst = max(worst, backends(t, out))
	}
	cancel()
	wg.Wait()
	if worst > 3 {
		t.Errorf("%d backends at once with pool_max_conns=3, while statements were being cancelled", worst)
	}
	if worst == 0 {
		t.Error("the observer saw no backend: the test observes nothing")
	}
}

func TestABeginByHandDoesNotLeakIntoAnotherCheckout(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	mustExec(t, db, "create table t (n int)")
	mustExec(t, db, "begin")
	mustExec(t, db, "insert into t values (1)") // a session of its own: autocommitted
	var n int
	if err := db.QueryRowContext(t.Context(), "select count(*) from t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestABrokenPinnedConnectionStaysBroken(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, dsn)
	out := observer(t, dsn)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := backendPID(t, conn)
	if _, err := out.Exec(t.Context(), "select pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backend ends", func() bool { return backends(t, out) == 0 })
	if _, err := conn.ExecContext(t.Context(), "select 1"); err == nil {
		t.Error("a statement worked on a terminated session")
	}
	if _, err := conn.ExecContext(t.Context(), "select 1"); !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		t.Errorf("the second statement says %v", err)
	}
	if backendPID(t, db) == 0 {
		t.Error("the database does not recover")
	}
}

func TestAnIdleConnectionThatDiedIsNeverHandedOut(t *testing.T) {
	for _, mode := range []string{"checkout", "session"} {
		t.Run(mode, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			db := openDSN(t, withSettings(dsn, "lifeguard_mode="+mode))
			db.SetMaxIdleConns(4)
			out := observer(t, dsn)
			for range 15 {
				pid := backendPID(t, db)
				var ended bool
				if err := out.QueryRow(t.Context(), "select pg_terminate_backend($1, 5000)", pid).Scan(&ended); err != nil || !ended {
					t.Fatalf("terminate: %v, %v", ended, err)
				}
				if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
					t.Fatalf("after the idle connection died: %v", err)
				}
			}
		})
	}
}

func TestClosingEndsEveryConnection(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	db := openDSN(t, withSettings(dsn, "pool_min_conns=3"))
	eventually(t, "the warm-up opens three connections", func() bool { return backends(t, out) == 3 })
	rows, err := db.QueryContext(t.Context(), "select generate_series(1, 1000)")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	eventually(t, "only the open result keeps its backend", func() bool { return backends(t, out) == 1 })
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Err() != nil || n != 1000 {
		t.Errorf("a result that was open at Close gave %d rows, %v", n, rows.Err())
	}
	_ = rows.Close() //nolint:sqlclosecheck // what follows waits for it
	eventually(t, "the last backend ends", func() bool { return backends(t, out) == 0 })
	if _, err := db.ExecContext(t.Context(), "select 1"); err == nil {
		t.Error("use after Close works")
	}
}

func TestRowsThatAreNeverClosedDoNotOutliveTheirDatabase(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	func() {
		db, err := sql.Open(lifeguard.DriverName, dsn)
		if err != nil {
			t.Fatal(err)
		}
		//nolint:sqlclosecheck,rowserrcheck // the point of the test
		if _, err := db.Query("select generate_series(1, 1000000)"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	eventually(t, "the abandoned backend ends", func() bool {
		runtime.GC()
		return backends(t, out) == 0
	})
}

func TestAPanicGivesTheConnectionBack(t *testing.T) {
	// A panic inside a Scanner is not here: database/sql itself holds a lock over Scan
	// and then waits for it in Close, with any driver.
	panics := map[string]func(*sql.DB){
		"while rows are open": func(db *sql.DB) {
			rows, err := db.QueryContext(t.Context(), "select generate_series(1, 3)")
			if err != nil {
				t.Error(err)
				return
			}
			defer rows.Close()
			for rows.Next() {
				panic("application")
			}
			t.Error(rows.Err())
		},
		"while arguments are encoded": func(db *sql.DB) {
			_, _ = db.ExecContext(t.Context(), "select $1::text", panicking{})
		},
		"in a transaction": func(db *sql.DB) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer tx.Rollback()
			panic("application")
		},
	}
	for name, run := range panics {
		t.Run(name, func(t *testing.T) {
			db := open(t, "pool_max_conns=1")
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				run(db)
			}()
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("value") }

func TestNestedCheckoutsBeyondTheLimitWaitAndThenFail(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	mustExec(t, tx, "select 1")
}
