package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const cacheSchema = `
	create table item (id int primary key, name text not null);
	create table other (id int primary key, name text not null);
	insert into item select i, 'item ' || i from generate_series(1, 50) i;
	insert into other select i, 'other ' || i from generate_series(1, 50) i;`

// cachedDB is a database with a cache, and a way to look at it past the cache.
type cachedDB struct {
	*sql.DB
	t     testing.TB
	dsn   string
	plain *sql.DB
	names *lifeguard.Connector
}

func openCached(t testing.TB, schema string, settings ...string) *cachedDB {
	t.Helper()
	dsn := pgtest.DSN(t)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	if _, err := plain.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return openCachedOn(t, openDSN(t, withSettings(dsn, append([]string{"lifeguard_cache=local"}, settings...)...)), plain, dsn)
}

func openCachedOn(t testing.TB, db, plain *sql.DB, dsn string) *cachedDB {
	t.Helper()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	return &cachedDB{DB: db, t: t, dsn: dsn, plain: plain, names: connector}
}

func (c *cachedDB) stats() *lifeguard.CacheStats { return c.names.Stats().Cache }

// readAll returns the rows as one text.
func readAll(ctx context.Context, q rowQuerier, query string, args ...any) (string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
		for _, v := range values {
			fmt.Fprintf(&b, "%v|", *v.(*any)) //nolint:errcheck,forcetypeassert // made above
		}
		b.WriteByte('\n')
	}
	return b.String(), rows.Err()
}

func (c *cachedDB) read(query string, args ...any) string {
	c.t.Helper()
	got, err := readAll(c.t.Context(), c.DB, query, args...)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	return got
}

// same compares with what the server says now.
func (c *cachedDB) same(when, query string, args ...any) {
	c.t.Helper()
	want, err := readAll(c.t.Context(), c.plain, query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	if got := c.read(query, args...); got != want {
		c.t.Errorf("%s: %s\ngot  %q\nwant %q", when, query, got, want)
	}
}

// warm reads until memory answers.
func (c *cachedDB) warm(query string, args ...any) {
	c.t.Helper()
	eventually(c.t, "a hit of "+query, func() bool {
		before := c.stats().Hits
		c.read(query, args...)
		return c.stats().Hits > before
	})
}

// survived reports whether the result is still in memory, though the session may have to
// be read again first.
func (c *cachedDB) survived(query string, args ...any) bool {
	c.t.Helper()
	before := c.stats().Misses
	c.warm(query, args...)
	return c.stats().Misses == before
}

// isWarm reports whether memory answers.
func (c *cachedDB) isWarm(query string, args ...any) bool {
	c.t.Helper()
	before := c.stats().Hits
	c.read(query, args...)
	return c.stats().Hits > before
}

const (
	oneItem  = "select id, name from item where id = $1"
	allItems = "select id, name from item order by id"
)

func TestAQueryIsAnsweredFromMemoryAtTheFourthTime(t *testing.T) {
	c := openCached(t, cacheSchema)
	for i := range 4 {
		if got := c.read(oneItem, 7); got != "7|item 7|\n" {
			t.Fatalf("read %d: %q", i, got)
		}
	}
	if st := c.stats(); st.Hits != 1 || st.Misses != 1 || st.Entries != 1 || st.Bytes == 0 {
		t.Errorf("%+v", st)
	}
	if c.isWarm(oneItem, 8) {
		t.Error("another argument, the same answer")
	}
}

func TestAHitNeedsNoConnection(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=2")
	c.warm(oneItem, 7)
	for range 2 {
		conn, err := c.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), "begin"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if got, err := readAll(ctx, c.DB, oneItem, 7); err != nil || got != "7|item 7|\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wait.Wait()
	if n := c.names.Stats().Limiter.InFlight; n != 2 {
		t.Errorf("%d slots are in use", n)
	}
}

func TestConcurrentMissesShareOneQuery(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=20")
	const slow = "select count(*), max(a.id + b.id + c.id) from item a, item b, item c, generate_series(1, 10)"
	c.warm(slow)
	mustExec(t, c, "update item set name = name")
	before := c.stats()
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() { c.read(slow) })
	}
	wait.Wait()
	after := c.stats()
	if n := after.Misses - before.Misses; n > 4 {
		t.Errorf("%d of 16 readers asked", n)
	}
	if after.Shared == before.Shared && after.Hits == before.Hits {
		t.Errorf("nobody shared: %+v", after)
	}
}

