package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// deafConn ends when the next answer has come, which nobody reads.
type deafConn struct {
	net.Conn
	cut *atomic.Bool
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.cut.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// openDeaf is a pool of one connection that ends with its next answer, once cut is set.
func openDeaf(t *testing.T, dsn string) (db *sql.DB, cut *atomic.Bool) {
	t.Helper()
	cfg := parse(t, dsn)
	cut = &atomic.Bool{}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &deafConn{conn, cut}, nil
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db = sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db, cut
}

// Without arguments pgx sends a text by the simple protocol, and says of a lost answer that
// the statement may be sent again.
func TestAStatementWhoseAnswerIsLostIsNotExecutedTwice(t *testing.T) {
	t.Parallel()
	exec := func(text string, args ...any) func(*sql.DB) error {
		return func(db *sql.DB) error { _, err := db.Exec(text, args...); return err }
	}
	returning := func(db *sql.DB) error {
		var token string
		return db.QueryRow("insert into tokens values ('lost') returning token").Scan(&token)
	}
	for _, setting := range []string{"lifeguard_mode=checkout", "lifeguard_mode=session", "lifeguard_cancel=keep", "default_query_exec_mode=simple_protocol", "lifeguard_cache=local"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			plain := openDSN(t, dsn)
			mustExec(t, plain, "create table tokens (token text)")
			for name, do := range map[string]func(*sql.DB) error{
				"a text":             exec("insert into tokens values ('lost')"),
				"several statements": exec("insert into tokens values ('lost'); select 1"),
				"arguments":          exec("insert into tokens values ($1)", "lost"),
				"returning":          returning,
			} {
				mustExec(t, plain, "truncate tokens")
				db, cut := openDeaf(t, withSettings(dsn, setting, "pool_max_conns=1"))
				asked := 0
				ask := func() error { asked++; return do(db) }
				for range 3 { // whatever is asked about it, is asked
					if err := ask(); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the loss of a statement's answer", func() bool {
					eventually(t, "nobody asks anything beside it", func() bool { return unsettled(t, db) == 0 })
					cut.Store(true)
					err := ask() // nil: what was lost is the answer to a question of the cache before it
					if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("%s: the error is %v", name, err)
					}
					return err != nil
				})
				var n int
				if err := plain.QueryRow("select count(*) from tokens").Scan(&n); err != nil || n != asked {
					t.Errorf("%s: executed %d times, not %d (%v)", name, n, asked, err)
				}
				if err := do(db); err != nil {
					t.Errorf("%s: and then: %v", name, err)
				}
			}
		})
	}
}

// unsettled is how many writes the pool's cache asks about.
func unsettled(t *testing.T, db *sql.DB) int {
	t.Helper()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if st := connector.Stats().Cache; st != nil {
		return st.Unsettled
	}
	return 0
}
