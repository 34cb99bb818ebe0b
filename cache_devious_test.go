package lifeguard_test

import (
	"strings"
	"testing"
)

const eventTrigger = `create function f() returns event_trigger language plpgsql as $$ begin update item set name = name || '+' where id = 1; end $$;
	create event trigger t on ddl_command_end execute function f();`

// deviousWrites are ways to change item that its text does not show, each through one
// connection, in some transaction.
var deviousWrites = []struct {
	name, schema string
	texts        []string
}{
	{"a rule", "create table door (id int); create rule r as on insert to door do also update item set name = 'ruled' where id = 1", []string{"insert into door values (1)"}},
	{"an updatable view", "create view v as select id, name from item where id < 10", []string{"update v set name = 'viewed' where id = 1"}},
	{"a view with a trigger", `create view v as select id, name from item; create function f() returns trigger language plpgsql as $$ begin update item set name = 'instead' where id = old.id; return new; end $$;
		create trigger t instead of update on v for each row execute function f()`, []string{"update v set name = 'x' where id = 1"}},
	{"a cascade", "create table top (id int primary key); insert into top values (1); alter table item add column top int references top on delete cascade; update item set top = 1 where id = 1", []string{"delete from top"}},
	{"SET NULL by a cascade of a cascade", `create table a (id int primary key); create table b (id int primary key, a int references a on delete cascade); insert into a values (1); insert into b values (1, 1);
		alter table item add column b int references b on delete set null; update item set b = 1 where id = 1`, []string{"delete from a"}},
	{"truncate cascade", "create table top (id int primary key); alter table item add column top int references top", []string{"truncate top cascade"}},
	{"a savepoint that is given up", "", []string{"savepoint a", "update item set name = 'x' where id = 1", "release a", "savepoint b", "delete from item", "rollback to b"}},
	{"a cursor", "", []string{"declare c cursor for select id from item where id = 1 for update", "fetch c", "update item set name = 'here' where current of c"}},
	{"a function in a cursor", "create function f() returns int language sql as $$ update item set name = 'fetched' where id = 1; select 1 $$", []string{"declare c cursor for select f()", "fetch c"}},
	{"a function in a cursor with hold", "create function f() returns int language sql as $$ update item set name = 'held' where id = 1; select 1 $$", []string{"declare c cursor with hold for select f()"}},
	{"EXECUTE", "", []string{"prepare p as update item set name = 'executed' where id = $1", "execute p(1)"}},
	{"EXPLAIN ANALYZE", "", []string{"explain analyze update item set name = 'explained' where id = 1"}},
	{"EXPLAIN with quotes", "", []string{`explain (verbose, "analyze" on) update item set name = 'explained' where id = 1`}},
	{"an event trigger", eventTrigger, []string{"create temp table t (i int)"}},
	{"an event trigger of REFRESH", "create materialized view m as select 1; " + eventTrigger, []string{"refresh materialized view m"}},
	{"an event trigger of SELECT INTO", eventTrigger, []string{"select 1 as i into temp t"}},
	{"DO", "", []string{"do $$ begin update item set name = 'done' where id = 1; end $$"}},
	{"DO with EXECUTE", "", []string{"do $$ begin execute 'update item set name = ''done'' where id = 1'; end $$"}},
	{"CALL", "create procedure p(n int) language plpgsql as $$ begin update item set name = 'called' where id = n; end $$", []string{"call p(1)"}},
	{"an INSERT of a data-modifying CTE", "", []string{"with d as (delete from item where id = 2 returning id, name) insert into other select id + 1000, name from d"}},
	{"MERGE's older brother", "", []string{"insert into item values (1, 'x') on conflict (id) do update set name = 'upserted'"}},
	{"COPY (…) TO a file", "create function f() returns int language sql as $$ update item set name = 'copied' where id = 1; select 1 $$", []string{"copy (select f()) to '/dev/null'"}},
	{"CREATE TEMP TABLE AS", "create function f() returns int language sql as $$ update item set name = 'temporary' where id = 1; select 1 $$", []string{"create temp table t as select f()"}},
	{
		"a trigger of a temporary table", `create function f() returns trigger language plpgsql as $$ begin update item set name = 'by temp' where id = 1; return new; end $$`,
		[]string{"create temp table t (i int)", "create trigger t after insert on t for each row execute function f()", "insert into t values (1)"},
	},
	{"SECURITY DEFINER", "create function f() returns int security definer set search_path = public language sql as $$ update item set name = 'definer' where id = 1; select 1 $$", []string{"select f()"}},
	{"SET ROLE", "", []string{"set role pg_monitor", "reset role", "update item set name = 'role' where id = 1"}},
	{"a default", "create function f() returns int language sql as $$ update item set name = 'defaulted' where id = 1; select 1 $$; create table d (id int default f(), n int)", []string{"insert into d (n) values (1)"}},
	{"a check", `create function f(int) returns bool language plpgsql as $$ begin update item set name = 'checked' where id = 1; return true; end $$; create table d (id int check (f(id)))`, []string{"insert into d values (1)"}},
	{
		"a policy", `create function f() returns bool language plpgsql as $$ begin update item set name = 'policy' where id = 1; return true; end $$;
		create table d (id int); insert into d values (1); alter table d enable row level security; alter table d force row level security; create policy p on d using (f()); create role reader_of_d; grant select on d, item to reader_of_d; grant update on item to reader_of_d`,
		[]string{"set role reader_of_d", "select count(*) from d", "reset role"},
	},
	{"an operator", `create function f(int, int) returns bool language plpgsql as $$ begin update item set name = 'operator' where id = 1; return true; end $$; create operator ### (leftarg = int, rightarg = int, function = f)`, []string{"select 1 ### 2"}},
	{"a cast", `create type odd as (a int); create function f(odd) returns int language plpgsql as $$ begin update item set name = 'cast' where id = 1; return 1; end $$; create cast (odd as int) with function f(odd)`, []string{"select row(1)::odd::int"}},
	{"an aggregate", `create function f(int, int) returns int language plpgsql as $$ begin update item set name = 'aggregate' where id = 1; return 1; end $$; create aggregate agg(int) (sfunc = f, stype = int, initcond = '0')`, []string{"select agg(1)"}},
	{"LISTEN, NOTIFY and locks", "", []string{"listen c", "notify c", "select pg_advisory_xact_lock(1)", "update item set name = 'noted' where id = 1"}},
	{"an heir", "create table heir () inherits (item); insert into heir values (70, 'heir')", []string{"update heir set name = 'disowned'"}},
	{"another schema's trigger", `create schema s; create table s.t (i int); create function s.f() returns trigger language plpgsql as $$ begin execute format('update %I set name = %L where id = 1', 'item', 'formatted'); return new; end $$;
		create trigger t after insert on s.t for each row execute function s.f()`, []string{"set local search_path = s, public", "insert into t values (1)"}},
	{"TRUNCATE of two", "", []string{"truncate item, other"}},
	{"a function that changes a setting and writes", "create function f() returns int language plpgsql as $$ begin perform set_config('search_path', 'public', true); update item set name = 'set' where id = 1; return 1; end $$", []string{"select f()"}},
}

