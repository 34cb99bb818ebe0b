package main

import (
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// connectTo returns a plain connection, closed at the end of the test.
func connectTo(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// leftovers lists the schemas and sessions that a demo has left in a database.
func leftovers(t *testing.T, dsn string) (schemas, sessions int) {
	t.Helper()
	err := connectTo(t, dsn).QueryRow(t.Context(), `select
		(select count(*) from pg_namespace where nspname like 'lifeguard_demo_%'),
		(select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
			and application_name = 'lifeguard-demo')`).Scan(&schemas, &sessions)
	if err != nil {
		t.Fatal(err)
	}
	return schemas, sessions
}

func mustLeaveNothing(t *testing.T, dsn string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		schemas, sessions := leftovers(t, dsn)
		if schemas == 0 && sessions == 0 {
			return
		}
		// A session ends a moment after its connection.
		if schemas > 0 || time.Now().After(deadline) {
			t.Fatalf("the demo left %d schemas and %d sessions", schemas, sessions)
		}
	}
}

func TestTheDemoRunsOnAServerOfItsOwn(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t) // skips the test where there is no PostgreSQL
	code, stdout, stderr := runFor(t.Context(), "demo", "-duration", "300ms", "-rows", "2000")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
	mustContain(t, stdout, "PostgreSQL ", "orders  100 %  2,000 of 2,000", "64 goroutines work", "queries per second",
		"point read", "join", "insert", "transaction", "aggregate", "p95", "connections used", "of pool_max_conns 8")
	if !regexp.MustCompile(`(?m)^errors +0$`).MatchString(stdout) {
		t.Errorf("errors:\n%s", stdout)
	}
}

func TestTheDemoLeavesAUsersDatabaseAsItWas(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	conn := connectTo(t, dsn)
	// Tables of the same names, in the schema that the user's own search_path names.
	if _, err := conn.Exec(t.Context(), `create schema app; set search_path = app;
		create table orders (id int); insert into orders values (1); create table customers (id int)`); err != nil {
		t.Fatal(err)
	}

	code, stdout, stderr := runFor(t.Context(), "demo", "-duration", "100ms", "-rows", "1000", "-goroutines", "5", "-dsn",
		dsn+separatorIn(dsn)+"search_path=app&pool_max_conns=3&lifeguard_name=mine")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
	mustContain(t, stdout, "from -dsn", "of pool_max_conns 3")
	mustLeaveNothing(t, dsn)
	var orders, relations int
	err := conn.QueryRow(t.Context(), `select (select count(*) from app.orders),
		(select count(*) from pg_class where relkind in ('r', 'S', 'i') and relnamespace::regnamespace::text not like 'pg\_%'
			and relnamespace <> 'information_schema'::regnamespace)`).Scan(&orders, &relations)
	if err != nil || orders != 1 || relations != 2 {
		t.Errorf("%d orders, %d relations, error %v", orders, relations, err)
	}
}

func TestADatabaseThatCannotBeReachedIsReportedOnce(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port where nobody listens
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runFor(t.Context(), "demo", "-dsn", "postgres://u@"+address+"/shop?sslmode=disable")
	if code != exitFailed || strings.Count(stderr, "failed to connect") != 1 || strings.Contains(stderr, "left behind") {
		t.Errorf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
}

func separatorIn(dsn string) string {
	if strings.Contains(dsn, "?") {
		return "&"
	}
	return "?"
}

func TestOwnParametersTakePrecedenceOverThoseOfADSN(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"postgres://u@a:1,b:2/db":                 "postgres://u@a:1,b:2/db?search_path=x%20%27",
		"postgres://u@h/db?":                      "postgres://u@h/db?search_path=x%20%27",
		"postgresql://u@h/db?search_path=app&z=1": "postgresql://u@h/db?search_path=app&z=1&search_path=x%20%27",
		"host=h search_path=app":                  `host=h search_path=app search_path='x \''`,
	}
	for dsn, want := range tests {
		got := withParams(dsn, param{"search_path", "x '"})
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		config, err := pgx.ParseConfig(got)
		if err != nil {
			t.Errorf("%s: %v", got, err)
			continue
		}
		if path := config.RuntimeParams["search_path"]; path != "x '" {
			t.Errorf("%s: search_path %q", got, path)
		}
	}
}

// interruptAt ends a context when a text is written.
type interruptAt struct {
	io.Writer
	text   string
	cancel context.CancelFunc
}

func (w *interruptAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.cancel()
	}
	return w.Writer.Write(b)
}

func TestCtrlCStopsTheDemoAndCleansUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		at    string
		flags string
		code  int
		shows string // at the end
	}{
		{"from -dsn", "-rows 20000", exitInterrupted, ""},
		{"orders   50 %", "-rows 50000", exitInterrupted, ""},
		{" 1 s ", "-rows 2000 -duration 1h", exitOK, "connections used"},
		{"pgx/stdlib  ", "-overload 2 -duration 1h -conns 2", exitOK, "requests offered"},
	}
	for _, test := range tests {
		t.Run(test.at, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout, stderr strings.Builder
			code := run(ctx, append(strings.Fields("demo "+test.flags), "-dsn", dsn),
				output{Writer: &interruptAt{&stdout, test.at, cancel}, errors: &stderr})
			if code != test.code {
				t.Errorf("exit code %d, errors %q, output:\n%s", code, stderr.String(), stdout.String())
			}
			mustContain(t, stdout.String(), test.shows)
			mustLeaveNothing(t, dsn)
		})
	}
}

func TestTheOverloadComparesAndEndsByItself(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	code, stdout, stderr := runFor(t.Context(), "demo", "-overload", "3", "-duration", "300ms", "-conns", "2", "-dsn", dsn)
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors %q, output:\n%s", code, stderr, stdout)
	}
	mustContain(t, stdout, "pgx/stdlib", "Lifeguard", "requests offered", "answered in time", "p99 until the refusal",
		"too late", "connections attempted", "goroutines at most", "heap at most")
	mustLeaveNothing(t, dsn)
}
