package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
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

func FuzzParseConfigNeitherPanicsNorTellsThePassword(f *testing.F) {
	const password = "s3cr3tpassw0rd"
	for _, dsn := range []string{
		"", "host=localhost password=" + password, "postgres://u:" + password + "@h/db", "postgres://u:" + password + "@h:port/db", "postgres://u:" + password + "@h/db?sslmode=nope",
		"postgres://u:" + password + "@/%zz", "password='" + password, "password=" + password + " port=x", "user=u password=" + password + " lifeguard_mode=no", "postgres://u:" + password + "@h/db?pool_max_conns=-1",
		"postgres://u:p@ss:" + password + "@h/db", "postgres://h/db?password=" + password + "&sslmode=no", "\x00", "=", "a=b=c", "service=x password=" + password, "registeredConnConfig", "postgres://[::1]:5432,[::2/" + password,
		"postgres://u:" + password + "@h/db?lifeguard_nope=1", "postgres://u:" + password + "#@h:99999999/db",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		cfg, err := lifeguard.ParseConfig(dsn)
		if err != nil {
			if strings.Contains(err.Error(), password) {
				t.Errorf("the error of %q tells the password: %v", dsn, err)
			}
			return
		}
		if cfg.ConnConfig == nil {
			return
		}
		for key := range cfg.ConnConfig.RuntimeParams {
			if strings.HasPrefix(key, "lifeguard_") || strings.HasPrefix(key, "pool_") {
				t.Errorf("%q sends %s to the server", dsn, key)
			}
		}
	})
}

func TestAServerThatIsDownIsReportedAndForgivenOnceItIsUp(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			_ = server.Kill()
			db := openDSN(t, withSettings(server.DSN(""), "pool_max_conns=2", "pool_min_conns=1", "pool_health_check_period=20ms", mode))
			for range 20 { // more than there are places: a failed attempt must give its place back
				err := db.PingContext(t.Context())
				var connect *pgconn.ConnectError
				if !errors.As(err, &connect) {
					t.Fatalf("error is %v", err)
				}
				if errors.Is(err, driver.ErrBadConn) {
					t.Errorf("%v asks database/sql to try again", err)
				}
			}
			if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := db.QueryRow("select 1").Scan(&n); err != nil {
				t.Errorf("after the server came up: %v", err)
			}
		})
	}
}

// Every statement that fails is reported to its caller, and none runs twice.
func TestARestartUnderLoadLosesAndRepeatsNothing(t *testing.T) {
	for _, settings := range [][]string{
		{"lifeguard_mode=checkout"}, {"lifeguard_mode=session"}, {"lifeguard_cancel=keep"}, {"default_query_exec_mode=simple_protocol"},
	} {
		t.Run(settings[0], func(t *testing.T) {
			server := pgtest.NewServer(t, pgtest.Options{})
			db := openDSN(t, withSettings(server.DSN(""), append(settings, "pool_max_conns=6")...))
			db.SetMaxIdleConns(16)
			mustExec(t, db, "create table tokens (token text)")
			st := mustPrepare(t, db, "insert into tokens values ($1)")
			ways := []func(ctx context.Context, token string) error{
				func(ctx context.Context, token string) error {
					_, err := db.ExecContext(ctx, "insert into tokens values ($1)", token)
					return err
				},
				func(ctx context.Context, token string) error { _, err := st.ExecContext(ctx, token); return err },
				func(ctx context.Context, token string) error {
					var back string
					return db.QueryRowContext(ctx, "insert into tokens values ($1) returning token", token).Scan(&back)
				},
				func(ctx context.Context, token string) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					if _, err := tx.ExecContext(ctx, "insert into tokens values ($1)", token); err != nil {
						return err
					}
					return tx.Commit()
				},
			}
			var mu sync.Mutex
			outcome := map[string]error{}
			var stop atomic.Bool
			var failures, successes atomic.Int64
			var wg sync.WaitGroup
			for g := range 16 {
				wg.Go(func() {
					for i := 0; !stop.Load(); i++ {
						token := fmt.Sprintf("%d-%d", g, i)
						err := ways[(g+i)%len(ways)](t.Context(), token)
						mu.Lock()
						outcome[token] = err
						mu.Unlock()
						if err != nil {
							failures.Add(1)
							if errors.Is(err, driver.ErrBadConn) && strings.Contains(err.Error(), "lifeguard") {
								t.Errorf("%v", err)
							}
							continue
						}
						successes.Add(1)
					}
				})
			}
			for _, how := range []pgtest.StopMode{pgtest.Fast, pgtest.Immediate} {
				before := successes.Load()
				eventually(t, "statements succeed", func() bool { return successes.Load() > before+200 })
				if err := server.Restart(t.Context(), how); err != nil {
					t.Fatal(err)
				}
			}
			before := successes.Load()
			eventually(t, "statements succeed again without reopening", func() bool { return successes.Load() > before+200 })
			stop.Store(true)
			wg.Wait()

			rows, err := db.Query("select token, count(*) from tokens group by 1")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			stored := map[string]int{}
			for rows.Next() {
				var token string
				var n int
				if err := rows.Scan(&token, &n); err != nil {
					t.Fatal(err)
				}
				stored[token] = n
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			lost, repeated := 0, 0
			for token, err := range outcome {
				switch n := stored[token]; {
				case err == nil && n != 1:
					lost++
				case n > 1:
					repeated++
				}
			}
			if lost > 0 || repeated > 0 {
				t.Errorf("of %d tokens %d were reported as stored and are not there once, %d are there more than once", len(outcome), lost, repeated)
			}
			if failures.Load() == 0 {
				t.Error("no statement failed: the test tests nothing")
			}
			for range 50 {
				if err := db.PingContext(t.Context()); err != nil {
					t.Errorf("after the restarts: %v", err)
				}
			}
			eventually(t, "all checkouts end", func() bool { return db.Stats().InUse == 0 })
		})
	}
}

