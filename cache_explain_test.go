package lifeguard_test

import (
	"fmt"
	"testing"
)

func TestExplainCacheTellsWhyAResultIsKeptOrNot(t *testing.T) {
	c := openCached(t, cacheSchema+"create unlogged table fast (id int);")
	for query, want := range map[string]string{
		"select name from item where id = $1":        "{true   [item] [] false }",
		"select * from item, other":                  "{true   [item other] [] false }",
		"select now()":                               "{false function now [] [] false }",
		"select current_date":                        "{false session_value  [] [] false }",
		"select 1 from item for update":              "{false locks_rows  [item] [] false }",
		"update item set name = 'x'":                 "{false not_a_read  [] [item] false }",
		"select * from fast":                         "{false unlogged  [fast] [] false }",
		"drop table item":                            "{false not_a_read  [] [] true opaque}",
		"select * from pg_class":                     "{false catalog_relation pg_catalog.pg_class [pg_class] [] false }",
		"select nothing from anywhere":               "{false refused  [] [] true refused}",
		"select 'today'::date":                       "{false clock_literal  [] [] false }",
		"select 1; select 2":                         "{false several  [] [] true opaque}",
		"with d as (delete from item) select 1":      "{false modifies  [] [item] false }",
		"select random()":                            "{false function random [] [] false }",
		"select id from item tablesample system (1)": "{false tablesample  [item] [] false }",
	} {
		got, err := c.names.ExplainCache(t.Context(), query)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v; not %s", query, got, err, want)
		}
	}
	if n := c.names.Stats().Limiter.InFlight; n != 0 {
		t.Errorf("%d slots are in use", n)
	}
}
