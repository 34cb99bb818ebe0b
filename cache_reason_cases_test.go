package lifeguard_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard"
)

const reasonSchema = cacheSchema + `
	create unlogged table fast (id int);
	create table secured (id int);
	alter table secured enable row level security;
	create sequence counter;
	create foreign data wrapper nothing;
	create server nowhere foreign data wrapper nothing;
	create foreign table far (id int) server nowhere;
	create view today as select current_date as day, id from item;
	create type mood as enum ('sad', 'ok');
	create table moody (id int, m mood);
	insert into moody values (1, 'ok');
	create table slots (id int, at timetz);
	create function lies() returns bigint immutable language sql as 'select count(*) from item';
	create function wild(int, int) returns boolean volatile language plpgsql as 'begin return random() > 0.5; end';
	create operator === (leftarg = int, rightarg = int, function = wild);
	create type pair as (a int, b int);`

// reasonCase is a statement for which there is a reason not to keep its result.
type reasonCase struct {
	query    string
	args     []any
	settings string // of the DSN
	before   string // run first on the only connection
	ctx      func(context.Context) context.Context
	times    int    // how often the query is run first
	schema   string // in a database of its own, for it spoils other types
}

const (
	oddDomain = `create function odd(int) returns boolean stable language sql as 'select count(*) > 0 from item';
	create domain oddly as int check (odd(value));
	create table domestic (id oddly);`
	oddClass = `create type shape as (n int);
	create table shaped (s shape);
	create function shape_cmp(shape, shape) returns int stable language plpgsql as 'begin return 0; end';
	create function shape_lt(shape, shape) returns boolean immutable language sql as 'select ($1).n < ($2).n';
	create operator <<<# (leftarg = shape, rightarg = shape, function = shape_lt);
	create operator class shape_ops for type shape using btree as operator 1 <<<# , function 1 shape_cmp(shape, shape);`
)

func reasonCases() map[string][]reasonCase {
	text := func(queries ...string) (all []reasonCase) {
		for _, q := range queries {
			all = append(all, reasonCase{query: q})
		}
		return all
	}
	session := func(setting string) []reasonCase { return []reasonCase{{query: allItems, settings: setting}} }
	return map[string][]reasonCase{
		"not_a_read":       text("update item set name = 'x'", "listen item", "notify item, 'x'", "lock table item", "set work_mem = '1MB'", "vacuum item"),
		"several":          text("select 1; select 2"),
		"unreadable":       text("select 'no end"),
		"modifies":         text("with d as (delete from item returning id) select * from d"),
		"locks_rows":       text("select * from item for update", "select * from item for key share skip locked"),
		"session_value":    text("select current_date", "select current_user", "select localtimestamp(0)"),
		"clock_literal":    text("select 'today'::date", "select timestamp 'now'"),
		"clock_cast":       text("select name::date from item"),
		"clock_type":       text("select at from slots"),
		"tablesample":      text("select id from item tablesample system (1)"),
		"system_column":    text("select ctid, id from item"),
		"catalog_type":     text("select 'item'::regclass"),
		"document_columns": text("select * from xmltable('/a' passing '<a/>' columns b text)"),
		"refused":          text("select nothing from item", "select * from nowhere"),
		"function": text("select now()", "select random()", "select nextval('counter')", "select pg_advisory_lock(1)",
			"select pg_try_advisory_xact_lock(1)", "select pg_notify('item', 'x')", "select txid_current()", "select clock_timestamp()",
			"select set_config('work_mem', '1MB', false)", "select pg_sleep(0)", "select gen_random_uuid()", "select wild(1, 2)"),
		"function_body":    text("select lies()"),
		"operator":         text("select 1 === 2"),
		"cast":             text("select row(1, 2)::pair"),
		"domain":           {{query: "select id from domestic", schema: oddDomain}},
		"operator_class":   {{query: "select s from shaped order by s", schema: oddClass}},
		"view":             text("select id from today"),
		"catalog_relation": text("select * from pg_class", "select * from information_schema.tables"),
		"foreign_relation": text("select * from far"),
		"sequence":         text("select last_value from counter"),
		"row_security":     text("select * from secured"),
		"unlogged":         text("select * from fast"),
		"nocache":          {{query: "/* lifeguard: nocache */ " + allItems}, {query: allItems, ctx: func(ctx context.Context) context.Context { return lifeguard.WithCache(ctx, lifeguard.NoCache) }}},
		"excluded_table":   {{query: allItems, settings: "lifeguard_cache_exclude=item"}},
		"unlisted_table":   {{query: allItems, settings: "lifeguard_cache_tables=other"}},
		"arguments":        {{query: oneItem, args: []any{map[string]int{"a": 1}}}},
		"clock_argument":   {{query: "select $1::text", args: []any{"today"}}},
		"too_large":        {{query: allItems, settings: "lifeguard_cache_max_rows=1", times: 4}},
		"isolation":        session("default_transaction_isolation=serializable"),
		"encoding":         session("client_encoding=LATIN1"),
		"escapes":          session("standard_conforming_strings=off"),
		"fuzzy_search":     session("gin_fuzzy_search_limit=100"),
		"replication_role": session("session_replication_role=replica"),
		"search_path":      session("search_path=public,pg_catalog"),
		"exec_mode":        session("default_query_exec_mode=exec"),
		"temporary_schema": {{query: allItems, before: "create temp table mine (id int)"}},
	}
}

