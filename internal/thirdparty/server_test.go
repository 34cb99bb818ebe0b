package thirdparty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A server that is like PostgreSQL, or a proxy, may refuse what Lifeguard asks it for its
// own purposes. Here PostgreSQL does, to a role that may not see such functions and views.

// limited returns the DSN of a role that may not look into the server, and a database of
// the one that may.
func limited(t *testing.T) (dsn string, admin *world) {
	t.Helper()
	dsn = pgtest.DSN(t)
	admin = &world{db: openDB(t, "pgx", dsn)}
	role := fmt.Sprintf("limited_%s", strings.TrimPrefix(databaseName(t, dsn), "pgtest_"))
	admin.exec(
		t,
		"create role "+role+" login",
		"grant create on schema public to "+role,
		"revoke all on pg_stat_activity, pg_locks from public",
		"revoke all on function pg_xact_status(xid8) from public",
	)
	t.Cleanup(func() { // the context of the test has ended
		_, err := admin.db.ExecContext(context.WithoutCancel(t.Context()), "drop owned by "+role+"; drop role "+role)
		if err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(dsn)
	must(t, err)
	u.User = url.User(role)
	return u.String(), admin
}

func databaseName(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

// logbook keeps what is logged.
type logbook struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

func (b *logbook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(b.lines), func(line string) bool { return !strings.Contains(line, text) }))
}

func TestAFleetThatCannotBeCountedStaysSmall(t *testing.T) {
	t.Parallel()
	dsn, _ := limited(t)
	cfg, err := lifeguard.ParseConfig(dsn + "&lifeguard_fleet_budget=8&pool_max_conns=6")
	must(t, err)
	book := &logbook{}
	cfg.Logger = slog.New(slog.NewTextHandler(book, nil))
	connector, err := lifeguard.NewConnector(cfg)
	must(t, err)
	w := &world{db: openConnector(t, connector)}
	w.exec(t, "create table pets (id int)", "insert into pets values (1)")
	eventually(t, "two looks have failed", func() bool { return connector.Stats().Fleet.Failures >= 2 })
	w.exec(t, "insert into pets values (2)")

	if fleet := connector.Stats().Fleet; fleet.Share != 2 || fleet.Looks != 0 {
		t.Errorf("the share is %d after %d looks, want 2 and none", fleet.Share, fleet.Looks)
	}
	if n := book.count("instances could not be counted"); n != 1 || book.count("permission denied for view pg_stat_activity") != 1 {
		t.Errorf("%d lines say so, want one with the reason: %q", n, book.lines)
	}
}

// pet is a row of a batch.
type pet struct {
	ID   int
	Name string
}

func pets(yield func(pet) bool) {
	for i := range 1000 {
		if !yield(pet{i, "Rex"}) {
			return
		}
	}
}

func TestABatchAsksNothingOfTheServerUntilACommitIsLost(t *testing.T) {
	t.Parallel()
	dsn, _ := limited(t)
	db := openDB(t, lifeguard.DriverName, dsn)
	w := &world{db: db}
	w.exec(t, "create table pets (id int primary key, name text)")
	stats, err := lifeguard.InsertMany(t.Context(), db, "pets", pets, lifeguard.BatchConfig{})
	if err != nil || stats.Written != 1000 {
		t.Errorf("%d rows were written, error %v", stats.Written, err)
	}
}

// deafConn loses whatever the server says after the end of a COPY, and so the answer to its
// COMMIT.
type deafConn struct {
	net.Conn

	deaf  atomic.Bool
	armed *atomic.Bool // until the first
}

func (c *deafConn) Write(b []byte) (int, error) {
	if bytes.HasSuffix(b, []byte{'c', 0, 0, 0, 4}) && c.armed.CompareAndSwap(true, false) {
		c.deaf.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestALostCommitIsUncertainAtOnceIfTheServerDoesNotTell(t *testing.T) {
	t.Parallel()
	dsn, _ := limited(t)
	cfg, err := lifeguard.ParseConfig(dsn)
	must(t, err)
	var armed atomic.Bool
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &deafConn{Conn: conn, armed: &armed}, err
	}
	connector, err := lifeguard.NewConnector(cfg)
	must(t, err)
	db := openConnector(t, connector)
	w := &world{db: db}
	w.exec(t, "create table pets (id int primary key, name text)")

	armed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = lifeguard.InsertMany(ctx, db, "pets", pets, lifeguard.BatchConfig{})
	if !errors.Is(err, lifeguard.ErrBatchUncertain) || !strings.Contains(err.Error(), "pg_xact_status") {
		t.Errorf("got %v, want ErrBatchUncertain, because of pg_xact_status", err)
	}
	if ctx.Err() != nil {
		t.Error("it was asked again and again, although the answer cannot change")
	}
}

func TestABatchSaysWhatTheServerDoesNotTell(t *testing.T) {
	t.Parallel()
	dsn, admin := limited(t)
	w := &world{db: openDB(t, lifeguard.DriverName, dsn)}
	w.exec(t, "create table pets (id int primary key, name text)")
	admin.exec(t, "revoke all on function pg_current_xact_id() from public")

	stats, err := lifeguard.InsertMany(t.Context(), w.db, "pets", pets, lifeguard.BatchConfig{})
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" || !strings.Contains(err.Error(), "pg_current_xact_id") || stats.Written != 0 {
		t.Errorf("%d rows were written, error %v; want none, because of pg_current_xact_id", stats.Written, err)
	}
	tx, err := w.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	n, err := lifeguard.CopyInto(t.Context(), tx, "pets", pets)
	if err != nil || n != 1000 {
		t.Errorf("CopyInto, which asks nothing, wrote %d rows: %v", n, err)
	}
}

func TestTheCacheKeepsNothingOfAServerThatDoesNotTell(t *testing.T) {
	t.Parallel()
	dsn, _ := limited(t)
	db := openDB(t, lifeguard.DriverName, dsn+"&lifeguard_cache=local")
	w := &world{db: db}
	w.exec(t, "create table pets (id int primary key, name text)", "insert into pets values (1, 'Rex')")
	connector, err := lifeguard.FromDB(db)
	must(t, err)
	for i := range 6 {
		var n int
		must(t, db.QueryRowContext(t.Context(), "select count(*) from pets").Scan(&n))
		if n != i+1 {
			t.Fatalf("%d rows, want %d", n, i+1)
		}
		w.exec(t, fmt.Sprintf("insert into pets values (%d, 'Rex')", i+2))
	}
	if st := connector.Stats().Cache; st.Hits+st.Misses > 0 || len(reasonsOf(st.Bypasses)) == 0 {
		t.Errorf("of a server that does not tell, something was kept: %d hits, %d misses; bypassed for %v", st.Hits, st.Misses, reasonsOf(st.Bypasses))
	}
	x, err := connector.ExplainCache(t.Context(), "select count(*) from pets")
	if x.Cacheable || err != nil && !strings.Contains(err.Error(), "pg_stat_activity") {
		t.Errorf("explained as %+v, error %v; want what is missing: pg_stat_activity", x, err)
	}
}

// lifeguard_cache=cdc needs a log that can be decoded, and a role that may read it. Without, no
// statement fails, nothing is kept, and why is told.
func TestWithoutLogicalReplicationNothingIsKeptAndNothingFails(t *testing.T) {
	t.Parallel()
	logical := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}).DSN("postgres")
	setUp := &world{db: openDB(t, "pgx", logical)}
	setUp.exec(t, "create role reader login", "grant create on schema public to reader")
	for reason, dsn := range map[string]string{
		"wal_level": pgtest.DSN(t),
		"forbidden": strings.Replace(logical, "postgres@", "reader@", 1),
	} {
		db := openDB(t, lifeguard.DriverName, dsn+"&lifeguard_cache=cdc")
		w := &world{db: db}
		w.exec(t, "create table pets (id int primary key, name text)")
		connector, err := lifeguard.FromDB(db)
		must(t, err)
		eventually(t, "cdc is down", func() bool { st := connector.Stats().Cache.CDC; return st.State == "down" && st.Reason != "" })
		for i := range 6 {
			w.exec(t, fmt.Sprintf("insert into pets values (%d, 'Rex')", i))
			var n int
			must(t, db.QueryRowContext(t.Context(), "select count(*) from pets").Scan(&n))
			if n != i+1 {
				t.Fatalf("%d rows, want %d", n, i+1)
			}
		}
		st := connector.Stats().Cache
		if st.CDC.Reason != reason || st.Hits > 0 || st.Bypasses["unconfirmed"] == 0 {
			t.Errorf("%s: the reason is %q; %d hits; bypassed for %v", reason, st.CDC.Reason, st.Hits, reasonsOf(st.Bypasses))
		}
	}
}
