package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// raw calls do with the pgx connection of conn.
func raw(t testing.TB, conn *sql.Conn, do func(*pgx.Conn) error) {
	t.Helper()
	err := conn.Raw(func(driverConn any) error {
		pgxConn, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		return do(pgxConn)
	})
	if err != nil {
		t.Error(err)
	}
}

func openConfig(t testing.TB, cfg lifeguard.Config) *sql.DB {
	t.Helper()
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func parse(t testing.TB, dsn string) lifeguard.Config {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRawKeepsItsConnectionUntilTheConnIsClosed(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=2", mode)
			conn := mustConn(t, db)
			var first *pgx.Conn
			raw(t, conn, func(c *pgx.Conn) error { // also as the very first operation
				first = c
				_, err := c.Exec(t.Context(), "set application_name = 'raw'")
				return err
			})
			var name string
			if err := conn.QueryRowContext(t.Context(), "show application_name").Scan(&name); err != nil || name != "raw" {
				t.Errorf("%q, %v", name, err)
			}
			if err := db.QueryRowContext(t.Context(), "show application_name").Scan(&name); err != nil || name == "raw" {
				t.Errorf("another caller has the connection: %q, %v", name, err)
			}
			raw(t, conn, func(c *pgx.Conn) error {
				if c != first {
					t.Error("another connection")
				}
				return nil
			})
			err := conn.Raw(func(driverConn any) error {
				c, ok := driverConn.(interface{ Conn() *pgx.Conn })
				if !ok || c.Conn() != first {
					t.Error("Conn() of the driver's connection is not the pgx connection")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			failure := errors.New("from Raw")
			if err := conn.Raw(func(any) error { return failure }); !errors.Is(err, failure) {
				t.Errorf("Raw returns %v", err)
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("a panic in Raw is lost")
					}
				}()
				_ = conn.Raw(func(any) error { panic("in Raw") })
			}()
			mustClose2(t, conn)
			for range 5 {
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// mustClose2 closes what a panic may have closed already.
func mustClose2(t testing.TB, conn *sql.Conn) {
	t.Helper()
	if err := conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		t.Error(err)
	}
}

func TestWhatRawLeavesBehindIsNotHandedOn(t *testing.T) {
	for name, leave := range map[string]func(*pgx.Conn) error{
		"a closed connection": func(c *pgx.Conn) error { return c.Close(context.Background()) },
		"an open transaction": func(c *pgx.Conn) error { _, err := c.Begin(context.Background()); return err },
		"an open result": func(c *pgx.Conn) error {
			_, err := c.Query(context.Background(), "select generate_series(1, 100000)") //nolint:sqlclosecheck // the point
			return err
		},
		"an open copy": func(c *pgx.Conn) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := c.PgConn().CopyTo(ctx, io.Discard, "copy (select generate_series(1, 1000000)) to stdout")
			if err == nil {
				return errors.New("the copy went through")
			}
			return nil
		},
	} {
		for _, mode := range bothModes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				db, out := openDSN(t, withSettings(dsn, "pool_max_conns=1", mode)), observer(t, dsn)
				conn := mustConn(t, db)
				raw(t, conn, leave)
				mustClose(t, conn)
				for range 3 {
					if err := db.PingContext(t.Context()); err != nil {
						t.Error(err)
					}
					var at int
					if err := db.QueryRow("select $1::int", 5).Scan(&at); err != nil || at != 5 {
						t.Error(at, err)
					}
				}
				eventually(t, "one backend is left", func() bool { return backends(t, out) == 1 })
			})
		}
	}
}

func TestListenAndNotifyWorkThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=2")
	conn := mustConn(t, db)
	mustExec(t, conn, "listen news")
	mustExec(t, db, "select pg_notify('news', $1)", "first")
	raw(t, conn, func(c *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := c.WaitForNotification(ctx)
		if err != nil || n.Payload != "first" {
			return fmt.Errorf("heard %v, %w", n, err)
		}
		return nil
	})
	tx := mustBegin(t, db)
	mustExec(t, tx, "notify news, 'second'")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "select 1") // receives it on the way
	raw(t, conn, func(c *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := c.WaitForNotification(ctx)
		if err != nil || n.Payload != "second" {
			return fmt.Errorf("heard %v, %w", n, err)
		}
		return nil
	})
}

