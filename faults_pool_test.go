package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestTheWarmUpHappensInTheBackgroundAndIsKeptUp(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	cfg := parse(t, withSettings(dsn, "pool_min_conns=3", "pool_health_check_period=20ms"))
	gate := make(chan struct{})
	cfg.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	db := openConfig(t, cfg) // does not wait for the gate
	if n := backends(t, out); n != 0 {
		t.Errorf("%d backends before the hook lets any through", n)
	}
	close(gate)
	eventually(t, "three connections are open", func() bool { return backends(t, out) == 3 })
	if _, err := out.Exec(t.Context(), "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three connections are open again after all were terminated, without a statement", func() bool { return backends(t, out) == 3 })
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionsAreKeptReady(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	db := openDSN(t, withSettings(dsn, "pool_min_idle_conns=2", "pool_max_conns=4", "pool_health_check_period=20ms"))
	eventually(t, "two are ready", func() bool { return backends(t, out) == 2 })
	a := mustBegin(t, db)
	eventually(t, "two more than the one in use", func() bool { return backends(t, out) == 3 })
	b, c := mustBegin(t, db), mustBegin(t, db)
	eventually(t, "no more than four in all", func() bool { return backends(t, out) == 4 })
	d := mustBegin(t, db)
	if n := backends(t, out); n != 4 {
		t.Errorf("%d backends", n)
	}
	for _, tx := range []*sql.Tx{a, b, c, d} {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

func TestAMinimumAboveTheDefaultMaximumIsRefused(t *testing.T) {
	if _, err := lifeguard.ParseConfig("host=127.0.0.1 pool_min_conns=50"); err == nil {
		t.Error("pool_min_conns=50 with the default pool_max_conns=10 is taken")
	}
}

func TestConnectionsEndAtTheirLifetime(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	db := openDSN(t, withSettings(dsn, "pool_max_conn_lifetime=150ms", "pool_max_conn_lifetime_jitter=50ms", "pool_health_check_period=10ms"))
	pid := backendPID(t, db)
	tx := mustBegin(t, db)
	held := backendPID(t, tx)
	eventually(t, "the idle connection is closed", func() bool {
		var n int
		if err := out.QueryRow(t.Context(), "select count(*) from pg_stat_activity where pid = $1", pid).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return pid == held || n == 0
	})
	old := time.NewTimer(300 * time.Millisecond)
	<-old.C
	if now := backendPID(t, tx); now != held {
		t.Error("a leased connection ended at its lifetime")
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if now := backendPID(t, db); now == held {
		t.Error("a connection past its lifetime was used for another lease")
	}
	eventually(t, "all end", func() bool { return backends(t, out) == 0 })
}

// A session that has much to clean up ends some time after its connection was closed.
// Its place must stay taken meanwhile.
func TestAPlaceIsFreeWhenTheServerHasEndedTheSession(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=1", mode)
			for range 3 {
				conn := mustConn(t, db)
				mustExec(t, conn, "do $$ begin for i in 1..300 loop execute format('create temp table scratch_%s (n int primary key)', i); end loop; end $$")
				mustExec(t, conn, "begin") // forgotten: the connection is not used again
				mustClose(t, conn)
				var others int
				err := db.QueryRowContext(t.Context(), `select count(*) from pg_stat_activity
					where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`).Scan(&others)
				if err != nil || others != 0 {
					t.Fatalf("%d more sessions with pool_max_conns=1, %v", others, err)
				}
			}
		})
	}
}

func TestConnectionsEndWhenTheyWereIdleForLong(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	db := openDSN(t, withSettings(dsn, "pool_max_conn_idle_time=60ms", "pool_min_conns=1", "pool_health_check_period=10ms"))
	var txs []*sql.Tx
	for range 4 {
		txs = append(txs, mustBegin(t, db))
	}
	if n := backends(t, out); n != 4 {
		t.Errorf("%d backends", n)
	}
	for _, tx := range txs {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "only the minimum is left", func() bool { return backends(t, out) == 1 })
}

// logs collects records.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) lines() []string {
	text := strings.TrimSpace(l.String())
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

//go:noinline
func holdsALeaseForLong(ctx context.Context, db *sql.DB, secret string, number int, until func()) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "select $1::text, $2::int", secret, number); err != nil {
		return err
	}
	until()
	return nil
}