func TestALeadersQueryOutlivesHimForThoseWhoWait(t *testing.T) {
	c := openCached(t, cacheSchema)
	query := lockedRead(t, c)
	release := c.lockItems()
	ctx, leave := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() { _, err := readAll(ctx, c.DB, query); led <- err }()
	eventually(t, "the leader's query", func() bool { return c.blocked() == 1 })
	followed := make(chan string, 1)
	go func() {
		got, err := readAll(t.Context(), c.DB, query)
		followed <- fmt.Sprint(got, err)
	}()
	eventually(t, "the follower", func() bool { return c.InUse() == 2 })
	<-time.After(20 * time.Millisecond) // nothing to poll: the follower waits in memory
	leave()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("the leader got %v", err)
	}
	release()
	if got := <-followed; got != "50|\n<nil>" {
		t.Errorf("the follower got %q", got)
	}
	if st := c.stats(); st.Shared == 0 {
		t.Errorf("%+v", st)
	}
}

func TestAQueryEndsWhenNobodyWaitsForIt(t *testing.T) {
	c := openCached(t, cacheSchema)
	query := lockedRead(t, c)
	release := c.lockItems()
	defer release()
	ctx, leave := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() { _, err := readAll(ctx, c.DB, query); led <- err }()
	eventually(t, "the leader's query", func() bool { return c.blocked() == 1 })
	leave()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("the leader got %v", err)
	}
	eventually(t, "the end of the query", func() bool { return c.blocked() == 0 && c.names.Stats().Limiter.InFlight == 0 })
}

func (c *cachedDB) InUse() int { return c.DB.Stats().InUse }

// lockedRead warms a query and empties the cache.
func lockedRead(t *testing.T, c *cachedDB) string {
	t.Helper()
	const query = "select count(*) from item"
	c.warm(query)
	mustExec(t, c, "update item set name = name")
	return query
}

// lockItems keeps readers of item waiting on the server.
func (c *cachedDB) lockItems() (release func()) {
	c.t.Helper()
	tx, err := c.plain.BeginTx(context.Background(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := tx.Exec("lock table item in access exclusive mode"); err != nil {
		c.t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// blocked counts the statements that wait for a lock.
func (c *cachedDB) blocked() (n int) {
	c.t.Helper()
	const query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
	if err := c.plain.QueryRowContext(c.t.Context(), query).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func TestFollowersOfAFailedFlightLookAgain(t *testing.T) {
	c := openCached(t, cacheSchema)
	query := lockedRead(t, c)
	release := c.lockItems()
	outcomes := make(chan error, 2)
	for range 2 {
		go func() { _, err := readAll(t.Context(), c.DB, query); outcomes <- err }()
	}
	eventually(t, "a query and who waits for it", func() bool { return c.blocked() == 1 && c.InUse() == 2 })
	<-time.After(20 * time.Millisecond) // as above
	if _, err := c.plain.Exec("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"); err != nil {
		t.Fatal(err)
	}
	if err := <-outcomes; err == nil {
		t.Error("the leader got no error")
	}
	eventually(t, "the follower's own query", func() bool { return c.blocked() == 1 })
	release()
	if err := <-outcomes; err != nil {
		t.Errorf("the follower got %v", err)
	}
}

func TestAResultOverTheLimitsIsStreamedAndNotKept(t *testing.T) {
	for _, setting := range []string{"lifeguard_cache_max_rows=10", "lifeguard_cache_max_bytes=1KiB"} {
		t.Run(setting, func(t *testing.T) {
			c := openCached(t, cacheSchema, setting)
			for range 6 {
				c.same("streamed", "select id, name || repeat('x', 30) from item order by id")
			}
			st := c.stats()
			if st.Entries != 0 || st.Hits != 0 || st.Misses != 1 || st.Bypasses["too_large"] == 0 {
				t.Errorf("%+v", st)
			}
			if n := c.names.Stats().Limiter.InFlight; n != 0 {
				t.Errorf("%d slots are in use", n)
			}
		})
	}
}

func TestAnErrorBetweenTwoRowsIsNeitherKeptNorShared(t *testing.T) {
	c := openCached(t, cacheSchema)
	const query = "select 10 / (id - $1) from item order by id"
	for range 5 {
		_, want := readAll(t.Context(), c.plain, query, 5)
		got, err := readAll(t.Context(), c.DB, query, 5)
		if err == nil || err.Error() != want.Error() {
			t.Fatalf("%q, %v; not %v", got, err, want)
		}
	}
	if st := c.stats(); st.Entries != 0 || st.Hits != 0 || st.Misses == 0 {
		t.Errorf("%+v", st)
	}
}

func TestTheLeaseEndsWhenTheRowsAreIn(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=1")
	c.warm(allItems)
	mustExec(t, c, "update item set name = name || '!'")
	rows, err := c.QueryContext(t.Context(), allItems) // a miss
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.ExecContext(ctx, "update item set name = 'x' where id = 1"); err != nil {
		t.Errorf("the only connection is not free: %v", err)
	}
}
