package lifeguard_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestTheAgeOfWhatIsServedIsMeasured(t *testing.T) {
	for _, mode := range []string{"local", "ttl"} {
		db, registry := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) {
			c.Cache, c.CacheTTL, c.CacheSize = lifeguard.CacheMode(mode), time.Hour, 2<<20 // whatever the environment says
		})
		c := openCachedOn(t, db, nil, "")
		mustExec(t, c, cacheSchema)
		eventually(t, "the end of the schema's fence", func() bool { return c.stats().Unsettled == 0 })
		c.warm(oneItem, 1)
		for name, want := range map[string]float64{"lifeguard_cache_ttl_seconds": 3600, "lifeguard_cache_max_bytes": 2 << 20, "lifeguard_cache_entries": 1} {
			if got := value(t, registry, name, "pool=shop"); got != want {
				t.Errorf("%s: %s is %v, not %v", mode, name, got, want)
			}
		}
		if n := value(t, registry, "lifeguard_cache_age_seconds", "mode="+mode+",pool=shop"); n != 1 {
			t.Errorf("%s: the ages of %v hits were looked at, not of the first", mode, n)
		}
		st := c.stats()
		if st.Ages.Count != 1 || st.Ages.Sum <= 0 || st.Ages.Sum > time.Hour || st.TTL != time.Hour || st.MaxBytes != 2<<20 {
			t.Errorf("%s: %+v", mode, st)
		}
		problems, err := testutil.GatherAndLint(registry)
		if err != nil || len(problems) > 0 {
			t.Errorf("promlint: %v, %v", problems, err)
		}
	}
}

func TestASlowStatementSaysWhatTheCacheSaid(t *testing.T) {
	db, book := openLogged(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.Cache, c.Slow = lifeguard.CacheLocal, time.Nanosecond })
	c := openCachedOn(t, db, nil, "")
	mustExec(t, c, cacheSchema)
	eventually(t, "the end of the schema's fence", func() bool { return c.stats().Unsettled == 0 })
	c.warm(oneItem, 1)
	var saw []any
	for _, line := range book.linesWith(t, "lifeguard: slow statement", "summary", "SELECT item") {
		if line["cache_reason"] == "fenced" { // the schema's log is not written yet
			continue
		}
		saw = append(saw, line["cache"], line["cache_reason"])
	}
	want := []any{"bypass", "new", "bypass", "new", "miss", nil} // and nothing about the hit
	if len(saw) != len(want) {
		t.Fatalf("%v, not %v", saw, want)
	}
	for i := range want {
		if saw[i] != want[i] {
			t.Errorf("%v, not %v", saw, want)
		}
	}
	for _, line := range book.lines(t, "lifeguard: slow statement") {
		if _, said := line["cache"]; said && line["summary"] != "SELECT item" {
			t.Errorf("the cache was not asked about %v", line)
		}
	}
}

func TestTopQueriesTellWhyTheCacheDoesNotAnswer(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	const unsafe = "select random(), count(*) from other"
	for range 3 {
		c.read(unsafe)
	}
	found := map[string]lifeguard.QueryStats{}
	for _, q := range c.names.TopQueries(0) {
		found[q.Summary] = q
	}
	if q := found["SELECT item"]; q.Calls != 3 || q.Misses != 1 || q.Hits != 1 || q.Bypass != "new" {
		t.Errorf("%+v", q)
	}
	if q := found["SELECT other"]; q.Calls != 3 || q.Misses != 0 || q.Hits != 0 || q.Bypass != "function" {
		t.Errorf("%+v", q)
	}
	mustExec(t, c, "update item set name = name where id = 2")
	for _, q := range c.names.TopQueries(0) {
		if q.Summary == "UPDATE item" && q.Bypass != "" {
			t.Errorf("a write was taken for a query: %+v", q)
		}
	}
}

func TestPoolsOfOneNameAreToldApartWhetherTheyHaveACacheOrNot(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, mode := range []lifeguard.CacheMode{lifeguard.CacheOff, lifeguard.CacheLocal, lifeguard.CacheCDC} {
		db, _ := openMeasured(t, "postgres://u@127.0.0.1:1/shop", func(c *lifeguard.Config) { c.Cache, c.Registerer = mode, registry })
		connector, err := lifeguard.FromDB(db)
		if err != nil {
			t.Fatal(err)
		}
		_ = connector.Stats() // what registers the metrics
	}
	for _, pool := range []string{"shop", "shop-2", "shop-3"} {
		if value(t, registry, "lifeguard_limit", "pool="+pool) == 0 {
			t.Errorf("%s is not registered", pool)
		}
	}
	if value(t, registry, "lifeguard_cache_max_bytes", "pool=shop-2") == 0 {
		t.Error("the second pool's cache is not measured")
	}
}