func terminate(t testing.TB, out *pgx.Conn, pid int) {
	t.Helper()
	var ended bool
	if err := out.QueryRow(t.Context(), "select pg_terminate_backend($1, 5000)", pid).Scan(&ended); err != nil || !ended {
		t.Fatalf("terminate %d: %t, %v", pid, ended, err)
	}
}

func TestABackendThatIsTerminatedFailsItsHolderAndNobodyElse(t *testing.T) {
	//nolint:thelper // parts of the test, not helpers
	holders := map[string]func(t *testing.T, db *sql.DB, kill func(pid int)) error{
		"a statement": func(t *testing.T, db *sql.DB, kill func(int)) error {
			pid := make(chan int, 1)
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { kill(<-pid) })
			rows, err := db.Query("select pg_backend_pid() union all select generate_series(1, 100000000)")
			if err != nil {
				pid <- 0
				return err
			}
			defer rows.Close()
			sent := false
			for rows.Next() {
				var n int
				if err := rows.Scan(&n); err != nil {
					t.Error(err)
				}
				if !sent {
					sent = true
					pid <- n
				}
			}
			return rows.Err()
		},
		"a transaction": func(t *testing.T, db *sql.DB, kill func(int)) error {
			tx := mustBegin(t, db)
			kill(backendPID(t, tx))
			_, err := tx.Exec("select 1")
			if again := tx.Commit(); again == nil {
				t.Error("commit on a terminated session reports success")
			}
			return err
		},
		"a transaction at commit": func(t *testing.T, db *sql.DB, kill func(int)) error {
			tx := mustBegin(t, db)
			kill(backendPID(t, tx))
			return tx.Commit()
		},
		"a transaction at rollback": func(t *testing.T, db *sql.DB, kill func(int)) error {
			tx := mustBegin(t, db)
			kill(backendPID(t, tx))
			return tx.Rollback()
		},
		"a transaction whose context ends": func(t *testing.T, db *sql.DB, kill func(int)) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			kill(backendPID(t, tx))
			cancel()
			return tx.Commit()
		},
		"a statement prepared in a transaction": func(t *testing.T, db *sql.DB, kill func(int)) error {
			tx := mustBegin(t, db)
			st := mustPrepare(t, tx, "select $1::int") //nolint:sqlclosecheck // the rollback closes it
			kill(backendPID(t, tx))
			_, err := st.Exec(1)
			_ = tx.Rollback()
			return err
		},
		"a conn": func(t *testing.T, db *sql.DB, kill func(int)) error {
			conn := mustConn(t, db)
			kill(backendPID(t, conn))
			err := conn.PingContext(t.Context())
			mustClose2(t, conn)
			return err
		},
	}
	for name, hold := range holders {
		for _, mode := range bothModes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				db, out := openDSN(t, withSettings(dsn, "pool_max_conns=1", mode)), observer(t, dsn)
				err := hold(t, db, func(pid int) {
					if pid != 0 {
						terminate(t, out, pid)
					}
				})
				if err == nil {
					t.Error("the holder noticed nothing")
				}
				for range 5 {
					if _, err := db.Exec("select $1::int", 1); err != nil {
						t.Errorf("afterwards: %v", err)
					}
				}
				if n := backends(t, out); n != 1 {
					t.Errorf("%d backends", n)
				}
			})
		}
	}
}