func TestNoticesAndNotificationsReachTheHandlersOfConnConfig(t *testing.T) {
	cfg := parse(t, pgtest.DSN(t))
	var mu sync.Mutex
	var heard []string
	hear := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, s)
	}
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { hear("notice " + n.Message) }
	cfg.ConnConfig.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { hear("notification " + n.Payload) }
	db := openConfig(t, cfg)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "do $$ begin raise notice 'hello'; end $$")
	mustExec(t, db, "listen news")
	mustExec(t, db, "notify news, 'now'")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(heard, []string{"notice hello", "notification now"}) {
		t.Errorf("heard %q", heard)
	}
}

func TestCopyWorksThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	mustExec(t, db, "create table copied (n int, t text)")
	conn := mustConn(t, db)
	raw(t, conn, func(c *pgx.Conn) error {
		n, err := c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n", "t"}, pgx.CopyFromSlice(1000, func(i int) ([]any, error) {
			return []any{i, fmt.Sprint("row ", i)}, nil
		}))
		if err != nil || n != 1000 {
			return fmt.Errorf("copied %d: %w", n, err)
		}
		var out bytes.Buffer
		if _, err := c.PgConn().CopyTo(t.Context(), &out, "copy (select * from copied where n < 3 order by n) to stdout"); err != nil {
			return err
		}
		if out.String() != "0\trow 0\n1\trow 1\n2\trow 2\n" {
			return fmt.Errorf("copied out %q", out.String())
		}
		return nil
	})
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, conn, func(c *pgx.Conn) error { // a copy inside the transaction of database/sql
		_, err := c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromRows([][]any{{5000}}))
		return err
	})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRowContext(t.Context(), "select count(*) from copied").Scan(&n); err != nil || n != 1000 {
		t.Errorf("%d rows, %v", n, err)
	}
	// a copy that fails leaves the connection usable
	err = conn.Raw(func(driverConn any) error {
		c, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		_, err = c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {"not a number"}}))
		return err
	})
	if err == nil {
		t.Error("a bad copy went through")
	}
	mustExec(t, conn, "select 1")
}

func TestLargeObjectsWorkThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	raw(t, mustConn(t, db), func(c *pgx.Conn) error {
		tx, err := c.Begin(t.Context())
		if err != nil {
			return err
		}
		defer tx.Rollback(context.Background()) //nolint:errcheck // committed
		objects := tx.LargeObjects()
		oid, err := objects.Create(t.Context(), 0)
		if err != nil {
			return err
		}
		object, err := objects.Open(t.Context(), oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		if _, err := object.Write(bytes.Repeat([]byte("large"), 20000)); err != nil {
			return err
		}
		if _, err := object.Seek(0, io.SeekStart); err != nil {
			return err
		}
		content, err := io.ReadAll(object)
		if err != nil || len(content) != 100000 {
			return fmt.Errorf("read %d bytes: %w", len(content), err)
		}
		return tx.Commit(t.Context())
	})
}

func TestABatchWorksThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=2")
	raw(t, mustConn(t, db), func(c *pgx.Conn) error {
		var b pgx.Batch
		b.Queue("select 1")
		b.Queue("select $1::text", "x")
		results := c.SendBatch(t.Context(), &b)
		var n int
		var s string
		return errors.Join(results.QueryRow().Scan(&n), results.QueryRow().Scan(&s), results.Close())
	})
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}

// deadPort returns a port of the loopback on which nobody listens.
func deadPort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // of a TCP listener
}

