package lifeguard_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestStatementsThatMindWhereTheyRunNeverShare(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=1")
	for _, query := range []string{
		"create sequence s",
		"create function counted(t) returns int8 language sql volatile as $$ select nextval('s') $$",
		"create function seen(int8) returns bool language sql volatile as $$ select nextval('s') > 0 $$",
		"create table secured as select * from t", "alter table secured enable row level security",
		"create policy counts on secured using (seen(id))",
		"create view counting as select id, nextval('s') as n from t",
		"create domain odd as int8 check (seen(value))",
		"create operator === (leftarg = int8, rightarg = int8, function = count_both)",
		"create foreign data wrapper nothing", "select 1",
	} {
		if query == "create operator === (leftarg = int8, rightarg = int8, function = count_both)" {
			outside(t, dsn, "create function count_both(int8, int8) returns bool language sql volatile as $$ select nextval('s') > 0 $$")
		}
		outside(t, dsn, query)
	}
	for _, query := range []string{
		"select t.counted from t where id = 3", "select counted(t) from t where id = 3", "select (t).counted from t where id = 3",
		"select n from secured where id = 3", "select n from counting where id = 3", "select n::odd from t where id = 3",
		"select n from t where id === 3",
		"select pg_backend_pid()", "select n from t where id = 3 for update", "select n from t where id = 3; select 4",
		"with x as (update t set n = n where id = 3 returning n) select n from x", "update t set n = n where id = 3 returning n",
		"select set_config('application_name', 'x', false)", "select nextval('s')", "select pg_advisory_xact_lock(1)",
		"select now()", "select * from pg_class limit 1", "show application_name",
		"select n from t where id = 3 /*" + strings.Repeat("x", 4096) + "*/",
	} {
		ask := func() { _, _ = resultOf(t.Context(), db, query) } // some are refused, which is as good
		before := stats(t, db).Group
		for range 2 { // what is found out the first time must be remembered
			together(t, db, 1, ask, ask, ask, ask, ask)
		}
		if now := stats(t, db).Group; now != before {
			t.Errorf("%s: %+v", query, now)
		}
	}
}

func TestASessionThatIsNotAsItBeganLeadsNobody(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=1")
	outside(t, dsn, "create schema other; create table other.t as select id, -n as n from t")
	read := func() {
		got, err := resultOf(t.Context(), db, "select n from t where id = $1", 3)
		if err != nil || len(got.rows) != 1 || got.rows[0][0] != int64(9) {
			t.Errorf("%v, %v", got.rows, err)
		}
	}
	untilRidden(t, db, func() { together(t, db, 1, read, read, read, read) })
	for _, change := range []struct{ do, undo string }{
		{"set statement_timeout = '1min'", "reset statement_timeout"},
		{"create temp table hidden (id int8)", "drop table hidden"},
		{"select set_config('work_mem', '1MB', false)", "reset work_mem"},
	} {
		mustExec(t, db, change.do)
		before := stats(t, db).Group
		for range 3 {
			together(t, db, 1, read, read, read, read)
		}
		if now := stats(t, db).Group; now != before {
			t.Errorf("after %q: %+v", change.do, now)
		}
		mustExec(t, db, change.undo)
		untilRidden(t, db, func() { together(t, db, 1, read, read, read, read) })
	}
}

func TestTransactionsAndPinnedConnectionsHaveTheirOwn(t *testing.T) {
	db, _ := groupDB(t, "pool_max_conns=1")
	point := func() {
		var n int
		if err := db.QueryRowContext(t.Context(), "select n from t where id = $1", 3).Scan(&n); err != nil || n != 9 {
			t.Error(n, err)
		}
	}
	pinned := func() {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for range 2 {
			var n int
			if err := conn.QueryRowContext(t.Context(), "select n from t where id = $1", 3).Scan(&n); err != nil || n != 9 {
				t.Error(n, err)
			}
		}
	}
	stateful := func() { // which takes longer than what may ride
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		var n int
		var name string
		if err := conn.QueryRowContext(t.Context(), "select n, name from t where id = $1", 3).Scan(&n, &name); err != nil || n != 9 {
			t.Error(n, err)
		}
		mustExec(t, conn, "create temp table mine as select 1 as x; set application_name = 'pinned'")
		if err := conn.QueryRowContext(t.Context(), "show application_name").Scan(&name); err != nil || name != "pinned" {
			t.Error(name, err)
		}
		mustExec(t, conn, "drop table mine; reset application_name")
	}
	inTx := func() {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = tx.Rollback() }()
		mustExec(t, tx, "update t set n = 0 where id = 3")
		var n int
		if err := tx.QueryRowContext(t.Context(), "select n from t where id = $1", 3).Scan(&n); err != nil || n != 0 {
			t.Error(n, err)
		}
	}
	together(t, db, 1, point, point, point, stateful, point, inTx, stateful, point, pinned, point)
	untilRidden(t, db, func() {
		together(t, db, 1, point, point, point, pinned, point, inTx, point, pinned, point, inTx, point, point)
	})
}

func TestGroupsAreOffWhereTheyCannotBe(t *testing.T) {
	dsn := pgtest.DSN(t)
	for _, settings := range [][]string{
		{"lifeguard_group=off"},
		{},
		{groupsOn, "lifeguard_mode=session"},
		{groupsOn, "lifeguard_limit=auto"},
		{groupsOn, "lifeguard_cache=local"},
		{groupsOn, "default_query_exec_mode=simple_protocol"},
		{groupsOn, "default_query_exec_mode=exec"},
		{groupsOn, "default_query_exec_mode=cache_describe"},
	} {
		db := openDSN(t, withSettings(dsn, append(settings, "pool_max_conns=1")...))
		mustExec(t, db, "drop table if exists t; create table t as select 3 as id, 9 as n")
		ask := func() {
			var n int
			if err := db.QueryRowContext(t.Context(), "select n from t where id = $1", 3).Scan(&n); err != nil || n != 9 {
				t.Error(settings, n, err)
			}
		}
		for range 3 {
			var done sync.WaitGroup
			for range 12 {
				done.Go(ask)
			}
			done.Wait()
		}
		if got := stats(t, db).Group; got != (lifeguard.GroupStats{}) {
			t.Errorf("%v: %+v", settings, got)
		}
	}
	inner := stdlib.GetConnector(*parse(t, dsn).ConnConfig)
	connector, err := lifeguard.WrapConnector(inner, lifeguard.Config{MaxConns: 1, Group: lifeguard.GroupOn})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ask := func() { _, _ = resultOf(t.Context(), db, "select n from t where id = $1", 3) }
	together(t, db, 1, ask, ask, ask, ask)
	if got := stats(t, db).Group; got != (lifeguard.GroupStats{}) {
		t.Errorf("over a connector of somebody else's: %+v", got)
	}
}