// reasonsElsewhere are those that are no statement's alone, with where they are shown.
func reasonsElsewhere() map[string]string {
	return map[string]string{
		"leased":             "a transaction",
		"new":                "TestAQueryIsAnsweredFromMemoryAtTheFourthTime",
		"session_unknown":    "the moment after SET",
		"fenced":             "TestExplainCacheTellsOfAFence",
		"types":              "codecs that AfterConnect has registered",
		"flight":             "TestFollowersOfAFailedFlightLookAgain",
		"earlier_leases":     "TestATransactionThatIsOlderThanTheCacheIsWaitedFor",
		"database_unknown":   "TestARoleThatMayNotAskWhereItIs",
		"standby":            "a standby",
		"proxied":            "PgBouncer",
		"temporary_relation": "temporary_schema comes first",
		"relation_kind":      "kinds that PostgreSQL does not have yet",
		"lock_mode":          "modes that PostgreSQL does not take yet",
		"changing":           "DDL in an endless loop",
		"unprofitable":       "texts whose tables are written all the time",
		"unconfirmed":        "lifeguard_cache=cdc",
		"unpublished":        "lifeguard_cache=cdc",
		"unsettled":          "lifeguard_cache=cdc",
		"raw":                "a connection in Raw",
		"redis_unreachable":  "TestARedisThatFailsCostsResultsAndNothingElse",
		"redis_unconfirmed":  "TestAWriterWithoutRedisKeepsTheOthersFromServing",
		"redis_differs":      "TestTwoPoolsWithTwoRedisesKeepNothing",
		"server_refuses":     "TestARefusalIsRememberedAndNamed",
		"other":              "none",
	}
}

func TestEachReasonIsProducedAndExplained(t *testing.T) {
	base := openCached(t, reasonSchema)
	for reason, cases := range reasonCases() {
		for _, c := range cases {
			settings := []string{"lifeguard_cache=local", "pool_max_conns=1"}
			if c.settings != "" {
				settings = append(settings, c.settings)
			}
			dsn := base.dsn
			if c.schema != "" {
				dsn = openCached(t, cacheSchema+c.schema).dsn
			}
			db, err := sql.Open(lifeguard.DriverName, withSettings(dsn, settings...))
			if err != nil {
				t.Fatal(err)
			}
			explainReason(t, db, reason, c)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func explainReason(t *testing.T, db *sql.DB, reason string, c reasonCase) {
	t.Helper()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if c.before != "" {
		mustExec(t, db, c.before)
	}
	for range c.times {
		if _, err := readAll(t.Context(), db, c.query, c.args...); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	if c.ctx != nil {
		ctx = c.ctx(ctx)
	}
	x, err := connector.ExplainCache(ctx, c.query, c.args...)
	if err != nil {
		t.Errorf("%s: %v", c.query, err)
		return
	}
	if x.Cacheable || x.Reason != reason {
		t.Errorf("%s: %q (%s), not %q", c.query, x.Reason, x.Culprit, reason)
	}
	if !strings.HasSuffix(x.Because, ".") || !strings.Contains(x.String(), x.Because) || !strings.Contains(x.String(), "no: "+x.Reason) {
		t.Errorf("%s: %s", c.query, x)
	}
}

// The words of docs/cache.md are tested where they are made.
func TestEachReasonIsShownOnce(t *testing.T) {
	connector, err := lifeguard.FromDB(openDSN(t, "postgres://u@127.0.0.1:1/shop?lifeguard_cache=local"))
	if err != nil {
		t.Fatal(err)
	}
	cases, elsewhere := reasonCases(), reasonsElsewhere()
	reasons := connector.Stats().Cache.Bypasses
	for reason := range reasons {
		if _, shown := elsewhere[reason]; (len(cases[reason]) > 0) == shown {
			t.Errorf("%s: there must be one place where it is shown", reason)
		}
	}
	if len(cases)+len(elsewhere) != len(reasons) {
		t.Errorf("%d reasons are shown of %d", len(cases)+len(elsewhere), len(reasons))
	}
}
