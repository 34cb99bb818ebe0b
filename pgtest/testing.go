package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// startLimit bounds the start of a server for a test, a pull of a container's
// image included.
const startLimit = 3 * time.Minute

// shared is the server of this test process. State of the package, because the
// tests of a package have nothing else in common.
//
//nolint:gochecknoglobals // see above
var shared struct {
	mu     sync.Mutex
	opts   Options
	server *Server
	err    error // from the one try to start it
}

// Main runs the tests of a package, whose DSN calls share one server started
// with opts, stops that server, and returns the exit code. The server starts
// with the first DSN, so tests that need none do not wait for it.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }
//
// Without it DSN works too, on a server with zero Options that ends with the
// process.
func Main(m *testing.M, opts Options) int {
	shared.mu.Lock()
	shared.opts = opts
	shared.mu.Unlock()

	code := m.Run()

	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}

	return code
}

// DSN returns the URL of a new, empty database (or a copy of Options.Template)
// that is dropped when the test ends. It lies on the server that the tests of
// this process share. Without a PostgreSQL the test is skipped, or fails when CI
// or LIFEGUARD_REQUIRE_PG=1 is set.
func DSN(t testing.TB) string {
	t.Helper()

	s := Shared(t)
	dsn, drop, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := drop(ctx); err != nil {
			t.Error(err)
		}
	})

	return dsn
}

// Shared returns the server on which DSN makes its databases, for a test that
// wants to know its Version.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()

	if shared.server == nil && shared.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		shared.server, shared.err = Start(ctx, shared.opts)
	}
	if shared.err != nil {
		failOrSkip(t, shared.err)
	}

	return shared.server
}

// NewServer starts a server for this test alone, which may restart or kill it.
// It ends with the test. LIFEGUARD_TEST_DSN does not count here: a server named
// there belongs to others too.
func NewServer(t testing.TB, opts Options) *Server {
	t.Helper()
	return startFor(t, func(ctx context.Context) (*Server, error) { return start(ctx, opts, "") })
}

// startFor starts a server that ends with the test.
func startFor[S interface{ Stop() error }](t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()

	s, err := start(ctx)
	if err != nil {
		failOrSkip(t, err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})

	return s
}

// failOrSkip skips a test that has nothing to run on, unless somebody counts on
// it. A server that is there and does not start always fails the test.
func failOrSkip(t testing.TB, err error) {
	t.Helper()
	var missing *NotFoundError
	var mismatch *SettingError
	absent := errors.As(err, &missing) || errors.As(err, &mismatch)
	if absent && !required() {
		t.Skip(err)
	}
	t.Fatal(err)
}

func required() bool {
	ci := os.Getenv("CI")

	return os.Getenv(envRequire) == "1" || ci != "" && ci != "false" && ci != "0"
}
