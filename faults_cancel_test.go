package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

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
