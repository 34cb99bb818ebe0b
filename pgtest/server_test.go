package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestEveryTestHasADatabaseOfItsOwnThatGoesWithIt(t *testing.T) {
	var first, second string
	t.Run("test", func(t *testing.T) {
		first, second = DSN(t), DSN(t)
		exec1(t, first, "CREATE TABLE only_here (id int)")
		if got := query1(t, second, "SELECT coalesce(to_regclass('only_here')::text, 'absent')"); got != "absent" {
			t.Error("a table of one database is in the other")
		}
	})
	for _, dsn := range []string{first, second} {
		if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
			conn.Close(t.Context())
			t.Errorf("%s is still there", dsn)
		}
	}
}

func TestADatabaseIsDroppedUnderItsSessions(t *testing.T) {
	dsn, drop, err := Shared(t).CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	connect(t, dsn)
	for range 2 {
		if err := drop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADatabaseGoesThoughCommitsWaitForAStandby(t *testing.T) {
	server := NewServer(t, Options{Settings: map[string]string{
		"max_wal_senders": "2", "wal_level": "replica", "synchronous_standby_names": "nobody",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		_, drop, err := server.CreateDatabase(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := drop(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabasesAreMadeConcurrently(t *testing.T) {
	s := Shared(t)
	const n = 16
	dsns := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			dsn, drop, err := s.CreateDatabase(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			dsns[i] = dsn
			if err := drop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, dsn := range dsns {
		seen[dsn] = true
	}
	if len(seen) != n {
		t.Errorf("%d different databases, want %d", len(seen), n)
	}
}

func TestCreateDatabaseWaitsForAFreeConnection(t *testing.T) {
	s := NewServer(t, Options{Settings: map[string]string{"max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0"}})
	var held []*pgx.Conn
	for range 4 {
		held = append(held, connect(t, s.DSN("")))
	}
	done := make(chan error)
	go func() {
		_, _, err := s.CreateDatabase(t.Context())
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("there was no free connection, and yet: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	held[0].Close(t.Context())
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSettingsReachTheServer(t *testing.T) {
	s := NewServer(t, Options{Settings: map[string]string{
		"wal_level":                 "logical",
		"max_prepared_transactions": "7",
		"Application_Name":          `it's a \ test`,
		"pgtest.custom":             "x",
	}})
	for name, want := range map[string]string{
		"wal_level":                 "logical",
		"max_prepared_transactions": "7",
		"pgtest.custom":             "x",
		"fsync":                     "off",
		"synchronous_commit":        "on",
		"full_page_writes":          "off",
		"listen_addresses":          "127.0.0.1",
		"TimeZone":                  "UTC",
		"server_encoding":           "UTF8",
		"lc_collate":                "C",
		"application_name":          `it's a \ test`,
	} {
		if s.Version() >= 16_00_00 && name == "lc_collate" {
			continue
		}
		if got := query1(t, s.DSN(""), "SHOW "+name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}

	exec1(t, s.DSN(""), "ALTER SYSTEM SET max_prepared_transactions = 9")
	if err := s.Restart(t.Context(), Fast); err != nil {
		t.Fatal(err)
	}
	if got := query1(t, s.DSN(""), "SHOW max_prepared_transactions"); got != "9" {
		t.Errorf("ALTER SYSTEM lost against Options.Settings: %s", got)
	}
}

func TestADurableServerKeepsItsSafeguards(t *testing.T) {
	s := NewServer(t, Options{Durable: true})
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := query1(t, s.DSN(""), "SHOW "+name); got != "on" {
			t.Errorf("%s = %s", name, got)
		}
	}
}

func TestRestartKeepsDataAndPort(t *testing.T) {
	s := NewServer(t, Options{})
	dsn := s.DSN("")
	exec1(t, dsn, "CREATE TABLE kept (n int)")
	exec1(t, dsn, "INSERT INTO kept VALUES (42)")
	check := func(how string) {
		t.Helper()
		if s.DSN("") != dsn {
			t.Errorf("%s: the DSN has changed", how)
		}
		if got := query1(t, dsn, "SELECT n::text FROM kept"); got != "42" {
			t.Errorf("%s: got %s", how, got)
		}
	}

	for how, mode := range map[string]StopMode{"fast": Fast, "immediate": Immediate} {
		session := connect(t, dsn)
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatal(how, err)
		}
		if err := session.Ping(t.Context()); err == nil {
			t.Errorf("%s: a session lived through the restart", how)
		}
		check(how)
	}

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		conn.Close(t.Context())
		t.Error("a killed server answers")
	}
	if err := s.Restart(t.Context(), Fast); err != nil {
		t.Fatal(err)
	}
	check("kill")
}

func TestStopLeavesNothingAndMayBeRepeated(t *testing.T) {
	s := NewServer(t, Options{})
	dir := s.local.keeper.dir
	_, drop, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if exists(dir) {
		t.Errorf("%s is still there", dir)
	}
	if err := drop(t.Context()); err != nil {
		t.Errorf("drop after Stop: %v", err)
	}
	if err := s.Restart(t.Context(), Fast); !errors.Is(err, ErrStopped) {
		t.Errorf("Restart after Stop: %v", err)
	}
	if err := s.Kill(); !errors.Is(err, ErrStopped) {
		t.Errorf("Kill after Stop: %v", err)
	}
}

func TestTheTemplateIsFilledOnceAndCopied(t *testing.T) {
	calls := 0
	s := NewServer(t, Options{Template: func(ctx context.Context, dsn string) error {
		calls++
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "CREATE TABLE migrated AS SELECT 'yes'::text AS done")
		return err
	}})
	for range 2 {
		dsn, _, err := s.CreateDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := query1(t, dsn, "SELECT done FROM migrated"); got != "yes" {
			t.Error(got)
		}
	}
	if calls != 1 {
		t.Errorf("Template ran %d times", calls)
	}
}

func TestAFailedTemplateFailsTheStart(t *testing.T) {
	Shared(t)
	broken := errors.New("migration 7 is broken")
	_, err := start(t.Context(), Options{Template: func(context.Context, string) error { return broken }}, "")
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestAServerThatDoesNotStartShowsItsLog(t *testing.T) {
	Shared(t)
	_, err := start(t.Context(), Options{Settings: map[string]string{"max_connections": "plenty"}}, "")
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections"`) {
		t.Error(err)
	}
}

func TestASettingsNameIsNoWayIntoTheConfiguration(t *testing.T) {
	_, err := start(t.Context(), Options{Settings: map[string]string{"fsync = on\nport": "1"}}, "")
	if err == nil || !strings.Contains(err.Error(), "not the name of a setting") {
		t.Error(err)
	}
}

func TestTheLogIsHandedOut(t *testing.T) {
	var log lockedBuilder
	s := NewServer(t, Options{Log: &log})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "database system is ready to accept connections") {
		t.Errorf("log: %q", log.String())
	}
}

type lockedBuilder struct {
	mu sync.Mutex
	strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.Builder.Write(p)
}

func TestAStartEndsWithItsContext(t *testing.T) {
	Shared(t)
	tmp, cache := openTempDir(t), openTempDir(t)
	t.Setenv("TMPDIR", tmp)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := start(ctx, Options{CacheDir: cache}, "")
		done <- err
	}()
	eventually(t, "initdb runs", func() bool { return exists(cache + "/.building-*/data/base") })
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still starting")
	}
	for _, dir := range []string{tmp + "/*", cache + "/*", cache + "/.b*"} {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestAStartWithACancelledContextStartsNothing(t *testing.T) {
	Shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := start(ctx, Options{}, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestATakenPortIsReplaced(t *testing.T) {
	Shared(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	real, calls := freePort, 0
	freePort = func() (int, error) {
		calls++
		if calls < 3 {
			return taken.Addr().(*net.TCPAddr).Port, nil //nolint:errcheck // of a TCP listener
		}
		return real()
	}
	defer func() { freePort = real }()

	s := NewServer(t, Options{})
	if got := query1(t, s.DSN(""), "SHOW port"); calls != 3 || got != fmt.Sprint(s.local.port) {
		t.Errorf("port %s after %d tries", got, calls)
	}
}

func TestTheDSNIsAURL(t *testing.T) {
	s := Shared(t)
	u, err := url.Parse(s.DSN("a b/c?d"))
	if err != nil || u.Path != "/a b/c?d" || u.Scheme != "postgres" {
		t.Error(u, err)
	}
}

func TestTheSourceNamesReleaseFolderAndAddress(t *testing.T) {
	s := NewServer(t, Options{})
	want := fmt.Sprintf("PostgreSQL %s from %s, started on 127.0.0.1:%d", s.local.inst.release(), s.local.inst.dir, s.local.port)
	if s.Source() != want || !s.Managed() || s.Version()/10000 != s.local.inst.major {
		t.Error(s.Source(), s.Managed(), s.Version())
	}
}

func TestWithoutPostgreSQLATestIsSkippedWithOneLine(t *testing.T) {
	withoutPostgres(t)
	t.Setenv("CI", "")
	t.Setenv(envRequire, "")
	r := record(t, func(t testing.TB) { NewServer(t, Options{}) }) //nolint:thelper // what is tested, not a helper
	if !strings.HasPrefix(r.skipped, "pgtest: no PostgreSQL found: ") || strings.Contains(r.skipped, "\n") {
		t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
	}
	for _, want := range []string{envDSN, envBin, "PATH", "/nowhere/*/bin", "no Docker engine answers", "Install PostgreSQL ("} {
		if !strings.Contains(r.skipped, want) {
			t.Errorf("%q does not mention %s", r.skipped, want)
		}
	}
}

func TestWithoutPostgreSQLATestFailsWhereOneIsRequired(t *testing.T) {
	for _, env := range []struct {
		ci, require string
		failed      bool
	}{
		{"", "", false},
		{"false", "0", false},
		{"true", "", true},
		{"", "1", true},
	} {
		t.Run(fmt.Sprint(env), func(t *testing.T) {
			withoutPostgres(t)
			t.Setenv("CI", env.ci)
			t.Setenv(envRequire, env.require)
			r := record(t, func(t testing.TB) { NewServer(t, Options{}) }) //nolint:thelper // what is tested, not a helper
			if (r.failed != "") != env.failed {
				t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
			}
		})
	}
}

// withoutPostgres hides every PostgreSQL of this machine from the search, and
// puts a docker on PATH whose engine does not answer.
func withoutPostgres(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	script(t, bin, "docker", "exit 1")
	t.Setenv("PATH", bin)
	t.Setenv(envBin, "")
	real := folders
	folders = []string{"/nowhere/*/bin"}
	t.Cleanup(func() { folders = real })
}

func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
