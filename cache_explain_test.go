package lifeguard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
)

func TestExplainCacheTellsWhatAStatementTouches(t *testing.T) {
	c := openCached(t, cacheSchema+`create function twice(int) returns int immutable language sql as 'select $1 * 2';
		create function rename() returns void language sql as $$ update item set name = 'renamed' $$;
		create view named as select name from item;
		create table parted (id int) partition by list (id);
		create table parted_1 partition of parted default;`)
	for query, want := range map[string]string{
		"select name from item where id = $1":     "reads item",
		"select * from item, other":               "reads item other",
		"select upper(name), twice(id) from item": "reads item; calls public.twice upper",
		"select * from named":                     "reads item named",
		"select * from parted_1":                  "reads parted",
		"select name, now() from item":            "function now; reads item; calls now",
		"select 1 from item for update":           "locks_rows; reads item",
		"update item set name = 'x'":              "not_a_read; writes item",
		"do $$ begin end $$":                      "not_a_read",
		"select * from pg_class":                  "catalog_relation pg_catalog.pg_class; reads pg_class",
		"with d as (delete from item) select 1":   "modifies; writes item",
		"select rename()":                         "function rename; everything function_body; calls public.rename",
	} {
		x, err := c.names.ExplainCache(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		if got := summary(x); got != want {
			t.Errorf("%s: %q, not %q", query, got, want)
		}
	}
	c.same("nothing was run", allItems)
	var name string
	if err := c.plain.QueryRow("select name from item where id = 1").Scan(&name); err != nil || name != "item 1" {
		t.Errorf("%q, %v", name, err)
	}
	if n := c.names.Stats().Limiter.InFlight; n != 0 {
		t.Errorf("%d slots are in use", n)
	}
}

// summary is what is not empty.
func summary(x lifeguard.CacheExplanation) string {
	var parts []string
	add := func(name string, words ...string) {
		if text := strings.TrimSpace(strings.Join(words, " ")); text != "" {
			parts = append(parts, strings.TrimSpace(name+" "+text))
		}
	}
	add("", x.Reason, x.Culprit)
	var reads []string
	for _, r := range x.Reads {
		reads = append(reads, r.Name)
	}
	add("reads", reads...)
	add("writes", x.Writes...)
	if x.Everything {
		add("everything", x.Cause)
	}
	add("calls", x.Functions...)
	return strings.Join(parts, "; ")
}

func (c *cachedDB) explain(query string, args ...any) lifeguard.CacheExplanation {
	c.t.Helper()
	x, err := c.names.ExplainCache(c.t.Context(), query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return x
}

func TestExplainCacheTellsWhatIsInMemory(t *testing.T) {
	c := openCached(t, cacheSchema)
	if x := c.explain(oneItem, 1); !x.Cacheable || x.Entry != nil || x.Entries != 0 {
		t.Errorf("%+v", x)
	}
	c.warm(oneItem, 1)
	c.warm(oneItem, 2)
	x := c.explain(oneItem, 1)
	if x.Entries != 2 || x.Bytes == 0 || x.Hits < 2 || x.Entry == nil || x.Entry.Rows != 1 || x.Entry.Bytes == 0 {
		t.Errorf("%+v, %+v", x, x.Entry)
	}
	<-time.After(20 * time.Millisecond) // an age
	if x = c.explain(oneItem, 1); x.Entry == nil || x.Entry.Age < 20*time.Millisecond {
		t.Errorf("%+v", x.Entry)
	}
	if x := c.explain(oneItem, int64(1)); x.Entry != nil {
		t.Error("an int64 is another argument than an int")
	}
	named := c.explain("select id, name from item where id = @id", pgx.NamedArgs{"id": 1})
	if named.Entry == nil || !named.Cacheable {
		t.Errorf("named arguments: %+v", named)
	}
	if x := c.explain(oneItem); !x.Cacheable || x.Entry != nil {
		t.Errorf("without arguments: %+v", x)
	}
	version := x.Reads[0].Version
	mustExec(t, c, "update item set name = name")
	if x = c.explain(oneItem, 1); x.Entry != nil || x.Reads[0].Version <= version {
		t.Errorf("%+v", x)
	}
	if x.Settings["user"] == "" || x.Settings["database"] == "" || !strings.Contains(x.Settings["schemas"], "public") {
		t.Errorf("%v", x.Settings)
	}
}

func TestExplainCacheTellsOfHintsAndOptions(t *testing.T) {
	c := openCached(t, cacheSchema)
	x := c.explain("select 1 /* lifeguard: maxage=5s, faster */")
	if !x.Cacheable || x.Option != "maxage=5s" || fmt.Sprint(x.UnknownHints) != "[faster]" {
		t.Errorf("%+v", x)
	}
	ctx := lifeguard.WithCache(t.Context(), lifeguard.MaxAge(time.Second))
	if x, err := c.names.ExplainCache(ctx, "select 1 /* lifeguard: maxage=5s */"); err != nil || x.Option != "maxage=1s" {
		t.Errorf("%+v, %v", x, err)
	}
	text, err := json.Marshal(x)
	if err != nil || !strings.Contains(string(text), `"unknown_hints":["faster"]`) || !strings.Contains(string(text), `"entry":null`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestExplainCacheTellsOfAFence(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(allItems)
	mustExec(t, c, "update item set name = 'known' where id = 1")
	release := c.holdItem(1)
	done := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(context.Background(), "update item set name = 'known' where id = 1")
		done <- err
	}()
	eventually(t, "the write to wait", func() bool { return c.blocked() == 1 })
	x := c.explain(allItems)
	if x.Cacheable || x.Reason != "fenced" || !x.Reads[0].Fenced || !strings.Contains(x.String(), "being written") {
		t.Errorf("%s", x)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if x := c.explain(allItems); !x.Cacheable {
		t.Errorf("%s", x)
	}
}

func TestTheTTLModeIsExplainedAsStale(t *testing.T) {
	c := openCached(t, cacheSchema, "lifeguard_cache=ttl", "lifeguard_cache_ttl=5s")
	if text := c.explain(allItems).String(); !strings.Contains(text, "may be stale, up to 5s old") {
		t.Error(text)
	}
}

func TestExplainCacheWithoutACacheSaysSo(t *testing.T) {
	c := openCachedOn(t, open(t), nil, "")
	if _, err := c.names.ExplainCache(t.Context(), "select 1"); err == nil || !strings.Contains(err.Error(), "lifeguard_cache is off") {
		t.Error(err)
	}
}

func TestARoleThatMayNotAskWhereItIs(t *testing.T) {
	c := openCached(t, cacheSchema+`
		revoke execute on function pg_postmaster_start_time() from public;
		drop role if exists lifeguard_barred; create role lifeguard_barred login;
		grant select, update on item to lifeguard_barred`)
	t.Cleanup(func() {
		if _, err := c.plain.Exec("drop owned by lifeguard_barred; drop role lifeguard_barred"); err != nil {
			t.Error(err)
		}
	})
	c.warm(oneItem, 1)
	u, err := url.Parse(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("lifeguard_barred")
	barred := openDSN(t, u.String())
	mustExec(t, barred, "update item set name = 'by who may not ask' where id = 1")
	for range 5 {
		c.same("while it is connected", oneItem, 1)
		mustExec(t, barred, "update item set name = name || '!' where id = 1")
	}
	c.same("while it is connected", oneItem, 1)
	own := openCachedOn(t, openDSN(t, withSettings(u.String(), "lifeguard_cache=local")), c.plain, c.dsn)
	for range 5 {
		own.same("its own cache", oneItem, 1)
	}
	if st := own.stats(); st.Hits > 0 || st.Entries > 0 {
		t.Errorf("%+v", st)
	}
	for _, db := range []interface{ Close() error }{barred, own} {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c.warm(oneItem, 1)
}
