package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// modesFromMemory are the modes in which pgx asks for the parameters' types first.
var modesFromMemory = []string{"cache_statement", "cache_describe", "describe_exec"}

func TestTransparencyOfWhatComesFromMemory(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	t.Run("modes", func(t *testing.T) {
		for _, mode := range execModes {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				sameFromMemory(t, dsn, mode)
			})
		}
	})
}

func sameFromMemory(t *testing.T, dsn, mode string) {
	t.Helper()
	s, connector := keepingSides(t, dsn, "default_query_exec_mode="+mode)
	kept := slices.Contains(modesFromMemory, mode)
	for i, way := range waysToQuery {
		if !way.everywhere && mode != execModes[0] {
			continue
		}
		times := 2 // what one way has asked is in memory for the next
		if kept && i == 0 {
			times = 5 // the fourth is the first hit
		}
		again := func(t *testing.T, name string, do func(*sql.DB) string) {
			t.Helper()
			for i := 0; i < times && !t.Failed(); i++ {
				s.same(t, fmt.Sprintf("%s, read %d", name, i+1), do)
			}
		}
		t.Run(way.name, func(t *testing.T) {
			for _, expression := range transparencyTypes {
				query := "select " + expression + " as v, t from things where id < 3 order by id"
				again(t, query, func(db *sql.DB) string { return way.run(t.Context(), db, query) })
			}
			if !way.everywhere {
				return
			}
			for name, c := range argumentCases() {
				again(t, name, func(db *sql.DB) string { return way.run(t.Context(), db, c.query, c.args...) })
			}
		})
	}
	st := connector.Stats().Cache
	if kept != (st.Hits > 600) {
		t.Errorf("%s: %+v", mode, st)
	}
	t.Logf("%s: %d hits, %d entries", mode, st.Hits, st.Entries)
}

