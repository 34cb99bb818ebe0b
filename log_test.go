package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines returns the records with that message.
func (l *logBook) lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(l.String()) {
		record := make(map[string]any)
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if record["msg"] == message {
			found = append(found, record)
		}
	}
	return found
}

// linesWith returns those of the records of which key is value.
func (l *logBook) linesWith(t testing.TB, message, key, value string) []map[string]any {
	t.Helper()
	return slices.DeleteFunc(l.lines(t, message), func(record map[string]any) bool { return record[key] != value })
}

// aboutAStatement checks that a line says what every line about a statement does.
func aboutAStatement(t testing.TB, line map[string]any) {
	t.Helper()
	for _, key := range []string{"pool", "summary"} {
		if text, _ := line[key].(string); text == "" {
			t.Errorf("the line has no %s: %v", key, line)
		}
	}
	if fingerprint, _ := line["fingerprint"].(string); len(fingerprint) != 16 {
		t.Errorf("the fingerprint is %v: %v", line["fingerprint"], line)
	}
	for _, key := range []string{"duration_ms", "wait_ms", "rows"} {
		if _, ok := line[key].(float64); !ok {
			t.Errorf("%s is %v: %v", key, line[key], line)
		}
	}
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func openLogged(t testing.TB, dsn string, change func(*lifeguard.Config)) (*sql.DB, *logBook) {
	t.Helper()
	book := &logBook{}
	db, _ := openMeasured(t, dsn, func(c *lifeguard.Config) {
		c.Logger = book.logger()
		if change != nil {
			change(c)
		}
	})
	return db, book
}

func TestASlowStatementIsLoggedWithoutItsValues(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.Slow = 50 * time.Millisecond })
	mustExec(t, db, "select 1")
	rows, err := db.QueryContext(t.Context(), "select n, 'hunter2' from generate_series(1, 3) n, pg_sleep(0.06) where 'hunter3' <> $1", "hunter4")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		continue
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil { //nolint:sqlclosecheck // it is logged when it ends
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "select pg_sleep(0.06), 'hunter5'::int"); err == nil {
		t.Fatal("no error")
	}
	if _, err := db.ExecContext(t.Context(), "do $$ begin perform pg_sleep(0.06); raise exception 'hunter6'; end $$"); err == nil {
		t.Fatal("no error")
	}

	// On a busy machine the others may be slow too.
	lines := book.linesWith(t, "lifeguard: slow statement", "sql", "select n, ? from generate_series(?, ?) n, pg_sleep(?) where ? <> ?")
	failed := book.linesWith(t, "lifeguard: slow statement", "error", "P0001")
	if len(lines) != 1 || len(failed) != 1 {
		t.Fatalf("%d and %d lines:\n%s", len(lines), len(failed), book)
	}
	line := lines[0]
	aboutAStatement(t, line)
	aboutAStatement(t, failed[0])
	top := connectorOf(t, db).TopQueries(0)
	fingerprint := ""
	for _, q := range top {
		if strings.Contains(q.Query, "generate_series") {
			fingerprint = fmt.Sprintf("%016x", q.Fingerprint)
			if q.Calls != 1 || q.Rows != 3 || q.Max < 60*time.Millisecond || q.Errors != 0 {
				t.Errorf("the top query is %+v", q)
			}
		}
	}
	for key, want := range map[string]any{
		"level": "WARN", "pool": "shop", "rows": 3.0, "fingerprint": fingerprint, "summary": "SELECT",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, not %v", key, line[key], want)
		}
	}
	if ms, _ := line["duration_ms"].(float64); ms < 60 || ms > 30_000 { // 60,000 would be microseconds
		t.Errorf("duration_ms is %v", line["duration_ms"])
	}
	if _, has := line["error"]; has {
		t.Errorf("a good statement has the error %v", line["error"])
	}
	if strings.Contains(book.String(), "hunter") {
		t.Errorf("a value is in the log:\n%s", book)
	}
}

