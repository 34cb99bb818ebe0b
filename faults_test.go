package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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