func TestADeadFirstHostIsPassedOver(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", deadPort(t), cc.Port)
	url := fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", cc.User, hosts, cc.Database)
	keywords := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=%s dbname=%s sslmode=disable pool_max_conns=2 lifeguard_leak_after=1m", deadPort(t), cc.Port, cc.User, cc.Database)
	for _, attrs := range []string{"any", "read-write", "primary", "prefer-standby"} {
		for _, dsn := range []string{withSettings(url, "pool_max_conns=2", "target_session_attrs="+attrs), keywords + " target_session_attrs=" + attrs} {
			if backendPID(t, openDSN(t, dsn)) == 0 {
				t.Error("no backend")
			}
		}
	}
	for _, attrs := range []string{"standby", "read-only"} {
		s := openSides(t, withSettings(url, "target_session_attrs="+attrs))
		s.same(t, attrs, func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
	}
	s := openSides(t, fmt.Sprintf("postgres://%s@127.0.0.1:%d/x?sslmode=disable", cc.User, deadPort(t)))
	s.same(t, "nobody listens", func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
	s = openSides(t, fmt.Sprintf("postgres://%s@127.0.0.1:%d/there_is_no_such_database?sslmode=disable", cc.User, cc.Port))
	s.same(t, "no such database", func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
}

func TestAPasswordFileIsReadForEachConnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passfile")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cfg := parse(t, withSettings(pgtest.DSN(t), "passfile="+file))
	var seen []string // the test opens connections one after the other
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		seen = append(seen, cc.Password)
		return nil
	}
	db := openConfig(t, cfg)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	write("second")
	held := mustConn(t, db)
	backendPID(t, held)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []string{"first", "second"}) {
		t.Errorf("the passwords were %q", seen)
	}
	c, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if cc := c.Config().ConnConfig; cc != nil && cc.Password != "" {
		t.Error("Config shows a password")
	}
}

func TestAServiceFileIsFollowed(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "services")
	service := fmt.Sprintf("[shop]\nhost=%s\nport=%d\nuser=%s\ndbname=%s\nsslmode=disable\napplication_name=from the service\npool_max_conns=3\n", cc.Host, cc.Port, cc.User, cc.Database)
	if err := os.WriteFile(file, []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"service=shop servicefile=" + file + " lifeguard_name=mine", "postgres:///?service=shop&lifeguard_name=mine&servicefile=" + file} {
		db := openDSN(t, dsn)
		var name string
		if err := db.QueryRow("show application_name").Scan(&name); err != nil || name != "from the service" {
			t.Errorf("%q, %v", name, err)
		}
		c, err := lifeguard.FromDB(db)
		if err != nil {
			t.Fatal(err)
		}
		if cfg := c.Config(); cfg.MaxConns != 3 || cfg.Name != "mine" {
			t.Errorf("%d connections, name %q", cfg.MaxConns, cfg.Name)
		}
	}
}

func TestRegisteredConfigurationsWorkAsDSN(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	cc.RuntimeParams["application_name"] = "registered"
	name := stdlib.RegisterConnConfig(cc)
	for _, mode := range []string{"checkout", "session"} {
		t.Setenv("LIFEGUARD_MODE", mode)
		db := openDSN(t, name)
		var got string
		if err := db.QueryRow("show application_name").Scan(&got); err != nil || got != "registered" {
			t.Errorf("%q, %v", got, err)
		}
	}
	// ParseConfig's result serves NewConnector; hooks set on it must work or be refused.
	cfg, err := lifeguard.ParseConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	called := false
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { called = true; return nil }
	if connector, err := lifeguard.NewConnector(cfg); err == nil {
		db := sql.OpenDB(connector)
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		if !called {
			t.Error("BeforeConnect of a registered configuration is silently dropped; refuse it or call it")
		}
		mustCloseDB(t, db)
	}
	stdlib.UnregisterConnConfig(name)
	db := openDSN(t, name)
	if err := db.Ping(); err == nil {
		t.Error("an unregistered name works")
	}
}

func mustCloseDB(t testing.TB, db *sql.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// hooks records what stdlib's options are called for.
type hooks struct {
	mu     sync.Mutex
	events []string

	resetErr   error
	afterErr   error
	beforeErr  error
	shouldPing bool
}

func (h *hooks) note(event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

func (h *hooks) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := strings.Join(h.events, " ")
	h.events = nil
	return all
}

func (h *hooks) connector(t testing.TB, dsn string) driver.Connector {
	t.Helper()
	cc, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return stdlib.GetConnector(*cc,
		stdlib.OptionBeforeConnect(func(context.Context, *pgx.ConnConfig) error { h.note("before"); return h.beforeErr }),
		stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			h.note("after")
			if h.afterErr != nil {
				_ = c.Close(ctx)
			}
			return h.afterErr
		}),
		stdlib.OptionResetSession(func(context.Context, *pgx.Conn) error { h.note("reset"); return h.resetErr }),
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { h.note("shouldping"); return h.shouldPing }),
	)
}