func TestTheWaitForAdmissionMakesAStatementSlow(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns, c.Slow = 1, 50*time.Millisecond })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var waiter sync.WaitGroup
	began := time.Now()
	waiter.Go(func() { mustExec(t, db, "select 'waited', 1") })
	eventually(t, "it waits", func() bool { return connectorOf(t, db).Stats().Limiter.Queued == 1 })
	release := time.NewTimer(80 * time.Millisecond)
	<-release.C
	mustExec(t, tx, "select 'within'") // has its connection
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	waiter.Wait()
	total := float64(time.Since(began)) / float64(time.Millisecond)

	lines := book.linesWith(t, "lifeguard: slow statement", "sql", "select ?, ?")
	if len(lines) != 1 {
		t.Fatalf("%d lines:\n%s", len(lines), book)
	}
	wait, _ := lines[0]["wait_ms"].(float64)
	took, _ := lines[0]["duration_ms"].(float64)
	if wait < 70 || wait+took > total { // the one does not contain the other
		t.Errorf("wait_ms is %v, duration_ms %v, of %v in all", wait, took, total)
	}
	for _, q := range connectorOf(t, db).TopQueries(0) {
		if waited := q.Wait >= 70*time.Millisecond; waited != (q.Query == "select ?, ?") {
			t.Errorf("waits are counted for the wrong statement: %+v", q)
		}
	}
}

func TestSlowZeroLogsNothing(t *testing.T) {
	t.Parallel()
	db, book := openLogged(t, withSettings(pgtest.DSN(t), "lifeguard_slow=0"), nil)
	mustExec(t, db, "select pg_sleep(1.1)")
	if text := book.String(); text != "" {
		t.Errorf("logged:\n%s", text)
	}
	db, book = openLogged(t, pgtest.DSN(t), nil)
	mustExec(t, db, "select pg_sleep(1.1)")
	if len(book.lines(t, "lifeguard: slow statement")) != 1 {
		t.Errorf("by default a statement of 1.1 s is not slow:\n%s", book)
	}
}

