package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// envHelper turns the test binary into a process that starts a server and comes
// to the end that the variable names.
const envHelper = "PGTEST_HELPER"

func TestMain(m *testing.M) {
	if end := os.Getenv(envHelper); end != "" {
		helperProcess(end)
		return
	}
	// The tests set these themselves; most look into a server of their own.
	os.Unsetenv(envDSN)
	os.Unsetenv(envRedisURL)
	code := Main(m, Options{})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// started is what a helper process prints about its server.
type started struct {
	DSN string
	Dir string
	PID int
}

func helperProcess(end string) {
	if end == "redis" {
		s, err := StartRedis(context.Background(), RedisOptions{})
		if err != nil {
			panic(err)
		}
		announce(started{DSN: s.URL()})
		select {}
	}
	s, err := Start(context.Background(), Options{CacheDir: os.Getenv("PGTEST_CACHE")})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	pid := 0
	if text, _ := s.local.status(); text != "" {
		_, _ = fmt.Sscan(text, &pid)
	}
	told := started{DSN: s.DSN(""), Dir: s.local.keeper.dir, PID: pid}
	if end == "wait" {
		s = nil // nobody holds the server, and it has to run all the same
	}
	announce(told)
	switch end {
	case "panic":
		panic("the helper was asked to panic")
	case "exit":
		os.Exit(3)
	case "stop":
		if err := s.Stop(); err != nil {
			panic(err)
		}
	case "wait":
		select {}
	}
}

// announce tells the test what was started, after everything that nobody refers to
// is gone: collected, and closed if it was a file.
func announce(s started) {
	for range 3 {
		runtime.GC()
	}
	_ = json.NewEncoder(os.Stdout).Encode(s)
}

// openTempDir is t.TempDir for a user that this process drops to.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir(), "pgtest-of-pgtest-") //nolint:usetesting // t.TempDir's parent is closed to that user
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})

	return dir
}

// eventually fails the test when cond does not become true within 15 s.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timeout := time.NewTimer(15 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-timeout.C:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}

func exists(pattern string) bool {
	found, _ := filepath.Glob(pattern)
	return len(found) > 0
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })

	return conn
}

func exec1(t *testing.T, dsn, sql string) {
	t.Helper()
	conn := connect(t, dsn)
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query1(t *testing.T, dsn, sql string) (value string) {
	t.Helper()
	conn := connect(t, dsn)
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}

	return value
}

// recorder is a testing.TB that remembers how a helper ended the test.
type recorder struct {
	testing.TB
	skipped, failed string
}

var errEnded = errors.New("test ended")

func (r *recorder) Helper()           {}
func (r *recorder) Skip(args ...any)  { r.skipped = fmt.Sprint(args...); panic(errEnded) }
func (r *recorder) Fatal(args ...any) { r.failed = fmt.Sprint(args...); panic(errEnded) }

// record runs f, which must end the test through r.
func record(t *testing.T, f func(testing.TB)) (r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if problem := recover(); problem != errEnded { //nolint:errorlint // the very value that was panicked with
			t.Fatalf("the test was not ended, but: %v", problem)
		}
	}()
	f(r)

	return r
}
