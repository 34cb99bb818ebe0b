package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// The environment variables that pgtest reads. None needs to be set.
const (
	envDSN      = "LIFEGUARD_TEST_DSN"
	envBin      = "LIFEGUARD_PG_BIN"
	envRedisURL = "LIFEGUARD_TEST_REDIS_URL"
	envRequire  = "LIFEGUARD_REQUIRE_PG"
)

// ErrNotManaged is returned by Restart and Kill for a server that pgtest did not
// start from binaries itself: one named by LIFEGUARD_TEST_DSN, or a container.
var ErrNotManaged = errors.New("pgtest: not a server that pgtest started from local binaries")

// ErrStopped is returned by the methods of a Server after Stop.
var ErrStopped = errors.New("pgtest: server stopped")

// Options says which server a test needs. Zero is a good default: PostgreSQL's
// own settings, with durability traded for speed.
type Options struct {
	// Settings are server settings by name, for example
	// {"wal_level": "logical", "max_prepared_transactions": "10"}. They are
	// written to postgresql.conf, so ALTER SYSTEM and SET still override them. A
	// server that pgtest did not start must have them already: Start returns a
	// *SettingError when it does not.
	Settings map[string]string

	// Durable keeps fsync and full_page_writes on. The default turns them off,
	// which makes a commit many times faster than in production: set Durable for
	// a benchmark that writes. It also keeps the data on a disk; without it and
	// without TMPDIR they lie in memory (/dev/shm) where Linux has 2 GiB to spare.
	// Commits survive Kill and Restart either way.
	Durable bool

	// Template, when not nil, runs once per server on an empty database. Every
	// database of CreateDatabase and DSN is a copy of the result, so migrations
	// are paid for once. It has to close its connections before it returns.
	Template func(ctx context.Context, dsn string) error

	// Log receives what the server writes to its log. The default keeps it in a
	// file, whose end is part of the error when the server does not start.
	Log io.Writer

	// CacheDir is where initialised data directories (40 MB for each PostgreSQL)
	// are kept between runs. The default is lifeguard-pgtest in the user's cache
	// folder, or in /var/cache for root.
	CacheDir string
}

// Server is a PostgreSQL for tests. Its methods may be called concurrently.
type Server struct {
	base    url.URL // without the database
	admin   string  // the database that CREATE DATABASE is run from
	source  string
	version int
	stop    func() error // gives back what Start took; nil for a foreign server
	opts    Options

	// mu guards the fields below and is held while the server starts or stops,
	// so that a Stop waits for a Restart instead of racing it.
	mu       sync.Mutex
	local    *local // nil unless Managed
	stopped  bool
	stopErr  error
	template string // name of the database that Options.Template filled
}

// Start finds a PostgreSQL, starts it unless it runs already, and returns when it
// answers. The package documentation gives the order of the search. ctx bounds
// the start only: the server runs until Stop, or until this process ends,
// however it ends.
//
// The error is a *NotFoundError when there is no PostgreSQL here, and a
// *SettingError when LIFEGUARD_TEST_DSN names a server with other settings.
func Start(ctx context.Context, opts Options) (*Server, error) {
	return start(ctx, opts, os.Getenv(envDSN))
}

func start(ctx context.Context, opts Options, foreignDSN string) (*Server, error) {
	s, err := open(ctx, opts, foreignDSN)
	if err != nil {
		return nil, err
	}
	if err := s.fillTemplate(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}

	return s, nil
}

func open(ctx context.Context, opts Options, foreignDSN string) (*Server, error) {
	if err := checkNames(opts.Settings); err != nil {
		return nil, err
	}
	if foreignDSN != "" {
		return openForeign(ctx, opts, foreignDSN)
	}

	inst, looked, err := findPostgres(ctx)
	if err != nil {
		return nil, err
	}
	if inst != nil {
		return openLocal(ctx, opts, inst)
	}

	h, err := startContainer(ctx, "postgres", opts.containerArgs()...)
	if err != nil {
		return nil, notFound(ctx, "PostgreSQL", remedyPostgres(), unset(envDSN), looked, err)
	}
	s, err := connectURL(ctx, opts, h.url, h.source)
	if err != nil {
		return nil, errors.Join(err, h.stop())
	}
	s.stop = h.stop

	return s, nil
}

