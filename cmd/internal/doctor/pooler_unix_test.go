//go:build unix

package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/needs"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// pooled starts a PgBouncer in front of dsn and returns the DSN of it. It ends with the test.
func pooled(t *testing.T, dsn, mode string, servers int) string {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil { // Debian's place for it is on root's PATH only
		binary, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	if err != nil {
		needs.Lacking(t, "no pgbouncer on PATH; on Debian: apt-get install pgbouncer")
	}
	cfg, err := pgx.ParseConfig(dsn)
	must(t, err)
	for range 5 { // another process may take the port before PgBouncer does
		port := freePort(t)
		dir := t.TempDir()
		file := filepath.Join(dir, "pgbouncer.ini")
		must(t, os.WriteFile(file, fmt.Appendf(nil, `[databases]
%s = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = %d
server_reset_query = DISCARD ALL
`, cfg.Database, cfg.Host, cfg.Port, cfg.User, port, mode, servers), 0o600))
		if startBouncer(t, binary, dir, file, port) {
			front, err := url.Parse(dsn)
			must(t, err)
			front.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			return front.String()
		}
	}
	t.Fatal("pgbouncer did not start")
	return ""
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // a listener on tcp has no other
}

// startBouncer reports whether PgBouncer listens, and logs what it said if not.
func startBouncer(t *testing.T, binary, dir, file string, port int) bool {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, file)
	cmd.Dir = dir
	if os.Getuid() == 0 { // PgBouncer refuses to be root
		nobody, err := user.Lookup("nobody")
		must(t, err)
		uid, err := strconv.Atoi(nobody.Uid)
		must(t, err)
		gid, err := strconv.Atoi(nobody.Gid)
		must(t, err, os.Chown(dir, uid, gid), os.Chown(file, uid, gid), os.Chmod(filepath.Dir(dir), 0o711))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-ended:
			t.Logf("pgbouncer: %s", log.Bytes())
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAPoolerIsFoundAndTriedOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode    string
		servers int
		dsn     string
		level   Level
		texts   []string
		pooler  string
	}{
		{"transaction", 5, "", Error, []string{"a server for each transaction", "default_query_exec_mode=cache_statement does not work", "default_query_exec_mode=cache_describe or =exec"}, "transaction"},
		{"transaction", 5, "&default_query_exec_mode=describe_exec", Error, []string{"answers to other questions", "default_query_exec_mode=cache_describe"}, "transaction"},
		{"transaction", 5, "&default_query_exec_mode=cache_describe", Note, []string{"=cache_describe works"}, "transaction"},
		{"transaction", 5, "&default_query_exec_mode=exec", Note, []string{"=exec works"}, "transaction"},
		{"transaction", 2, "&default_query_exec_mode=simple_protocol", Note, []string{"=simple_protocol works"}, "transaction"},
		{"session", 5, "", Note, []string{"session pooling", "default_pool_size"}, "session"},
		{"session", 1, "", Note, []string{"session pooling"}, "session"},
	} {
		t.Run(fmt.Sprint(test.mode, test.servers, test.dsn), func(t *testing.T) {
			t.Parallel()
			front := pooled(t, pgtest.DSN(t), test.mode, test.servers)
			for range 2 { // the first leaves nothing that disturbs the second
				report := examine(t, Options{DSN: front + test.dsn + "&lifeguard_fleet_budget=10&lifeguard_cache=local"})
				report.has(t, "pooler", test.level, test.texts...)
				report.has(t, "pooler.fleet", Warn, "lifeguard_fleet_budget")
				report.has(t, "pooler.cache", Warn, "lifeguard_cache")
				if report.Server.Pooler != test.pooler {
					t.Errorf("the pooler's mode is %s", report.Server.Pooler)
				}
				report.has(t, "timeouts.lock", Note)
			}
		})
	}
}

// PgBouncer 1.20 and older refuse settings of the session; newer ones of some.
func TestASettingThatThePoolerRefusesIsExplained(t *testing.T) {
	t.Parallel()
	front := pooled(t, pgtest.DSN(t), "transaction", 2)
	report := examine(t, Options{DSN: front + "&search_path=shop"})
	report.has(t, "dsn", Error, "unsupported startup parameter: search_path", "ignore_startup_parameters")
}