func TestManyIdleConnectionsThatDieAtOnceCostNobodyAStatement(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			db, out := openDSN(t, withSettings(dsn, "pool_max_conns=8", mode)), observer(t, dsn)
			db.SetMaxIdleConns(8)
			st := mustPrepare(t, db, "select $1::int")
			for range 2 {
				var conns []*sql.Conn
				for range 8 {
					conn := mustConn(t, db)
					backendPID(t, conn)
					conns = append(conns, conn)
				}
				for _, conn := range conns {
					mustClose(t, conn)
				}
				if _, err := out.Exec(t.Context(), "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for i := range 32 {
					wg.Go(func() {
						switch i % 4 {
						case 0:
							if _, err := db.Exec("select $1::int", 1); err != nil {
								t.Errorf("exec: %v", err)
							}
						case 1:
							if _, err := st.Exec(1); err != nil {
								t.Errorf("stmt: %v", err)
							}
						case 2:
							tx, err := db.Begin()
							if err != nil {
								t.Errorf("begin: %v", err)
								return
							}
							if err := tx.Commit(); err != nil {
								t.Errorf("commit: %v", err)
							}
						case 3:
							conn, err := db.Conn(t.Context())
							if err != nil {
								t.Errorf("conn: %v", err)
								return
							}
							if _, err := conn.ExecContext(t.Context(), "select 1"); err != nil {
								t.Errorf("on a conn: %v", err)
							}
							if err := conn.Close(); err != nil {
								t.Errorf("close: %v", err)
							}
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

// Contexts end at every moment of a statement, a transaction, a result, a dial.
func TestContextStormsInEveryWayLeakNothing(t *testing.T) {
	for _, settings := range [][]string{
		{"lifeguard_mode=checkout", "lifeguard_cancel=close"},
		{"lifeguard_mode=checkout", "lifeguard_cancel=keep"},
		{"lifeguard_mode=session", "lifeguard_cancel=close"},
		{"lifeguard_mode=session", "lifeguard_cancel=keep"},
	} {
		t.Run(strings.Join(settings, "/"), func(t *testing.T) {
			dsn := pgtest.DSN(t)
			db, out := openDSN(t, withSettings(dsn, append(settings, "pool_max_conns=4")...)), observer(t, dsn)
			db.SetMaxIdleConns(16)
			mustExec(t, db, "create table t (n int)")
			st := mustPrepare(t, db, "select pg_sleep($1)")
			before := runtime.NumGoroutine()
			patient := withinReason(t) // a hang must fail this test, not end all
			ways := []func(context.Context) error{
				func(ctx context.Context) error { _, err := db.ExecContext(ctx, "select pg_sleep(0.002)"); return err },
				func(ctx context.Context) error { _, err := st.ExecContext(ctx, 0.002); return err },
				func(ctx context.Context) error {
					rows, err := db.QueryContext(ctx, "select n, pg_sleep(0.0005) from generate_series(1, 10) n")
					if err != nil {
						return err
					}
					defer rows.Close()
					for rows.Next() {
						continue
					}
					return rows.Err()
				},
				func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					if _, err := tx.ExecContext(ctx, "insert into t values ($1)", 1); err != nil {
						return err
					}
					if _, err := tx.ExecContext(ctx, "select pg_sleep(0.001)"); err != nil {
						return err
					}
					return tx.Commit()
				},
				func(ctx context.Context) error { // the statement's context ends, not the transaction's
					tx, err := db.BeginTx(patient, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					_, err = tx.ExecContext(ctx, "select pg_sleep(0.002)")
					return err
				},
				func(ctx context.Context) error {
					conn, err := db.Conn(ctx)
					if err != nil {
						return err
					}
					defer conn.Close()
					_, err = conn.ExecContext(ctx, "select pg_sleep(0.002)")
					if _, again := conn.ExecContext(patient, "select 1"); again != nil && err == nil {
						return again
					}
					return err
				},
				func(ctx context.Context) error { return db.PingContext(ctx) },
				func(ctx context.Context) error {
					own, err := db.PrepareContext(ctx, "select pg_sleep(0.001)")
					if err != nil {
						return err
					}
					defer own.Close()
					_, err = own.ExecContext(ctx)
					return err
				},
			}
			var wg sync.WaitGroup
			var ended atomic.Int64
			for g := range 16 {
				wg.Go(func() {
					for i := range 60 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%12)*300*time.Microsecond)
						err := ways[(g+i)%len(ways)](ctx)
						ctxErr := ctx.Err()
						cancel()
						switch {
						case err == nil:
						case patient.Err() != nil:
							t.Errorf("way %d hangs: %v", (g+i)%len(ways), err)
							return
						case errors.Is(err, context.DeadlineExceeded), ctxErr != nil && errors.Is(err, sql.ErrTxDone):
							ended.Add(1)
						case errors.Is(err, lifeguard.ErrOverloaded):
						default:
							t.Errorf("way %d: %v", (g+i)%len(ways), err)
							return
						}
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			for range 100 {
				mustExec(t, db, "select 1")
			}
			eventually(t, "all checkouts end", func() bool { return db.Stats().InUse == 0 })
			eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before+6 })
			eventually(t, "no more backends than allowed", func() bool { return backends(t, out) <= 4 })
			if ended.Load() == 0 {
				t.Error("no context ended in time")
			}
			// Every place and every slot is free again: four holders at once.
			for range 4 {
				mustBegin(t, db)
			}
		})
	}
}

// A statement's cancel request is on its way when the transaction goes on: it must not
// hit COMMIT or ROLLBACK, whose context is alive.
func TestALateCancelRequestHitsNoCommitOrRollback(t *testing.T) {
	db := open(t, "pool_max_conns=1", "lifeguard_cancel=keep")
	mustExec(t, db, "create table t (n int)")
	pid := backendPID(t, db)
	for i := range 150 {
		tx := mustBegin(t, db)
		mustExec(t, tx, "savepoint s")
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%10)*100*time.Microsecond)
		_, err := tx.ExecContext(ctx, "select pg_sleep(0.0003)")
		cancel()
		if i%2 == 0 {
			if err := tx.Rollback(); err != nil {
				t.Fatalf("rollback after %v: %v", err, err)
			}
			continue
		}
		commit := tx.Commit()
		if err == nil && commit != nil {
			t.Fatalf("a statement went through, then commit: %v", commit)
		}
		if err != nil && commit != nil && !errors.Is(commit, pgx.ErrTxCommitRollback) {
			t.Fatalf("after %v, commit: %v", err, commit)
		}
	}
	if now := backendPID(t, db); now != pid {
		t.Errorf("backend %d was replaced", pid)
	}
}

func TestRowsThatAreNeverClosedHoldTheirLeaseUntilTheirContextEnds(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	ctx, cancel := context.WithCancel(t.Context())
	//nolint:sqlclosecheck,rowserrcheck // the point of the test
	if _, err := db.QueryContext(ctx, "select generate_series(1, 100000)"); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	if err := db.PingContext(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping says %v", err)
	}
	cancel()
	if err := db.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClosingTwiceGivesNothingBackTwice(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, out := openDSN(t, withSettings(dsn, "pool_max_conns=2")), observer(t, dsn)
	for range 20 {
		rows, err := db.Query("select generate_series(1, 3)") //nolint:sqlclosecheck // mustClose closes them
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, rows)
		other := mustBegin(t, db) // takes the connection that the rows had
		mustClose(t, rows)
		_ = rows.Err()
		tx := mustBegin(t, db)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		_ = tx.Rollback()
		_ = tx.Commit()
		conn := mustConn(t, db)
		backendPID(t, conn)
		mustClose(t, conn)
		_ = conn.Close()
		mustExec(t, other, "select 1")
		if err := other.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	// exactly two may be held at once, not three
	a, b := mustBegin(t, db), mustBegin(t, db)
	short, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	if err := db.PingContext(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third holder of two: %v", err)
	}
	_, _ = a, b
	if n := backends(t, out); n != 2 {
		t.Errorf("%d backends", n)
	}
}

// The driver's own contract, below database/sql: what a second Close, or a use in an
// order that database/sql does not promise, must not break.
func TestTheDriversConnectionSurvivesBeingMisused(t *testing.T) {
	dsn := pgtest.DSN(t)
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			connector, err := lifeguard.NewConnector(parse(t, withSettings(dsn, "pool_max_conns=1", mode)))
			if err != nil {
				t.Fatal(err)
			}
			defer connector.Close()
			for range 3 {
				c, err := connector.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				conn := c.(*lifeguard.Conn) //nolint:errcheck // Connect returns no other
				rows, err := conn.QueryContext(t.Context(), "select generate_series(1, 3)", nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = rows.Close()
				_ = rows.Close()
				st, err := conn.PrepareContext(t.Context(), "select 1")
				if err != nil {
					t.Fatal(err)
				}
				conn.IsValid()
				conn.IsValid()
				_ = st.Close()
				_ = st.Close()
				_ = conn.Close()
				_ = conn.Close()
				conn.IsValid()
			}
			c, err := connector.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.(driver.Pinger).Ping(t.Context()); err != nil { //nolint:errcheck // *lifeguard.Conn is one
				t.Error(err)
			}
			_ = c.Close()
		})
	}
}

func TestAConnectionOpenedByTheDriverItselfEndsWithItsClose(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	c, err := lifeguard.Driver{}.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(driver.Pinger).Ping(t.Context()); err != nil { //nolint:errcheck // *lifeguard.Conn is one
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its backend ends", func() bool { return backends(t, out) == 0 })
	_ = c.Close()
}

// With lifeguard_cancel=keep a cancelled statement is followed by a round trip that
// nobody waits for. A network that swallows it must not hold up Close for ever.
func TestTheCleanUpOfAKeptConnectionEndsAlthoughTheNetworkSwallowsIt(t *testing.T) {
	t.Parallel()
	cfg := parse(t, pgtest.DSN(t))
	cfg.Cancel, cfg.MaxConns = lifeguard.CancelKeep, 1
	hole := &blackHole{}
	defer hole.close()
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return hole.wrap(c), nil
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	conn := mustConn(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = conn.ExecContext(ctx, "select pg_sleep(10)"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	hole.swallow.Store(true) // what the clean-up sends from now on is lost
	mustClose(t, conn)
	done := make(chan error, 1)
	go func() { done <- db.Close() }()
	defer func() {
		hole.close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the clean-up gives the connection up", hole.limited.Load)
}

// blackHole makes connections that lose what is written once swallow is set.
type blackHole struct {
	swallow atomic.Bool
	limited atomic.Bool // the first got a deadline, or was closed, since then
	mu      sync.Mutex
	conns   []net.Conn
}

type swallowing struct {
	net.Conn
	hole  *blackHole
	first bool // the session; the others carry cancel requests
}

func (h *blackHole) wrap(c net.Conn) net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = append(h.conns, c)
	return &swallowing{c, h, len(h.conns) == 1}
}

// close cuts every connection; new ones work again.
func (h *blackHole) close() {
	h.swallow.Store(false)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
}

func (s *swallowing) Write(b []byte) (int, error) {
	if s.hole.swallow.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

func (s *swallowing) SetDeadline(at time.Time) error {
	if s.first && s.hole.swallow.Load() && !at.IsZero() {
		s.hole.limited.Store(true)
	}
	return s.Conn.SetDeadline(at)
}

func (s *swallowing) Close() error {
	if s.first && s.hole.swallow.Load() {
		s.hole.limited.Store(true)
	}
	return s.Conn.Close()
}

func TestATxLeftOpenWhenItsContextEndsGivesEverythingBack(t *testing.T) {
	for _, settings := range [][]string{{"lifeguard_mode=checkout"}, {"lifeguard_mode=session"}, {"lifeguard_cancel=keep"}} {
		t.Run(settings[0], func(t *testing.T) {
			dsn := pgtest.DSN(t)
			db, out := openDSN(t, withSettings(dsn, append(settings, "pool_max_conns=1")...)), observer(t, dsn)
			mustExec(t, db, "create table t (n int)")
			for name, leave := range map[string]func(context.Context, *sql.Tx) error{
				"idle":   func(context.Context, *sql.Tx) error { return nil },
				"failed": func(ctx context.Context, tx *sql.Tx) error { _, _ = tx.ExecContext(ctx, "select 1/0"); return nil },
				"with rows": func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.QueryContext(ctx, "select generate_series(1, 100000)") //nolint:sqlclosecheck,rowserrcheck // the point
					return err
				},
				"with own rows": func(_ context.Context, tx *sql.Tx) error {
					_, err := tx.QueryContext(context.Background(), "select generate_series(1, 1000)") //nolint:sqlclosecheck,rowserrcheck // the point
					return err
				},
				"with statement": func(ctx context.Context, tx *sql.Tx) error { _, err := tx.PrepareContext(ctx, "select 1"); return err }, //nolint:sqlclosecheck // the point
			} {
				ctx, cancel := context.WithCancel(t.Context())
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, tx, "insert into t values (1)")
				if err := leave(ctx, tx); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				cancel()
				var n int
				if err := db.QueryRow("select count(*) from t").Scan(&n); err != nil || n != 0 {
					t.Errorf("%s: %d rows, %v", name, n, err)
				}
				if err := tx.Commit(); err == nil {
					t.Errorf("%s: commit reports success", name)
				}
			}
			if n := backends(t, out); n > 1 {
				t.Errorf("%d backends", n)
			}
		})
	}
}

var _ io.Closer = (*lifeguard.Connector)(nil)