func TestNoDeviousWriteLeavesAnOldResultBehind(t *testing.T) {
	for _, w := range deviousWrites {
		for _, tx := range []string{"", "commit", "rollback"} {
			t.Run(w.name+"/"+tx, func(t *testing.T) {
				c := openCached(t, cacheSchema+w.schema)
				defer func() { _, _ = c.plain.Exec("drop owned by reader_of_d; drop role reader_of_d") }()
				for range 2 { // new, and known
					c.warm(allItems)
					c.warm(allOthers)
					conn, err := c.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if tx != "" {
						mustExec(t, conn, "begin")
					}
					for _, text := range w.texts {
						if _, err := conn.ExecContext(t.Context(), text); err != nil {
							t.Log(text, err) // outside of a transaction, or the second time
						}
					}
					if tx != "" {
						if !strings.Contains(w.name, "runcate") && !strings.HasPrefix(w.name, "TRUNCATE") { // nobody can read then
							c.same("before "+tx, allItems)
						}
						mustExec(t, conn, tx)
					}
					c.same("after", allItems)
					c.same("after", allOthers)
					_, _ = conn.ExecContext(t.Context(), "discard temp")
					conn.Close()
					c.same("in the end", allItems)
					mustExec(t, c.plain, "update item set name = 'between' where id = 1")
					mustExec(t, c, "update item set name = 'begun again' where id = 1")
				}
			})
		}
	}
}