func TestHooksOfAWrappedConnectorAreCalledAsByStdlib(t *testing.T) {
	dsn := pgtest.DSN(t)
	for _, mode := range []lifeguard.Mode{lifeguard.ModeCheckout, lifeguard.ModeSession} {
		t.Run(string(mode), func(t *testing.T) {
			history := func(h *hooks, db *sql.DB) string {
				defer db.Close()
				db.SetMaxOpenConns(1)
				ctx := t.Context()
				var told []string
				tell := func(what string, err error) { told = append(told, fmt.Sprintf("%s: %s %v", what, h.take(), err)) }
				h.beforeErr = errors.New("no token")
				tell("before fails", db.PingContext(ctx))
				h.beforeErr = nil
				h.afterErr = errors.New("no types")
				tell("after fails", db.PingContext(ctx))
				h.afterErr = nil
				tell("first", db.PingContext(ctx))
				tell("second", db.PingContext(ctx))
				h.shouldPing = true
				tell("with a ping", db.PingContext(ctx))
				h.shouldPing = false
				tx, err := db.BeginTx(ctx, nil)
				tell("begin", err)
				_, err = tx.ExecContext(ctx, "select 1")
				tell("exec", err)
				tell("commit", tx.Commit())
				conn, err := db.Conn(ctx)
				if err != nil {
					return err.Error()
				}
				tell("conn, first", conn.PingContext(ctx))
				tell("conn, second", conn.PingContext(ctx))
				tell("conn, close", conn.Close())
				h.resetErr = errors.New("ignored by database/sql")
				tell("reset fails", db.PingContext(ctx))
				h.resetErr = nil
				_, err = db.ExecContext(ctx, "begin")
				tell("begin by hand", err)
				tell("after that", db.PingContext(ctx))
				return strings.Join(told, "\n")
			}
			plain, guard := &hooks{}, &hooks{}
			want := history(plain, sql.OpenDB(plain.connector(t, dsn)))
			connector, err := lifeguard.WrapConnector(guard.connector(t, dsn), lifeguard.Config{Mode: mode, MaxConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			got := history(guard, sql.OpenDB(connector))
			// database/sql calls ResetSession when it hands a sql.Conn out, Lifeguard at its first statement
			if got != want {
				t.Errorf("stdlib:\n%s\nlifeguard:\n%s", want, got)
			}
		})
	}
}

func TestAResetThatSaysBadConnDiscardsTheConnection(t *testing.T) {
	dsn := pgtest.DSN(t)
	h := &hooks{}
	connector, err := lifeguard.WrapConnector(h.connector(t, dsn), lifeguard.Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer mustCloseDB(t, db)
	first := backendPID(t, db)
	h.resetErr = driver.ErrBadConn
	if second := backendPID(t, db); second == first {
		t.Error("the connection that ResetSession refused was used")
	}
}

func TestWrapConnectorRefusesWhatItCannotKeep(t *testing.T) {
	cc, err := pgx.ParseConfig("host=127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	inner := stdlib.GetConnector(*cc)
	for name, cfg := range map[string]lifeguard.Config{
		"ConnConfig":    {ConnConfig: cc},
		"BeforeConnect": {BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return nil }},
		"AfterConnect":  {AfterConnect: func(context.Context, *pgx.Conn) error { return nil }},
		"keep":          {Cancel: lifeguard.CancelKeep},
		"MaxConns":      {MaxConns: -5},
		"Mode":          {Mode: "nonsense"},
	} {
		if _, err := lifeguard.WrapConnector(inner, cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := lifeguard.WrapConnector(nil, lifeguard.Config{}); err == nil {
		t.Error("nil is taken")
	}
	own, err := lifeguard.WrapConnector(inner, lifeguard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lifeguard.WrapConnector(own, lifeguard.Config{}); err == nil {
		t.Error("Lifeguard's own connector is taken as an inner one")
	}
}