func TestRefusalsAreLoggedOncePerSecondAndReason(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns, c.Queue = 1, -1 })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	const refusals = 50
	refuse := func() {
		if _, err := db.ExecContext(t.Context(), "update t set a = 'hunter2'"); !errors.Is(err, lifeguard.ErrOverloaded) {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range refusals {
		refuse()
	}
	seconds := int(time.Since(began)/time.Second) + 1
	lines := book.lines(t, "lifeguard: statement refused")
	if len(lines) == 0 || len(lines) > seconds {
		t.Fatalf("%d lines in %d seconds", len(lines), seconds)
	}
	first := lines[0]
	aboutAStatement(t, first)
	if first["error"] != "overloaded" {
		t.Errorf("the error of a refusal is %v", first["error"])
	}
	if first["reason"] != "queue_full" || first["limit"] != 1.0 || first["summary"] != "UPDATE t" || first["level"] != "WARN" || first["pool"] != "shop" {
		t.Errorf("the line is %v", first)
	}
	if _, err := db.PrepareContext(t.Context(), "select 1"); !errors.Is(err, lifeguard.ErrOverloaded) { //nolint:sqlclosecheck // it fails
		t.Error(err)
	}
	eventually(t, "a line that says how many were suppressed", func() bool {
		refuse()
		all := book.lines(t, "lifeguard: statement refused")
		n, _ := all[len(all)-1]["suppressed"].(float64)
		return n >= refusals-float64(seconds)
	})
	for _, q := range connectorOf(t, db).TopQueries(0) {
		if strings.HasPrefix(q.Summary, "UPDATE") {
			t.Errorf("refused statements are among the executed: %+v", q)
		}
	}
	if strings.Contains(book.String(), "hunter") {
		t.Errorf("a value is in the log:\n%s", book)
	}
}

func TestALostConnectionIsLoggedWithItsStatement(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, book := openLogged(t, dsn, nil)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := backendPID(t, conn)
	var sleeper sync.WaitGroup
	sleeper.Go(func() { _, err = conn.ExecContext(t.Context(), "select pg_sleep(30), 'hunter2'") })
	out := observer(t, dsn)
	eventually(t, "it sleeps", func() bool {
		var n int
		if err := out.QueryRow(t.Context(), "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'", pid).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	if _, err := out.Exec(t.Context(), "select pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	sleeper.Wait()
	if err == nil {
		t.Fatal("no error")
	}
	lines := book.lines(t, "lifeguard: connection lost during a statement")
	if len(lines) != 1 || lines[0]["error"] != "57P01" || lines[0]["summary"] != "SELECT" || strings.Contains(book.String(), "hunter") {
		t.Fatalf("the log is\n%s", book)
	}
	aboutAStatement(t, lines[0])
}

func TestAFailureToConnectAndItsEndAreLogged(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.ConnConfig.Password = "hunter2"
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if down.Load() {
				return nil, errors.New("the cable is out")
			}
			return dial(ctx, network, addr)
		}
	})
	for range 3 {
		if _, err := db.ExecContext(t.Context(), "select 1"); err == nil {
			t.Fatal("connected")
		}
	}
	failed := book.lines(t, "lifeguard: could not open a connection")
	if len(failed) == 0 || len(failed) > 2 || failed[0]["level"] != "ERROR" || failed[0]["error"] != "connection" {
		t.Fatalf("the log is\n%s", book)
	}
	if detail, _ := failed[0]["detail"].(string); !strings.Contains(detail, "the cable is out") {
		t.Errorf("the line does not say why: %v", failed[0])
	}
	if lines := book.lines(t, "lifeguard: connected again"); len(lines) != 0 {
		t.Errorf("too early: %v", lines)
	}
	down.Store(false)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustExec(t, conn, "select 1")
	mustExec(t, db, "select 1") // a second connection is no news
	again := book.lines(t, "lifeguard: connected again")
	if len(again) != 1 || again[0]["failures"] != 3.0 || again[0]["level"] != "INFO" {
		t.Errorf("the log is\n%s", book)
	}
	if strings.Contains(book.String(), "hunter") {
		t.Errorf("the password is in the log:\n%s", book)
	}
}

// Nobody waits for what is opened to keep a minimum: the log is all there is of it.
func TestWhatFailsInTheBackgroundIsLogged(t *testing.T) {
	var calls, step atomic.Int32
	db, book := openLogged(t, withSettings(pgtest.DSN(t), "pool_min_conns=1", "pool_health_check_period=10ms"), func(c *lifeguard.Config) {
		c.AfterConnect = func(context.Context, *pgx.Conn) error {
			calls.Add(1)
			switch step.Load() {
			case 0:
				return errors.New("the password is hunter2")
			case 1:
				panic("a hook of ours")
			}
			return nil
		}
	})
	began := time.Now()
	eventually(t, "it is tried again and again", func() bool { return calls.Load() >= 5 })
	step.Store(1)
	eventually(t, "a panic is logged", func() bool {
		lines := book.lines(t, "lifeguard: a connect hook panicked in the background")
		return len(lines) > 0 && lines[0]["panic"] == "a hook of ours" && lines[0]["level"] == "ERROR" && lines[0]["pool"] == "shop"
	})
	step.Store(2)
	eventually(t, "a connection is kept ready", func() bool { return connectorOf(t, db).Stats().Pool.Idle == 1 })
	failed, seconds := book.lines(t, "lifeguard: could not open a connection"), int(time.Since(began)/time.Second)+1
	if len(failed) == 0 || len(failed) > seconds {
		t.Errorf("%d lines in %d seconds:\n%s", len(failed), seconds, book)
	}
	if len(book.lines(t, "lifeguard: connected again")) != 1 {
		t.Errorf("the end of it is not told:\n%s", book)
	}
	if strings.Contains(book.String(), "hunter") {
		t.Errorf("what a hook says is in the log:\n%s", book)
	}
}

func TestConnectionsThatDoNotLastAreLogged(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns = 3 })
	const churn = "lifeguard: connections do not last"
	for i := 0; i < 100 && len(book.lines(t, churn)) == 0; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := db.ExecContext(ctx, "select pg_sleep(5)")
		cancel()
		if err == nil {
			t.Fatal("no time-out")
		}
		eventually(t, "the cancelled statement has been cleaned up", func() bool { return connectorOf(t, db).Stats().Limiter.InFlight == 0 })
	}
	lines := book.lines(t, churn)
	if len(lines) != 1 || lines[0]["opened"] != 10.0 || lines[0]["closed_cancelled"] == 0.0 {
		t.Errorf("the log is\n%s", book)
	}
	if lost := book.lines(t, "lifeguard: connection lost during a statement"); len(lost) != 0 {
		t.Errorf("cancelled connections count as lost:\n%s", book)
	}
}

// An application that closes its connections has them opened again: that is no fault.
func TestConnectionsThatTheApplicationClosesAreNoChurn(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.MaxConns, c.Mode = 2, lifeguard.ModeSession })
	db.SetMaxIdleConns(-1) // none is kept: each statement opens one
	for range 15 {
		if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
			t.Fatal(err)
		}
	}
	if st := connectorOf(t, db).Stats().Pool; st.Opened < 15 {
		t.Fatalf("%d connections were opened: this tests nothing", st.Opened)
	}
	if lines := book.lines(t, "lifeguard: connections do not last"); len(lines) != 0 {
		t.Errorf("the log is\n%s", book)
	}
}
