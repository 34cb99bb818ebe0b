//go:build unix

package thirdparty

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/needs"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// bouncerServers is how many connections PgBouncer has to PostgreSQL.
const bouncerServers = 3

// startPgBouncer starts a PgBouncer in front of dsn and returns the DSN of it. It ends with
// the test. Without a PgBouncer the test is skipped, or fails where CI is set.
func startPgBouncer(t *testing.T, dsn, mode string) string {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil { // Debian's place for it is on root's PATH only
		binary, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	if err != nil {
		needs.Lacking(t, "no pgbouncer on PATH; on Debian: apt-get install pgbouncer")
	}
	for range 5 { // another process may take the port before PgBouncer does
		port := freePort(t)
		if log := runPgBouncer(t, binary, dsn, mode, port); log == "" {
			front, err := url.Parse(dsn)
			must(t, err)
			front.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			return front.String()
		} else if !bytes.Contains([]byte(log), []byte("in use")) {
			t.Fatalf("pgbouncer did not start:\n%s", log)
		}
	}
	t.Fatal("no port for pgbouncer")
	return ""
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // a listener on tcp has no other
}

// runPgBouncer returns "" when PgBouncer listens, and otherwise its log.
func runPgBouncer(t *testing.T, binary, dsn, mode string, port int) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
%s = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = %d
max_client_conn = 200
server_reset_query = DISCARD ALL
`, cfg.Database, cfg.Host, cfg.Port, cfg.User, port, mode, bouncerServers)
	must(t, os.WriteFile(file, []byte(text), 0o600))

	var mu sync.Mutex
	var log bytes.Buffer
	cmd := exec.Command(binary, file)
	cmd.Dir = dir
	cmd.SysProcAttr = unprivileged(t, dir, file)
	cmd.Stderr = writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	})
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

	listening := false
	eventually(t, "pgbouncer listens or ends", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			listening = true
			_ = conn.Close()
		}
		return err == nil
	})
	if listening {
		return ""
	}
	mu.Lock()
	defer mu.Unlock()
	return cmp.Or(log.String(), "it said nothing")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// unprivileged makes root start the process as somebody else, which PgBouncer insists on.
func unprivileged(t *testing.T, dir, file string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	must(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	must(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	must(t, err, os.Chown(dir, uid, gid), os.Chown(file, uid, gid))
	must(t, os.Chmod(filepath.Dir(dir), 0o711)) // the test's own, to be passed through
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// TestPgBouncer goes through what works behind PgBouncer: with a server for each
// transaction, whatever needs no statement prepared before it; with one for each session,
// everything.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pooling, execMode string }{
		{"transaction", "exec"},
		{"transaction", "simple_protocol"},
		{"transaction", "cache_describe"},
		{"session", "cache_statement"},
		{"session", "cache_describe"},
		{"session", "describe_exec"},
		{"session", "exec"},
		{"session", "simple_protocol"},
	} {
		for name, driver := range map[string]string{"pgx": "pgx", "lifeguard": lifeguard.DriverName, "cached": insistentName} {
			guarded := driver != "pgx"
			t.Run(c.pooling+"/"+c.execMode+"/"+name, func(t *testing.T) {
				t.Parallel()
				dsn := startPgBouncer(t, pgtest.DSN(t), c.pooling) + "&default_query_exec_mode=" + c.execMode
				switch {
				case guarded && c.pooling == "transaction":
					dsn += "&pool_max_conns=12" // more than PgBouncer has
				case guarded:
					dsn += fmt.Sprint("&pool_max_conns=", bouncerServers)
				}
				if name == "cached" {
					dsn += "&lifeguard_cache=local"
				}
				db := openDB(t, driver, dsn)
				if c.pooling == "session" {
					db.SetMaxOpenConns(bouncerServers) // pgx has no other limit
					if guarded {
						db.SetMaxOpenConns(0)
					}
				}
				w := &world{db: db, driver: driver, dsn: dsn, keepsNothing: "which session a question meets behind a pooler nobody can say"}
				useBounced(t, w)
				if c.pooling == "session" {
					usePreparedBounced(t, w)
				}
				w.checkCache(t)
				if name == "cached" {
					checkKeepsNothing(t, w)
				}
			})
		}
	}
}

// With describe_exec, pgx has a statement without a name described in one round trip, and executes
// it in the next. A pooler with a server for each transaction may send the second one to a
// server where the statement without a name is somebody else's. docs/ecosystem.md warns of it; when
// this test fails, the warning is no longer needed.
func TestPgBouncerMixesUpWhatDescribeExecAsks(t *testing.T) {
	t.Parallel()
	for name, driver := range map[string]string{"pgx": "pgx", "lifeguard": lifeguard.DriverName} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, driver, startPgBouncer(t, pgtest.DSN(t), "transaction")+"&default_query_exec_mode=describe_exec")
			eventually(t, "somebody gets the answer to another question, or an error", func() bool { return askBounced(t.Context(), db) != nil })
		})
	}
}

// checkKeepsNothing fails if a result was kept: which session a query meets behind a
// pooler, nobody can say.
func checkKeepsNothing(t *testing.T, w *world) {
	t.Helper()
	connector, err := lifeguard.FromDB(w.db)
	must(t, err)
	if st := connector.Stats().Cache; st.Misses > 0 || st.Bypasses["proxied"] == 0 {
		t.Errorf("%d results were to be kept; bypassed: %v", st.Misses, st.Bypasses)
	}
}

func useBounced(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	w.exec(t, "create table pets (id int primary key, name text, tags text[], extra jsonb)")
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 10 {
				if err := transferBounced(ctx, w.db, 10*g+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, askBounced(ctx, w.db))
	var n int
	var servers int
	must(t, w.db.QueryRowContext(ctx, "select count(*) from pets").Scan(&n))
	must(t, w.db.QueryRowContext(ctx, "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'").Scan(&servers))
	if n != 80 || servers > bouncerServers {
		t.Errorf("%d rows by %d servers, want 80 by at most %d", n, servers, bouncerServers)
	}

	// An error, and a context that ends, leave nothing behind for whoever is next.
	_, err := w.db.ExecContext(ctx, "insert into pets (id) values ($1)", 1)
	if pgErr, ok := err.(*pgconn.PgError); !ok || pgErr.Code != "23505" { //nolint:errorlint // as GORM does
		t.Errorf("a second key gives %v, want 23505", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := w.db.ExecContext(short, "select pg_sleep(60)"); err == nil || short.Err() == nil {
		t.Errorf("a statement of a minute ended with %v", err)
	}
	must(t, w.db.QueryRowContext(ctx, "select $1::int + 1", 1).Scan(&n))

	gdb, err := gorm.Open(postgres.New(postgres.Config{Conn: w.db}), &gorm.Config{Logger: logger.Discard})
	must(t, err, gdb.AutoMigrate(&Owner{}, &Toy{}), gdb.AutoMigrate(&Owner{}, &Toy{}))
	must(t, gdb.Transaction(func(tx *gorm.DB) error {
		return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Toy{Name: "ball"}).Error })
	}))
}

// askBounced asks several questions at once, outside of transactions: each may meet another
// server, and none may get the answer to another one.
func askBounced(ctx context.Context, db *sql.DB) error {
	var all errgroup.Group
	for g := range 8 {
		all.Go(func() error {
			for i := range 40 {
				var have int
				err := db.QueryRowContext(ctx, fmt.Sprintf("select $1::int + %d", g), i).Scan(&have)
				if err != nil || have != i+g {
					return fmt.Errorf("%d + %d is %d, error %w", i, g, have, err)
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// transferBounced writes and reads in a transaction, with values of PostgreSQL's types.
func transferBounced(ctx context.Context, db *sql.DB, id int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "insert into pets (id, name, tags, extra) values ($1, $2, $3, $4)", id, "Rex", "{a,b}", `{"legs": 4}`); err != nil {
		return err
	}
	var name string
	var legs int
	if err := tx.QueryRowContext(ctx, "select name, (extra->>'legs')::int from pets where id = $1", id).Scan(&name, &legs); err != nil {
		return err
	}
	if name != "Rex" || legs != 4 {
		return fmt.Errorf("row %d is %s with %d legs", id, name, legs)
	}
	return tx.Commit()
}

// usePreparedBounced does what needs a session.
func usePreparedBounced(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	stmt, err := w.db.PrepareContext(ctx, "select name from pets where id = $1")
	must(t, err)
	defer stmt.Close()
	for range 10 {
		var name string
		must(t, stmt.QueryRowContext(ctx, 1).Scan(&name))
	}
	conn, err := w.db.Conn(ctx)
	must(t, err)
	defer conn.Close()
	var zone string
	_, err = conn.ExecContext(ctx, "set timezone to 'Asia/Shanghai'")
	must(t, err, conn.QueryRowContext(ctx, "show timezone").Scan(&zone))
	if zone != "Asia/Shanghai" {
		t.Errorf("the session's time zone is %s", zone)
	}
}
