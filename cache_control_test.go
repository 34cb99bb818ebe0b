package lifeguard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// readWith reads under an option.
func (c *cachedDB) readWith(o lifeguard.CacheOption, query string, args ...any) string {
	c.t.Helper()
	got, err := readAll(lifeguard.WithCache(c.t.Context(), o), c.DB, query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func TestNoCacheIsNeitherServedNorStored(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	mustExec(t, c.plain, "update item set name = 'by another program'")
	before := c.stats()
	if got := c.readWith(lifeguard.NoCache, oneItem, 1); got != "1|by another program|\n" {
		t.Errorf("%q", got)
	}
	if got := c.read(oneItem, 1); got != "1|item 1|\n" {
		t.Errorf("what was read without the cache was stored: %q", got)
	}
	for range 3 {
		c.readWith(lifeguard.NoCache, oneItem, 2)
	}
	if after := c.stats(); after.Entries != before.Entries || after.Misses != before.Misses || after.Bypasses["nocache"] != 4 {
		t.Errorf("%+v", after)
	}
}

func TestMaxAgeRefreshesWhatIsOlder(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	mustExec(t, c.plain, "update item set name = 'by another program'")
	if got := c.readWith(lifeguard.MaxAge(time.Hour), oneItem, 1); got != "1|item 1|\n" {
		t.Errorf("%q", got)
	}
	if got := c.readWith(lifeguard.MaxAge(0), oneItem, 1); got != "1|by another program|\n" {
		t.Errorf("%q", got)
	}
	if got := c.read(oneItem, 1); got != "1|by another program|\n" {
		t.Errorf("what was refreshed was not stored: %q", got)
	}
	mustExec(t, c.plain, "update item set name = 'again'")
	eventually(t, "an entry that is too old", func() bool {
		return c.readWith(lifeguard.MaxAge(50*time.Millisecond), oneItem, 1) == "1|again|\n"
	})
}

func TestAgeCountsFromWhenTheQueryWasSent(t *testing.T) {
	c := openCached(t, cacheSchema)
	query := lockedRead(t, c)
	release := c.lockItems()
	led := make(chan string, 1)
	go func() {
		got, err := readAll(t.Context(), c.DB, query)
		led <- fmt.Sprint(got, err)
	}()
	eventually(t, "a slow query", func() bool { return c.blocked() == 1 })
	<-time.After(100 * time.Millisecond) // its age, which nothing shows
	fresh := make(chan string, 1)
	go func() {
		got, err := readAll(lifeguard.WithCache(t.Context(), lifeguard.MaxAge(100*time.Millisecond)), c.DB, query)
		fresh <- fmt.Sprint(got, err)
	}()
	eventually(t, "a query of its own, for the first was sent too long ago", func() bool { return c.blocked() == 2 })
	release()
	for _, got := range []string{<-led, <-fresh} {
		if got != "50|\n<nil>" {
			t.Error(got)
		}
	}
}

func TestTheStrictestOptionCounts(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	ctx := lifeguard.WithCache(t.Context(), lifeguard.MaxAge(time.Hour), lifeguard.NoCache)
	ctx = lifeguard.WithCache(ctx, lifeguard.MaxAge(time.Hour))
	before := c.stats().Bypasses["nocache"]
	if _, err := readAll(ctx, c.DB, oneItem, 1); err != nil {
		t.Fatal(err)
	}
	if c.stats().Bypasses["nocache"] != before+1 {
		t.Error("served from memory")
	}
}

func TestHintsAreReadFromCommentsAlone(t *testing.T) {
	c := openCached(t, cacheSchema)
	for hint, hits := range map[string]bool{
		"/* lifeguard: nocache */ select name from item where id = 1":              false,
		"select name from item where id = 1 -- lifeguard: nocache":                 false,
		"select name from item where id = 1 /*lifeguard:maxage=0s*/":               false,
		"select name from item where id = 1 /* lifeguard: maxage=1h, faster */":    true,
		"select name from item where id = 1 /* lifeguard: maxage=1h nocache */":    false,
		"select name from item where id = 1 /* see lifeguard: nocache */":          true,
		"select name from item where name <> '/* lifeguard: nocache */' limit 1":   true,
		`select name as "/* lifeguard: nocache */" from item where id = 1`:         true,
		"select name from item where name <> $$ -- lifeguard: nocache\n$$ limit 2": true,
	} {
		for range 6 {
			c.same("with a hint", hint)
		}
		if got := c.isWarm(hint); got != hits {
			t.Errorf("%s: from memory: %v", hint, got)
		}
	}
}

const invalidateSchema = cacheSchema + `
	create schema shop;
	create table shop."Odd, name" (id int, name text);
	insert into shop."Odd, name" values (1, 'odd');
	create view named as select name from item;
	create table parted (id int, name text) partition by list (id);
	create table parted_1 partition of parted for values in (1);
	create table parted_2 partition of parted default;
	insert into parted values (1, 'one'), (2, 'two');`

func TestInvalidateCache(t *testing.T) {
	c := openCached(t, invalidateSchema)
	queries := map[string]string{
		"item":      "select name from item where id = 1",
		"other":     "select name from other where id = 1",
		"odd":       `select name from shop."Odd, name"`,
		"named":     "select name from named limit 1",
		"partition": "select name from parted_2",
	}
	for call, gone := range map[string][]string{
		"item":             {"item", "named"},
		"ITEM":             {"item", "named"},
		"public.item":      {"item", "named"},
		`"public"."item"`:  {"item", "named"},
		`shop."Odd, name"`: {"odd"},
		"named":            {"named"},
		"parted":           {"partition"},
		"parted_1":         {"partition"},
		"item other":       {"item", "named", "other"},
		"":                 {"item", "named", "other", "odd", "partition"},
	} {
		for _, query := range queries {
			c.warm(query)
		}
		var tables []string
		if call == "item other" {
			tables = strings.Fields(call)
		} else if call != "" {
			tables = []string{call}
		}
		if err := c.names.InvalidateCache(tables...); err != nil {
			t.Fatal(err)
		}
		for name, query := range queries {
			want := true
			for _, g := range gone {
				want = want && g != name
			}
			if survived := c.survived(query); survived != want {
				t.Errorf("InvalidateCache(%q): %s is still there: %v", tables, name, survived)
			}
		}
	}
	if n := c.stats().Invalidations["manual"]; n != 10 {
		t.Errorf("counted %d times", n)
	}
}

func TestInvalidateCacheNamesWhatItDoesNotKnow(t *testing.T) {
	c := openCached(t, invalidateSchema)
	c.warm(oneItem, 1)
	for name, want := range map[string]string{
		"nothing":       "there is no table nothing",
		`"ITEM"`:        `there is no table "ITEM"`,
		"item; drop":    `"item; drop" is no name of a table`,
		"a.b.c":         `"a.b.c" is no name of a table`,
		"":              `"" is no name of a table`,
		`"half`:         `is no name of a table`,
		"no_schema.any": "there is no table no_schema.any",
	} {
		if err := c.names.InvalidateCache("item", name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !c.survived(oneItem, 1) {
		t.Error("an error has emptied the cache")
	}
}

func TestInvalidateCacheReachesAllConnectorsAndTheTTLMode(t *testing.T) {
	c := openCached(t, cacheSchema)
	other := openCachedOn(t, openDSN(t, withSettings(c.dsn, "lifeguard_cache=local")), c.plain, c.dsn)
	aged := openCachedOn(t, openDSN(t, withSettings(c.dsn, "lifeguard_cache=ttl", "lifeguard_cache_ttl=1h")), c.plain, c.dsn)
	for round, tables := range [][]string{{"item"}, nil} {
		other.warm(oneItem, 1)
		aged.warm(oneItem, 1)
		mustExec(t, c.plain, fmt.Sprintf("update item set name = 'round %d'", round))
		if err := c.names.InvalidateCache(tables...); err != nil {
			t.Fatal(err)
		}
		other.same("the other", oneItem, 1)
		aged.same("the ageing one", oneItem, 1)
	}
	off := openCachedOn(t, openDSN(t, c.dsn), c.plain, c.dsn)
	if err := off.names.InvalidateCache("item"); err != nil {
		t.Error(err)
	}
}

func TestInvalidateCacheFromManyGoroutines(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=4")
	c.warm(oneItem, 1)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 20 {
				var err error
				if i%2 == 0 {
					err = c.names.InvalidateCache("item", "other")
				} else if _, err = readAll(context.Background(), c.DB, oneItem, 1); err == nil && i == 7 {
					err = c.names.InvalidateCache()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	mustExec(t, c.plain, "update item set name = 'x'")
	if err := c.names.InvalidateCache("item"); err != nil {
		t.Fatal(err)
	}
	c.same("afterwards", oneItem, 1)
}

func TestListsOfTablesDecideWhatIsKept(t *testing.T) {
	base := openCached(t, invalidateSchema)
	for setting, kept := range map[string]map[string]bool{
		"lifeguard_cache_tables=item,parted_1": {
			"select name from item": true, "select name from named": true, "select name from parted": true,
			"select name from other": false, "select item.name from item, other": false, "select 1": true,
		},
		"lifeguard_cache_exclude=OTHER,named": {
			"select name from item": true, "select name from named": false, "select name from parted": true,
			"select name from other": false, "select item.name from item, other": false,
		},
		`lifeguard_cache_exclude=shop.%22Odd,%20name%22,nothing`: {
			"select name from item": true, `select name from shop."Odd, name"`: false,
		},
	} {
		c := openCachedOn(t, openDSN(t, withSettings(base.dsn, "lifeguard_cache=local", setting)), base.plain, base.dsn)
		reason := "unlisted_table"
		if strings.Contains(setting, "exclude") {
			reason = "excluded_table"
		}
		for query, want := range kept {
			for range 5 {
				c.read(query + " limit 1")
			}
			before := c.stats().Bypasses[reason]
			if got := c.isWarm(query + " limit 1"); got != want {
				t.Errorf("%s: %s from memory: %v", setting, query, got)
			}
			if !want && c.stats().Bypasses[reason] != before+1 {
				t.Errorf("%s: %s: %v", setting, query, c.stats().Bypasses)
			}
		}
	}
}