func TestALeakIsLoggedOnceWithItsHolderAndWithoutArguments(t *testing.T) {
	t.Parallel()
	const after = 300 * time.Millisecond // longer than a statement, on a busy machine too
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			var out logs
			cfg := parse(t, withSettings(pgtest.DSN(t), "lifeguard_name=leaky", mode))
			cfg.LeakAfter = after
			cfg.Logger = slog.New(slog.NewJSONHandler(&out, nil))
			db := openConfig(t, cfg)
			began := time.Now()
			for range 20 {
				mustExec(t, db, "select 1")
			}
			if lines := out.lines(); len(lines) > 0 && time.Since(began) < after {
				t.Errorf("none of these is a leak:\n%s", strings.Join(lines, "\n"))
			}
			early := len(out.lines())
			span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{0xcd}})
			err := holdsALeaseForLong(trace.ContextWithSpanContext(t.Context(), span), db, "s3cr3t", 0x5ec2e7, func() {
				eventually(t, "the leak is logged", func() bool { return len(out.lines()) > early })
				again := time.NewTimer(after + after/2)
				<-again.C
			})
			if err != nil {
				t.Fatal(err)
			}
			lines := out.lines()[early:]
			if len(lines) != 1 {
				t.Fatalf("%d records:\n%s", len(lines), strings.Join(lines, "\n"))
			}
			for _, want := range []string{
				"holdsALeaseForLong", `"pool":"leaky"`, `"state":"idle_in_tx"`, `"fingerprint":"`, `"wait_ms":`, `"held_ms":300`,
				`"trace_id":"` + span.TraceID().String(), `"span_id":"` + span.SpanID().String(),
			} {
				if !strings.Contains(lines[0], want) {
					t.Errorf("no %q in %s", want, lines[0])
				}
			}
			if !strings.Contains(lines[0], `"summary":"SELECT"`) && !strings.Contains(lines[0], `"summary":"BEGIN"`) { // if the machine was slow
				t.Errorf("the statement is not in %s", lines[0])
			}
			for _, never := range []string{"s3cr3t", "5ec2e7"} {
				if strings.Contains(lines[0], never) {
					t.Errorf("an argument, %q, is in %s", never, lines[0])
				}
			}
			for range 2 { // once per lease, not once for ever
				before := len(out.lines()) // not later: on a busy machine it may be logged before the holder goes on
				if err := holdsALeaseForLong(t.Context(), db, "", 0, func() {
					eventually(t, "the next leak is logged", func() bool { return len(out.lines()) > before })
				}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAHookThatFailsFailsItsCallerAndGivesItsPlaceBack(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			out := observer(t, dsn)
			cfg := parse(t, withSettings(dsn, "pool_max_conns=1", mode))
			refused := errors.New("refused")
			var before, after error
			cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return before }
			cfg.AfterConnect = func(context.Context, *pgx.Conn) error { return after }
			db := openConfig(t, cfg)
			before = refused
			for range 5 {
				if err := db.Ping(); !errors.Is(err, refused) {
					t.Errorf("ping says %v", err)
				}
			}
			before, after = nil, refused
			for range 5 {
				if err := db.Ping(); !errors.Is(err, refused) {
					t.Errorf("ping says %v", err)
				}
			}
			eventually(t, "refused connections are closed", func() bool { return backends(t, out) == 0 })
			after = nil
			if err := db.PingContext(withinReason(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// stdlib calls hooks in the goroutine of the statement, whose caller can recover from
// their panics, as net/http does. A panic in another goroutine ends the process, so
// this test has one to lose.
func TestAPanicInAHookReachesTheCallerOfTheStatement(t *testing.T) {
	const dsnKey, hookKey = "LIFEGUARD_TEST_PANIC_DSN", "LIFEGUARD_TEST_PANIC_HOOK"
	if dsn := os.Getenv(dsnKey); dsn != "" {
		cfg := parse(t, dsn)
		broken := true
		panics := func() {
			if broken {
				panic("in a hook")
			}
		}
		switch os.Getenv(hookKey) {
		case "before":
			cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { panics(); return nil }
		case "after":
			cfg.AfterConnect = func(context.Context, *pgx.Conn) error { panics(); return nil }
		}
		db := openConfig(t, cfg)
		func() {
			defer func() { fmt.Fprintln(os.Stdout, "recovered:", recover()) }()
			_ = db.Ping()
		}()
		broken = false
		fmt.Fprintln(os.Stdout, "then:", db.PingContext(withinReason(t)))
		return
	}
	for _, hook := range []string{"before", "after"} {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAPanicInAHookReachesTheCallerOfTheStatement$", "-test.v")
		child.Env = append(os.Environ(), dsnKey+"="+withSettings(pgtest.DSN(t), "pool_max_conns=1"), hookKey+"="+hook)
		out, _ := child.CombinedOutput()
		if !strings.Contains(string(out), "recovered: in a hook") || !strings.Contains(string(out), "then: <nil>") {
			t.Errorf("%s: the caller could not recover, or the place is lost:\n%.1500s", hook, out)
		}
	}
}

func TestAPanicInResetSessionLosesNoPlace(t *testing.T) {
	h := &hooks{}
	connector, err := lifeguard.WrapConnector(h.connector(t, pgtest.DSN(t)), lifeguard.Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	h.resetErr = panicError{}
	func() {
		defer func() { _ = recover() }()
		_ = db.Ping()
	}()
	h.resetErr = nil
	if err := db.PingContext(withinReason(t)); err != nil {
		t.Errorf("after a panic in ResetSession: %v", err)
	}
	mustCloseDB(t, db)
}

// panicError panics when somebody looks at it, as errors.Is does.
type panicError struct{}

func (panicError) Error() string { return "panics" }

func (panicError) Is(error) bool { panic("in a hook") }

// A caller with a short deadline must not prevent connections for ever, nor lose a
// place, when opening one takes longer than the deadline.
func TestShortDeadlinesDoNotPreventConnections(t *testing.T) {
	cfg := parse(t, withSettings(pgtest.DSN(t), "pool_max_conns=2"))
	cfg.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error {
		slow := time.NewTimer(100 * time.Millisecond)
		defer slow.Stop()
		select {
		case <-slow.C:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	db := openConfig(t, cfg)
	eventually(t, "a caller with 30 ms gets an answer", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		err := db.PingContext(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		return err == nil
	})
}

func TestClosingWhileCallersWaitAndDialEndsThemAll(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			cfg := parse(t, withSettings(pgtest.DSN(t), "pool_max_conns=2", mode))
			entered := make(chan struct{}, 100)
			cfg.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error {
				entered <- struct{}{}
				<-ctx.Done() // a server that does not answer
				return ctx.Err()
			}
			db := openConfig(t, cfg)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if err := db.PingContext(withinReason(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("a caller at Close is told %v", err)
					}
				})
			}
			<-entered
			<-entered
			mustCloseDB(t, db)
			wg.Wait()
		})
	}
}