func TestDeadEntriesAreSwept(t *testing.T) {
	c := openCached(t, cacheSchema)
	for id := range 20 {
		c.warm(oneItem, id)
	}
	c.warm(allOthers)
	mustExec(t, c, "update item set name = name")
	eventually(t, "only the other table's result", func() bool { return c.stats().Entries == 1 })
	if !c.survived(allOthers) {
		t.Error("it is not that one")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const size = 256 << 10
	c := openCached(t, cacheSchema, "lifeguard_cache_size=256KiB")
	const query = "select repeat(name, 20), $1::int from item where id = 1"
	for i := range 1500 {
		c.read(query, i)
	}
	st := c.stats()
	if st.Bytes > size*11/10 || st.Bytes < size/4 || st.Evictions == 0 {
		t.Errorf("%d bytes, %d entries, %d evictions", st.Bytes, st.Entries, st.Evictions)
	}
}

func TestTTLServesStaleResultsForAsLongAsItSays(t *testing.T) {
	c := openCached(t, cacheSchema, "lifeguard_cache=ttl", "lifeguard_cache_ttl=1h")
	c.warm(oneItem, 1)
	mustExec(t, c, "update item set name = 'new' where id = 1")
	if got := c.read(oneItem, 1); got != "1|item 1|\n" {
		t.Errorf("%q", got)
	}
	short := openCachedOn(t, openDSN(t, withSettings(c.dsn, "lifeguard_cache=ttl", "lifeguard_cache_ttl=300ms")), c.plain, c.dsn)
	short.warm(oneItem, 2)
	mustExec(t, short, "update item set name = 'new' where id = 2")
	eventually(t, "the new row", func() bool { return short.read(oneItem, 2) == "2|new|\n" })
	eventually(t, "the old results to be swept", func() bool { return short.stats().Entries == 0 })
}

func TestTheTTLIsACapOnAnEntrysAge(t *testing.T) {
	c := openCached(t, cacheSchema, "lifeguard_cache_ttl=200ms")
	c.warm(oneItem, 1)
	mustExec(t, c.plain, "update item set name = 'past the cache' where id = 1")
	eventually(t, "the new row", func() bool { return c.read(oneItem, 1) == "1|past the cache|\n" })
}

func TestSettingsOfTheCacheAreChecked(t *testing.T) {
	for setting, want := range map[string]string{
		"lifeguard_cache=all":         "lifeguard_cache must be off, local, cdc or ttl",
		"lifeguard_cache_bound=1ms":   "lifeguard_cache_bound must be a duration of 10ms or more",
		"lifeguard_cdc_max_lag=1":     "lifeguard_cdc_max_lag must be bytes",
		"lifeguard_cdc_poll=1ms":      "lifeguard_cdc_poll must be a duration",
		"lifeguard_cache=ttl":         "lifeguard_cache=ttl needs lifeguard_cache_ttl",
		"lifeguard_cache_size=1":      "lifeguard_cache_size must be bytes",
		"lifeguard_cache_size=lots":   "lifeguard_cache_size must be bytes",
		"lifeguard_cache_max_rows=0":  "lifeguard_cache_max_rows must be",
		"lifeguard_cache_max_bytes=2": "lifeguard_cache_max_bytes must be",
		"lifeguard_cache_ttl=-1s":     "lifeguard_cache_ttl must be a duration",
		"lifeguard_redis=redis://x":   "lifeguard_redis needs lifeguard_cache=local or cdc, not off",
		"lifeguard_redis=redis://x&lifeguard_cache=ttl&lifeguard_cache_ttl=1s": "lifeguard_redis needs lifeguard_cache=local or cdc, not ttl",
		"lifeguard_cdc_slots=65":                                          "lifeguard_cdc_slots must be an integer from 1 to 64",
		"lifeguard_redis=http://sesame&lifeguard_cache=local":             "lifeguard_redis must be redis://[user:password@]host",
		"lifeguard_cache_tables=a,,b":                                     "lifeguard_cache_tables must be tables such as",
		"lifeguard_cache_tables=a%3Bb":                                    "lifeguard_cache_tables must be tables such as",
		"lifeguard_cache_exclude=a.b.c":                                   "lifeguard_cache_exclude must be tables such as",
		"lifeguard_cache_size=64KiB&lifeguard_cache_max_bytes=2MiB":       "lifeguard_cache_max_bytes must not exceed lifeguard_cache_size (64KiB)",
		"lifeguard_cache_tables=item,Other&lifeguard_cache_exclude=other": "table other is in lifeguard_cache_tables and in lifeguard_cache_exclude",
	} {
		_, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/shop?" + setting)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	cfg := parse(t, "postgres://u@127.0.0.1:1/shop?lifeguard_cache=local&lifeguard_cache_size=1GiB")
	if cfg.CacheSize != 1<<30 || cfg.CacheSize.String() != "1GiB" || cfg.Cache != lifeguard.CacheLocal {
		t.Errorf("%v, %v", cfg.Cache, cfg.CacheSize)
	}
	inner := stdlib.GetConnector(*cfg.ConnConfig)
	if _, err := lifeguard.WrapConnector(inner, lifeguard.Config{Cache: lifeguard.CacheLocal}); err == nil {
		t.Error("hooks of an inner connector are not known")
	}
}

func TestTheCacheIsMeasured(t *testing.T) {
	db, registry := openMeasured(t, withSettings(pgtest.DSN(t), "lifeguard_cache=local"), nil)
	c := openCachedOn(t, db, nil, "")
	mustExec(t, c, cacheSchema)
	eventually(t, "the end of the schema's fence", func() bool { return c.stats().Unsettled == 0 })
	c.warm(oneItem, 1)
	hits := float64(c.stats().Hits)
	mustExec(t, c, "update item set name = name")
	for name, want := range map[string]float64{
		"lifeguard_queries_total{op=select,outcome=ok,pool=shop,source=memory}": hits,
		"lifeguard_cache_hits_total{mode=local,pool=shop}":                      hits,
		"lifeguard_cache_misses_total{pool=shop}":                               1,
		"lifeguard_cache_invalidations_total{cause=write,pool=shop}":            1,
	} {
		series, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		if got := value(t, registry, series, labels); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	if value(t, registry, "lifeguard_cache_bypasses_total", "pool=shop,reason=new") == 0 {
		t.Error("no query bypassed the cache")
	}
	for _, q := range c.names.TopQueries(0) {
		if q.Summary == "SELECT item" {
			if float64(q.Hits) != hits {
				t.Errorf("%d hits among the top queries, not %v", q.Hits, hits)
			}
			return
		}
	}
	t.Error("the query is not among the top ones")
}

func TestCloseEndsWhatTheCacheHasStarted(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(allItems)
	release := c.holdItem(1)
	defer release()
	ctx, stop := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(ctx, "update item set name = 'x' where id = 1")
		failed <- err
	}()
	eventually(t, "the write to wait", func() bool { return c.blocked() == 1 })
	stop()
	if err := <-failed; err == nil {
		t.Error("the write did not fail")
	}
	mustExec(t, c, "update other set name = name") // arms the sweep
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close does not return")
	}
}
