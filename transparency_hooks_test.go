package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

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
