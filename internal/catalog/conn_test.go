package catalog

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A turn counter is a connection that counts how often the client turns from
// sending to waiting for an answer: round trips.
type turnCounter struct {
	net.Conn
	turns *atomic.Int64
	sent  atomic.Bool
}

func (c *turnCounter) Write(b []byte) (int, error) {
	if !c.sent.Swap(true) {
		c.turns.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *turnCounter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.sent.Store(false)
	}
	return n, err
}

func connectCounted(t testing.TB, dsn string) (*pgconn.PgConn, *atomic.Int64) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	turns := &atomic.Int64{}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &turnCounter{Conn: conn, turns: turns}, nil
	}
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn, turns
}

func TestAnAnalysisIsOneRoundTripOnceItsCatalogIsKnown(t *testing.T) {
	t.Parallel()
	_, dsn := database(t, read(t, "testdata/schema.sql"))
	conn, turns := connectCounted(t, dsn)
	c := New()
	count := func(sql string) int64 {
		before := turns.Load()
		analyze(t, c, conn, sql)
		return turns.Load() - before
	}
	// Relations and functions, then what they call.
	if n := count("SELECT id, upper(name) FROM users WHERE id = $1"); n > 3 {
		t.Errorf("the first took %d round trips", n)
	}
	count("INSERT INTO users (name) VALUES (upper($1))") // defaults
	for _, sql := range []string{
		"SELECT id, upper(name) FROM users WHERE id = $1",
		"SELECT name FROM users WHERE upper(name) = $1",
		"INSERT INTO users (name) VALUES (upper($1))",
		"SELECT nosuch FROM users",
	} {
		if n := count(sql); n != 1 {
			t.Errorf("%s took %d round trips", sql, n)
		}
	}
	for _, sql := range []string{"BEGIN", "SET TimeZone TO UTC", "EXECUTE p", "CREATE TABLE x (a int)"} {
		if n := count(sql); n != 0 {
			t.Errorf("%s took %d round trips", sql, n)
		}
	}
}

func TestATransactionIsLeftAlone(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE a (id int)")
	execute(t, conn, "BEGIN; INSERT INTO a VALUES (1)")
	if _, err := New().Analyze(t.Context(), conn, "SELECT * FROM a"); !errors.Is(err, ErrInTransaction) {
		t.Errorf("analyze: %v", err)
	}
	if _, err := ReadSession(t.Context(), conn); !errors.Is(err, ErrInTransaction) {
		t.Errorf("session: %v", err)
	}
	if conn.IsClosed() || conn.TxStatus() != 'T' {
		t.Fatalf("closed %v, state %c", conn.IsClosed(), conn.TxStatus())
	}
	execute(t, conn, "COMMIT")
	if n := len(rows(t, conn, "SELECT id FROM a")); n != 1 {
		t.Errorf("%d rows", n)
	}
	if _, err := New().Held(t.Context(), conn, true); !errors.Is(err, ErrNoTransaction) {
		t.Errorf("held: %v", err)
	}
}

