package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(sharerEnv); job != "" {
		os.Exit(share(job))
	}
	code := pgtest.Main(m, pgtest.Options{Settings: map[string]string{
		"max_connections":           "200",
		"max_prepared_transactions": "10",
	}})
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// withSettings adds Lifeguard's settings, as key=value, to a DSN.
func withSettings(dsn string, settings ...string) string {
	for _, s := range settings {
		separator := "&"
		if !strings.Contains(dsn, "?") {
			separator = "?"
		}
		dsn += separator + s
	}
	return dsn
}

// open opens a database of the test's own, closed at its end.
func open(t testing.TB, settings ...string) *sql.DB {
	t.Helper()
	return openDSN(t, withSettings(pgtest.DSN(t), settings...))
}

func openDSN(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(lifeguard.DriverName, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// observer opens a database through plain pgx, to look at the server from outside.
func observer(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// backends counts the server's connections to the observer's database, without its own.
func backends(t testing.TB, conn *pgx.Conn) int {
	t.Helper()
	var n int
	err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity
		where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually polls until holds, or fails after some seconds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func backendPID(t testing.TB, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
},
) int {
	t.Helper()
	var pid int
	if err := q.QueryRowContext(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func mustExec(t testing.TB, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string, args ...any,
) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
