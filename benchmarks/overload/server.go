//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// maxConnections is generous: PostgreSQL's default is 100.
const maxConnections = 500

// server is the PostgreSQL that everybody is measured on, and what looks at it.
type server struct {
	pg      *pgtest.Server
	dsn     string
	name    string    // of the database
	monitor *pgx.Conn // on another database, so that it is not counted
	machine machine

	bouncer   *bouncer
	noBouncer string // why there is none
	args      arguments
	version   string
}

func startServer(ctx context.Context) (s *server, err error) {
	s = &server{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.pg, err = pgtest.Start(ctx, pgtest.Options{Settings: map[string]string{
		"max_connections": strconv.Itoa(maxConnections),
		"jit":             "off",
		"autovacuum":      "off",
	}}); err != nil {
		return s, err
	}
	if s.dsn, _, err = s.pg.CreateDatabase(ctx); err != nil {
		return s, err
	}
	cfg, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		return s, err
	}
	s.name = cfg.Database
	if s.monitor, err = pgx.Connect(ctx, s.pg.DSN("")); err != nil {
		return s, err
	}
	var dir string
	if err = s.monitor.QueryRow(ctx, "select current_setting('data_directory'), current_setting('server_version')").Scan(&dir, &s.version); err != nil {
		return s, err
	}
	pidFile, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return s, fmt.Errorf("the server's process is needed for its processor time: %w", err)
	}
	first, _, _ := strings.Cut(string(pidFile), "\n")
	if s.machine.Postmaster, err = strconv.Atoi(strings.TrimSpace(first)); err != nil {
		return s, err
	}
	if s.bouncer, err = startBouncer(ctx, cfg); err != nil {
		s.noBouncer, err = err.Error(), nil
	} else {
		s.machine.Bouncer = s.bouncer.cmd.Process.Pid
	}
	return s, s.calibrate(ctx)
}

func (s *server) stop() {
	if s.bouncer != nil {
		s.bouncer.stop()
	}
	if s.monitor != nil {
		_ = s.monitor.Close(context.Background())
	}
	if s.pg != nil {
		_ = s.pg.Stop()
	}
}

// Two texts, since an application's light and heavy statements are not the same.
const (
	textPlain = "select sum(i) from generate_series(1, $1::bigint) i"
	textHeavy = "select max(i) from generate_series(1, $1::bigint) i"
)

// calibrate finds the arguments by the backend's own processor time, which the load
// of others on this machine does not change much.
func (s *server) calibrate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	const rows, rounds = 20_000, 120
	var (
		pid int
		sum int64
	)
	if err := conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	used := func() time.Duration {
		f := proc.Stat(strconv.Itoa(pid))
		if f == nil {
			return 0
		}
		return proc.Ticks(f[11]) + proc.Ticks(f[12])
	}
	before := used()
	for range rounds {
		if err := conn.QueryRow(ctx, textPlain, int64(rows)).Scan(&sum); err != nil {
			return err
		}
	}
	each := (used() - before) / rounds
	if each < 100*time.Microsecond {
		return fmt.Errorf("calibration: %v for a statement of %d rows cannot be", each, rows)
	}
	perMillisecond := int64(rows) * int64(time.Millisecond) / int64(each)
	s.args = arguments{perMillisecond, 4 * perMillisecond, 50 * perMillisecond}
	return nil
}

// sessions counts the connections that the database has ever had. Those that are
// still open, or ended just now, count once their statistics have been flushed.
func (s *server) sessions(ctx context.Context) (n int64, err error) {
	err = s.monitor.QueryRow(ctx, "select sessions from pg_stat_database where datname = $1", s.name).Scan(&n)
	return n, err
}

// quiet waits until connections neither come nor go and the server has nothing to do: a
// storm goes on in its accept queue when those who caused it are gone. It says how long
// that took.
func (s *server) quiet(ctx context.Context) (time.Duration, error) {
	const look, limit = 60 * time.Millisecond, 20 * time.Second
	type state struct{ open, ever int64 }
	var (
		start = time.Now()
		last  state
		used  time.Duration
	)
	for time.Since(start) < limit {
		ever, err := s.sessions(ctx)
		if err != nil {
			return 0, err
		}
		now := state{ever: ever}
		err = s.monitor.QueryRow(ctx, "select count(*) from pg_stat_activity where datname = $1", s.name).Scan(&now.open)
		if err != nil {
			return 0, err
		}
		usedNow := proc.Family(s.machine.Postmaster)
		if now == last && usedNow-used <= proc.Tick {
			break
		}
		last, used = now, usedNow
		time.Sleep(look)
	}
	return time.Since(start), nil
}

// bouncer is a PgBouncer in front of the server.
type bouncer struct {
	cmd *exec.Cmd
	dir string
	dsn string
}

const bouncerConfig = `[databases]
%[1]s = host=%[2]s port=%[3]d dbname=%[1]s user=%[4]s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[5]d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %[6]d
max_client_conn = 5000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
`

func startBouncer(ctx context.Context, server *pgx.ConnConfig) (*bouncer, error) {
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(bin); err != nil {
		return nil, errors.New("pgbouncer is not installed")
	}
	dir, err := os.MkdirTemp("", "overload-bouncer-")
	if err != nil {
		return nil, err
	}
	b := &bouncer{dir: dir}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(bouncerConfig, server.Database, server.Host, server.Port, server.User, port, conns)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user reads it
		return nil, err
	}
	b.cmd = exec.Command(bin, config)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 { // PgBouncer refuses root
		if b.cmd.SysProcAttr.Credential, err = harmless(); err != nil {
			return nil, err
		}
	}
	output, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	b.cmd.Stderr = output
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.dsn = fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", server.User, port, server.Database)
	for range 100 {
		conn, err := pgx.Connect(ctx, b.dsn)
		if err == nil {
			return b, conn.Close(ctx)
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.stop()
	return nil, errors.New("pgbouncer does not answer")
}

// bouncerAlive starts another PgBouncer if the last one is gone, and says why.
func (s *server) bouncerAlive(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.bouncer.dsn)
	if err == nil {
		return conn.Close(ctx)
	}
	tail, _ := os.ReadFile(filepath.Join(s.bouncer.dir, "log"))
	s.bouncer.stop()
	log.Printf("PgBouncer is gone (%v; %v), its log ends: %s", s.bouncer.cmd.ProcessState, err, tail[max(0, len(tail)-500):])
	cfg, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		return err
	}
	if s.bouncer, err = startBouncer(ctx, cfg); err != nil {
		return err
	}
	s.machine.Bouncer = s.bouncer.cmd.Process.Pid
	return nil
}

func harmless() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("pgbouncer refuses root, and there is neither a user postgres nor nobody")
}

func (b *bouncer) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("the listener's address is a %T", l.Addr())
	}
	return addr.Port, nil
}