// rows returns each row as text.
func rows(t testing.TB, conn *pgconn.PgConn, sql string) []string {
	t.Helper()
	var all []string
	result := conn.ExecParams(t.Context(), sql, nil, nil, nil, nil)
	for result.NextRow() {
		line := ""
		for _, v := range result.Values() {
			if v == nil {
				line += "|NULL"
				continue
			}
			line += "|" + string(v)
		}
		all = append(all, line)
	}
	if _, err := result.Close(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func TestPgxGoesOnWithItsStatements(t *testing.T) {
	t.Parallel()
	_, dsn := database(t, "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	c := New()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		for _, sql := range []string{"SELECT id FROM a WHERE id = $1", "SELEC", "SELECT nosuch FROM a", "SELECT id FROM a WHERE id = $1"} {
			var id int
			if err := conn.QueryRow(t.Context(), "SELECT id FROM a WHERE id = $1", mode, 1).Scan(&id); err != nil || id != 1 {
				t.Fatalf("%v after %s: %d, %v", mode, sql, id, err)
			}
			analyze(t, c, conn.PgConn(), sql)
		}
	}
	if left := rows(t, conn.PgConn(), "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'stmtcache%' AND name <> ''"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAParameterWhoseTypeIsUnknownIsARefusal(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE a (id int)")
	if a := analyze(t, New(), conn, "SELECT $1 IS NULL, $1 + $2 FROM a"); a.Cacheable || a.Reason != Refused {
		t.Errorf("%+v", a)
	}
}

// TestAContextThatEndsLeavesTheConnectionUsableOrClosed lets an analysis wait for a
// lock until its context ends.
func TestAContextThatEndsLeavesTheConnectionUsableOrClosed(t *testing.T) {
	t.Parallel()
	for _, keeps := range []bool{false, true} {
		blocker, dsn := database(t, "CREATE TABLE a (id int)")
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if keeps {
			cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
				return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Minute}
			}
		}
		conn, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		execute(t, blocker, "BEGIN; LOCK TABLE a")

		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err = New().Analyze(ctx, conn, "SELECT * FROM a")
		cancel()
		if err == nil {
			t.Fatal("the analysis did not wait")
		}
		execute(t, blocker, "ROLLBACK")
		if !keeps {
			if !conn.IsClosed() {
				t.Errorf("open, in state %c", conn.TxStatus())
			}
			continue
		}
		if conn.IsClosed() || conn.TxStatus() != 'I' {
			t.Fatalf("closed %v, state %c", conn.IsClosed(), conn.TxStatus())
		}
		if a := analyze(t, New(), conn, "SELECT * FROM a"); !a.Cacheable {
			t.Errorf("afterwards: %+v", a)
		}
	}
}

func TestADoneContextSendsNothing(t *testing.T) {
	t.Parallel()
	_, dsn := database(t, "CREATE TABLE a (id int)")
	conn, turns := connectCounted(t, dsn)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := turns.Load()
	if _, err := New().Analyze(ctx, conn, "SELECT * FROM a"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if turns.Load() != before || conn.IsClosed() {
		t.Errorf("%d round trips, closed %v", turns.Load()-before, conn.IsClosed())
	}
	analyze(t, New(), conn, "SELECT * FROM a")
}

// TestATimeOutOfTheServersIsAnError: it says nothing about the text.
func TestATimeOutOfTheServersIsAnError(t *testing.T) {
	t.Parallel()
	blocker, dsn := database(t, "CREATE TABLE a (id int)")
	conn := connect(t, dsn)
	execute(t, conn, "SET lock_timeout TO '50ms'")
	execute(t, blocker, "BEGIN; LOCK TABLE a")
	a, err := New().Analyze(t.Context(), conn, "SELECT * FROM a")
	if err == nil {
		t.Errorf("%+v", a)
	}
	execute(t, blocker, "ROLLBACK")
	if a := analyze(t, New(), conn, "SELECT * FROM a"); !a.Cacheable {
		t.Errorf("afterwards: %+v", a)
	}
}

func TestALostConnectionIsAnError(t *testing.T) {
	t.Parallel()
	killer, dsn := database(t, "CREATE TABLE a (id int)")
	conn := connect(t, dsn)
	rows(t, killer, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
	if a, err := New().Analyze(t.Context(), conn, "SELECT * FROM a"); err == nil {
		t.Errorf("%+v", a)
	}
}

// BenchmarkAnalyze compares an analysis, whose catalog is known, with a point
// SELECT of the same connection.
func BenchmarkAnalyze(b *testing.B) {
	dsn := pgtest.DSN(b)
	conn := connect(b, dsn)
	execute(b, conn, "CREATE TABLE a (id int PRIMARY KEY, name text); INSERT INTO a SELECT i, 'n' FROM generate_series(1, 1000) i; ANALYZE a")
	const sql = "SELECT id, lower(name) FROM a WHERE id = $1"
	if _, err := conn.Prepare(b.Context(), "point", sql, nil); err != nil {
		b.Fatal(err)
	}
	c := New()
	analyze(b, c, conn, sql)
	var point, analysis time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := conn.ExecPrepared(b.Context(), "point", [][]byte{[]byte("7")}, nil, nil).Close(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := c.Analyze(b.Context(), conn, sql); err != nil {
			b.Fatal(err)
		}
		point += middle.Sub(start)
		analysis += time.Since(middle)
	}
	b.ReportMetric(float64(analysis)/float64(point), "selects/analysis")
}

func BenchmarkGate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Gate("SELECT u.id, lower(u.name), o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = $1 AND o.placed::date > $2")
	}
}