// openLocal starts a server from the binaries of inst.
func openLocal(ctx context.Context, opts Options, inst *installation) (*Server, error) {
	l, err := startLocal(ctx, opts, inst)
	if err != nil {
		return nil, fmt.Errorf("pgtest: start PostgreSQL from %s: %w", inst.dir, err)
	}
	s := &Server{
		base:  localURL(l.port),
		admin: "postgres",
		local: l,
		stop:  l.stop,
		opts:  opts,
	}
	if s.version, err = s.readVersion(ctx); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	s.source = fmt.Sprintf("PostgreSQL %s from %s, started on 127.0.0.1:%d", inst.release(), inst.dir, l.port)

	return s, nil
}

// localURL turns TLS off: a server on the loopback has none, and asking for it
// costs a round trip for each connection.
func localURL(port int) url.URL {
	return url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     fmt.Sprintf("127.0.0.1:%d", port),
		RawQuery: "sslmode=disable",
	}
}

// DSN returns the URL of a database of the server, as the superuser postgres for
// a server that pgtest started. An empty name is the server's default database.
func (s *Server) DSN(database string) string {
	if database == "" {
		database = s.admin
	}
	u := s.base
	u.Path = "/" + database

	return u.String()
}

// Source tells a human which PostgreSQL was found, and where. It holds no secret.
func (s *Server) Source() string { return s.source }

// Version returns the server_version_num: 150018 for PostgreSQL 15.18.
func (s *Server) Version() int { return s.version }

// Managed reports whether pgtest started the server from local binaries, so that
// Restart and Kill work.
func (s *Server) Managed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.local != nil
}

// Stop ends the server at once and removes its data; of a foreign server it only
// removes the template database. A second Stop does nothing and returns the same
// error as the first.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.stopErr
	}

	s.stopped = true
	if s.stop != nil {
		s.stopErr = s.stop()
		return s.stopErr
	}
	s.stopErr = s.dropTemplateLocked()

	return s.stopErr
}

// StopMode says how Restart ends the running server.
type StopMode int

const (
	// Fast ends sessions with an error message (57P01) and shuts down cleanly.
	Fast StopMode = iota
	// Immediate aborts every process; the next start recovers from the log.
	Immediate
)

// Restart stops the server, unless Kill did, and starts it again with the same
// data on the same port. After an error the server is down, and Restart may be
// tried again.
func (s *Server) Restart(ctx context.Context, mode StopMode) error {
	return s.withLocal(func(l *local) error {
		if err := l.halt(ctx, mode); err != nil {
			return fmt.Errorf("pgtest: restart: %w", err)
		}
		if err := l.launchSamePort(ctx); err != nil {
			return fmt.Errorf("pgtest: restart: %w", err)
		}
		return nil
	})
}

// Kill ends the server as a crash does, with SIGKILL for the postmaster, and
// returns when all its processes are gone. It stays down until Restart.
func (s *Server) Kill() error {
	return s.withLocal(func(l *local) error {
		if err := l.kill(); err != nil {
			return fmt.Errorf("pgtest: kill: %w", err)
		}
		return nil
	})
}

func (s *Server) withLocal(do func(*local) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.local == nil {
		return ErrNotManaged
	}
	if s.stopped {
		return ErrStopped
	}

	return do(s.local)
}

func (s *Server) readVersion(ctx context.Context) (int, error) {
	var version int
	err := s.asAdmin(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	})

	return version, err
}

// NotFoundError says that there is no PostgreSQL, or no Redis, to test with.
type NotFoundError struct {
	Service string   // "PostgreSQL" or "Redis"
	Looked  []string // where it was looked for, and what was there
	Remedy  string   // what to do about it
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("pgtest: no %s found: %s. %s", e.Service, strings.Join(e.Looked, "; "), e.Remedy)
}

// notFound makes a NotFoundError, unless the search ended with ctx.
func notFound(ctx context.Context, service, remedy, first string, looked []string, last error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pgtest: start %s: %w", service, ctx.Err())
	}
	looked = slices.Concat([]string{first}, looked, []string{last.Error()})

	return &NotFoundError{Service: service, Looked: looked, Remedy: remedy}
}

// unset says why a variable did not help.
func unset(variable string) string {
	if os.Getenv(variable) != "" {
		return variable + " does not count here, where a server of one's own is needed"
	}

	return variable + " is not set"
}
