package lifeguard_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// sharedLinger is rediscache.Linger in tests: nobody is served for so long after Redis has
// forgotten.
const sharedLinger = 600 * time.Millisecond

// sharedURL starts a Redis that is nobody else's.
func sharedURL(t testing.TB) string {
	t.Helper()
	return pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}}).URL()
}

// openShared opens a pool with lifeguard_redis.
func openShared(t testing.TB, dsn, redis string, settings ...string) (*sql.DB, *lifeguard.Connector) {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(withSettings(dsn, append([]string{"lifeguard_cache=local", "lifeguard_redis=" + redis}, settings...)...))
	if err != nil {
		t.Fatal(err)
	}
	lifeguard.ShareBriefly(&cfg, sharedLinger)
	c, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db, c
}

// sharedDB is a database of the test's own.
func sharedDB(t testing.TB, schema string) (dsn string, plain *sql.DB) {
	t.Helper()
	dsn = pgtest.DSN(t)
	plain, err := sql.Open("pgx", withSettings(dsn, "default_query_exec_mode=describe_exec"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	if _, err := plain.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return dsn, plain
}

// number reads one number.
func number(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// until reads until a counter of the cache has grown.
func until(t testing.TB, db *sql.DB, c *lifeguard.Connector, what string, counter func(*lifeguard.CacheStats) uint64, query string, args ...any) {
	t.Helper()
	before := counter(c.Stats().Cache)
	deadline := time.Now().Add(30 * time.Second)
	for counter(c.Stats().Cache) == before {
		number(t, db, query, args...)
		if time.Now().After(deadline) {
			st := c.Stats().Cache
			t.Fatalf("not within 30 s: %s; bypasses %v, Redis %+v", what, nonZero(st.Bypasses), st.Redis)
		}
	}
}

func nonZero(counts map[string]uint64) map[string]uint64 {
	some := make(map[string]uint64)
	for name, n := range counts {
		if n > 0 {
			some[name] = n
		}
	}
	return some
}

func hits(st *lifeguard.CacheStats) uint64      { return st.Hits }
func redisHits(st *lifeguard.CacheStats) uint64 { return st.Redis.Hits }
func stored(st *lifeguard.CacheStats) uint64    { return st.Redis.Fills }

const petSchema = "create table pet (id int primary key, n int not null); insert into pet select i, 0 from generate_series(1, 9) i"

func TestAResultInRedisOutlivesItsProcess(t *testing.T) {
	dsn, _ := sharedDB(t, petSchema)
	redis := sharedURL(t)
	const query = "select n from pet where id = $1"
	db, c := openShared(t, dsn, redis)
	until(t, db, c, "a fill of Redis", stored, query, 1)
	until(t, db, c, "a hit in memory", hits, query, 1)
	before := stored(c.Stats().Cache)
	if _, err := db.ExecContext(t.Context(), "update pet set n = 5 where id = 1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another fill", func() bool {
		if n := number(t, db, query, 1); n != 5 {
			t.Fatalf("%d after the commit", n)
		}
		return stored(c.Stats().Cache) > before
	})
	until(t, db, c, "another result", stored, query, 2)
	_ = db.Close()

	db, c = openShared(t, dsn, redis)
	until(t, db, c, "a fill of its own", stored, query, 2)
	until(t, db, c, "a hit in Redis", redisHits, query, 1)
	if n := number(t, db, query, 1); n != 5 {
		t.Errorf("%d from Redis", n)
	}
	until(t, db, c, "a hit in memory of what came from Redis", hits, query, 1)
	x, err := c.ExplainCache(t.Context(), query, 1)
	if err != nil || !x.Cacheable || x.Redis != "same" {
		t.Errorf("%v, error %v", x, err)
	}
	eventually(t, "it has joined", func() bool {
		st := c.Stats().Cache.Redis
		return st.State == "joined" && st.Underway == 0
	})
}

func TestTwoPoolsWithTwoRedisesKeepNothing(t *testing.T) {
	dsn, _ := sharedDB(t, petSchema)
	const query = "select n from pet where id = $1"
	first, of := openShared(t, dsn, sharedURL(t))
	until(t, first, of, "a hit", hits, query, 1)
	second, other := openShared(t, dsn, sharedURL(t))
	until(t, second, other, "a bypass", func(st *lifeguard.CacheStats) uint64 { return st.Bypasses["redis_differs"] }, query, 1)
	if _, err := second.ExecContext(t.Context(), "update pet set n = 3 where id = 1"); err != nil {
		t.Fatal(err)
	}
	if n := number(t, first, query, 1); n != 3 {
		t.Errorf("%d after the commit through the other", n)
	}
}

// What a killed process had begun must not be committed much later: nobody would announce it.
func TestTheServerLooksWhetherItsClientsLive(t *testing.T) {
	t.Parallel()
	dsn, _ := sharedDB(t, petSchema)
	redis := sharedURL(t)
	for settings, want := range map[string]string{"": "1s", "&client_connection_check_interval=7s": "7s"} {
		db, c := openShared(t, dsn+settings, redis, "pool_max_conns=1")
		until(t, db, c, "a hit", hits, "select n from pet where id = $1", 1)
		got := ""
		if err := db.QueryRowContext(t.Context(), "show client_connection_check_interval").Scan(&got); err != nil || got != want {
			t.Errorf("%q: it is %q, not %q; %v", settings, got, want, err)
		}
		_ = db.Close()
	}
}

func TestWritesOfEveryKindAreAnnounced(t *testing.T) {
	dsn, plain := sharedDB(t, petSchema)
	redis := sharedURL(t)
	db, c := openShared(t, dsn, redis)
	// It writes through the same site, and is no part of the promise by itself.
	bare := openDSN(t, dsn)
	const query = "select coalesce(sum(n), 0) from pet where id <= $1"
	for name, do := range map[string]func() error{
		"a statement": func() error { _, err := db.ExecContext(t.Context(), "update pet set n = n + 1"); return err },
		"a transaction": func() error {
			return lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "update pet set n = n + 1")
				return err
			})
		},
		"a pool without a cache": func() error { _, err := bare.ExecContext(t.Context(), "update pet set n = n + 1"); return err },
		"a batch": func() error {
			b, err := lifeguard.NewBatchInserter[petRow](db, "pet", lifeguard.BatchConfig{})
			if err != nil {
				return err
			}
			if err := b.Add(t.Context(), petRow{ID: 1000, N: 10}); err != nil {
				return err
			}
			_, err = b.Close(t.Context())
			return err
		},
		"what nobody understands": func() error {
			_, err := db.ExecContext(t.Context(), "do $$ begin update pet set n = n + 1; end $$")
			return err
		},
		"InvalidateCache": func() error { return c.InvalidateCache("pet") },
	} {
		until(t, db, c, "a hit before "+name, hits, query, 100_000)
		before := c.Stats().Cache.Redis.Announced
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		st := c.Stats().Cache.Redis
		if st.Announced == before {
			t.Errorf("%s: nobody was told", name)
		}
		if got, want := number(t, db, query, 100_000), number(t, plain, query, 100_000); got != want {
			t.Errorf("%s: %d, and PostgreSQL has %d", name, got, want)
		}
	}
}

type petRow struct {
	ID int `db:"id"`
	N  int `db:"n"`
}

func TestAClusterIsSharedThroughItsDSN(t *testing.T) {
	dsn, _ := sharedDB(t, petSchema)
	redis := "redis+cluster://" + strings.Join(pgtest.NewRedisCluster(t), ",")
	const query = "select n from pet where id = $1"
	db, c := openShared(t, dsn, redis)
	until(t, db, c, "a hit", hits, query, 1)
	until(t, db, c, "a fill", stored, query, 2)
	if _, err := db.ExecContext(t.Context(), "update pet set n = 4 where id = 1"); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, query, 1); n != 4 {
		t.Errorf("%d after the commit", n)
	}
	if st := c.Stats().Cache.Redis; st.Announced == 0 || st.State != "joined" {
		t.Errorf("%+v", st)
	}
}
