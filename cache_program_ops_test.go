package lifeguard_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// programRoles makes the roles that programs change to, on the server of this process.
func programRoles(t *testing.T) {
	t.Helper()
	db, err := sql.Open("pgx", pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustExec(t, db, `do $$ begin create role lifeguard_reader; exception when duplicate_object or unique_violation then null; end $$`)
}

// programSchema is beside historySchema.
const programSchema = `
	grant usage on schema public, alt to lifeguard_reader;
	grant select on all tables in schema public to lifeguard_reader;
	create table extra (id int, v int);
	create table spare (id int, at date, what text);
	create table price (id int primary key, amount numeric(8,2) not null, label varchar(10), ratio float8);
	insert into price select i, i * 1.5, 'p' || i, i / 3.0 from generate_series(1, 6) i;
	create domain small as int check (value < 1000);
	create table domained (id small, v text);
	insert into domained values (1, 'a'), (2, 'b');
	create function tell() returns trigger language plpgsql as $$ begin update price set amount = amount + 1 where id = 1; return null; end $$;
	create function rate() returns int immutable language sql as $$ select 2 $$;
	create function deploy(int) returns int volatile language plpgsql as $$ begin
		execute format('create or replace function rate() returns int immutable language sql as ''select %s''', $1); return $1; end $$;
	create function zone(text) returns text volatile language sql as $$ select set_config('timezone', $1, false) $$;
	create function wander(text) returns text stable language sql as $$ select set_config('search_path', $1, false) $$;
	create view rated as select id, amount * rate() as amount from price;
	create view deep as select r.id, t.n from rated r left join tally t on t.id = r.id;`

// programReads are asked again and again; most of them depend on something that an
// operation below changes.
var programReads = []historyRead{
	{"select id, n from tally order by id", nil},
	{"select * from price where id = $1", []func(*rand.Rand) any{someID}},
	{"select * from rated order by id", nil},
	{"select * from deep order by id", nil},
	{"select rate(), double(3)", nil}, // name_of is no function that two plans agree about
	{"select count(*), max(what) from audit", nil},
	{"select id, v from base order by id, v", nil},
	{"select id, customer, total, note from orders where customer = $1 order by id", []func(*rand.Rand) any{someID}},
	{"select * from orders order by id limit 4", nil},
	{"select id, name, mood, seen from customer where id < 5 order by id", nil},
	{"select * from customer where id = $1", []func(*rand.Rand) any{someID}},
	{"select seen::text, born::text, data::text, raw::text from customer where id = 2", nil},
	{"select id, at, what from event order by id, at", nil},
	{"select count(*) from event_2024", nil},
	{"select * from totals order by id limit 3", nil},
	{"select * from entry order by id, v", nil},
	{"select * from favourite order by id", nil},
	{"select count(*), sum(qty) from line", nil},
	{"select n, total from frozen", nil},
	{"select id, v from domained order by id", nil},
	{"select 'a\\nb', e'a\\nb', null = null, 1.1::float8::text, interval '1 day 2 hours'::text, '\\x41'::bytea::text", nil},
	{"select '2024-03-10 12:00+00'::timestamptz::text, date '01/02/2024', to_char(1234.5, 'L9G999D99'), '{a,NULL}'::text[]", nil},
	{"select to_tsvector('running dogs')::text, current_setting('app.tenant', true)", nil},
	{"select * from lately order by id limit 3", nil},
	{"select count(*) from orders where note = null", nil},
	{"select $1::text, $2::int", []func(*rand.Rand) any{someText, someID}},
	{"select c.id, sum(o.total) from customer c join orders o on o.customer = c.id group by c.id order by c.id limit 5", nil},
}

// newProgram makes a program of about n operations. It comes back to few reads, so that
// what memory has was there before what changes it.
func newProgram(r *rand.Rand, n int) program {
	var reads []operation
	for range 7 {
		q := programReads[r.IntN(len(programReads))]
		reads = append(reads, operation{text: q.text, args: q.arguments(r), do: doRead})
	}
	h := &history{r: r, next: 1000, shape: historyShape{volatile: true}}
	var p program
	for len(p) < n {
		by := place(r.IntN(int(places)))
		if r.IntN(3) == 0 {
			by = inPool
		}
		switch k := r.IntN(100); {
		case k < 40:
			read := reads[r.IntN(len(reads))]
			if r.IntN(4) > 0 {
				by = inPool
			}
			read.through = by
			if r.IntN(8) == 0 {
				read.do = doPrepared
			}
			p = append(p, read)
		case k < 47:
			p = append(p, operation{through: max(by, inTheTx), do: doBegin})
		case k < 54:
			p = append(p, operation{through: max(by, inTheTx), do: []action{doCommit, doCommit, doRollback}[r.IntN(3)]})
		case k < 66:
			w := h.someWrite()
			p = append(p, operation{through: by, text: w.text, args: w.args})
		case k < 72:
			w := h.someReturning()
			p = append(p, operation{through: by, do: doPrepared, text: w.text, args: w.args})
		case k < 75:
			p = append(p, operation{through: by, text: h.someOdd().text})
		case k < 88:
			text := someSchemaChange(r)
			if strings.Contains(text, "temp") { // it stays with a session
				by = max(by, inAConn)
			}
			p = append(p, operation{through: by, text: text})
		case k < 90:
			p = append(p, operation{through: by, do: doCopy, args: []any{r.IntN(8), r.IntN(50)}})
		default:
			if by > inTheTx { // settings stay with a session
				p = append(p, operation{through: by, text: someOfSession(r)})
			} else if by == inTheTx {
				p = append(p, operation{through: by, text: someOfTransaction(r)})
			}
		}
	}
	return p
}

// someSchemaChange is what a migration does, or a function that does it.
func someSchemaChange(r *rand.Rand) string {
	n := 1 + r.IntN(5)
	list := strings.Split(strings.TrimSpace(fmt.Sprintf(`
create trigger told after insert or update on tally for each row execute function tell()
drop trigger if exists told on tally
create trigger told_late after update on base for each row when (new.v > %[1]d) execute function tell()
drop trigger if exists told_late on base
create or replace function tell() returns trigger language plpgsql as $$ begin update tally set n = n + %[1]d where id = 9; insert into audit (what) values ('told'); return null; end $$
create or replace function tell() returns trigger language plpgsql as $$ begin return null; end $$
create or replace function note() returns trigger language plpgsql as $$ begin update price set label = 'n%[1]d' where id = 2; return null; end $$
create or replace function rate() returns int immutable language sql as $$ select %[1]d $$
create or replace function rate() returns int stable language plpgsql as $$ begin return (select count(*) from extra); end $$
create or replace function double(int) returns int immutable language sql as $$ select $1 + %[1]d $$
alter function rate() volatile
alter function rate() stable
create table if not exists event_2025 partition of event for values from ('2025-01-01') to ('2026-01-01')
alter table event detach partition event_2025
drop table if exists event_2025
alter table event attach partition spare for values from ('2022-01-01') to ('2023-01-01')
alter table spare inherit event
alter table extra inherit base
alter table extra no inherit base
insert into extra values (%[1]d, %[1]d)
insert into spare values (%[1]d, '2022-0%[1]d-01', 'spare')
update event_2024 set what = 'direct %[1]d'
alter table favourite drop constraint if exists favourite_customer_fkey
alter table favourite add constraint favourite_customer_fkey foreign key (customer) references customer on delete cascade on update cascade not valid
create or replace rule noted as on update to price do also insert into tally values (%[1]d + 20, 1) on conflict do nothing
drop rule if exists noted on price
create or replace view lately as select id, total from orders where id > %[1]d * 7
create or replace view rated as select id, amount * %[1]d as amount from price
create or replace view rated as select id, amount * rate() as amount from price where id <> %[1]d
drop view if exists lately
alter table price alter amount type numeric(%[1]d + 8, %[1]d)
alter table price alter label type varchar(1%[1]d)
alter table price alter ratio type float4
alter table orders alter total type bigint
alter table orders alter total type int
alter table price add column p%[1]d int default %[1]d
alter table price drop column if exists p%[1]d
alter table price rename column label to lbl
alter table price rename column lbl to label
alter table tally rename to tally_old
alter table tally_old rename to tally
alter table tally enable row level security
alter table tally disable row level security
create policy few on tally using (id < %[1]d)
drop policy if exists few on tally
grant select on price to lifeguard_reader
revoke select on price from lifeguard_reader
revoke all on tally from lifeguard_reader
grant select on tally to lifeguard_reader
alter table alt.customer add column a%[1]d int
create table if not exists alt.orders (like public.orders)
insert into alt.orders values (%[1]d, 1, 1, 'alt')
drop table if exists alt.orders
create table if not exists alt.tally as select id, -n as n from public.tally
drop table if exists alt.tally
alter domain small add constraint c%[1]d check (value > -%[1]d)
alter type mood add value if not exists 'm%[1]d'
do $$ begin execute 'update price set amount = %[1]d where id = 3'; end $$
do $$ begin execute 'create or replace function rate() returns int immutable language sql as ''select 1%[1]d'''; end $$
select deploy(%[1]d)
refresh materialized view frozen
vacuum tally
analyze price
cluster price using price_pkey
create index if not exists price_label on price (label)
reindex table price
create temp table tally (id int, n bigint)
insert into pg_temp.tally values (77, %[1]d)
drop table if exists pg_temp.tally
create temp view price as select 1 as id
drop view if exists pg_temp.price
truncate extra, spare
commit prepared '{database}'
rollback prepared '{database}'
update price set amount = %[1]d where id = 4; update tally set n = %[1]d where id = 1
begin; update price set amount = -%[1]d where id = 5; rollback
begin; delete from tally where id = %[1]d; commit; select 1
explain analyze update price set ratio = %[1]d
explain update price set ratio = 0
create table made as select %[1]d as id
drop table if exists made
comment on table price is 'x%[1]d'
alter function tell() security definer`, n)), "\n")
	text := list[r.IntN(len(list))]
	if strings.Contains(text, "temp") && r.IntN(3) > 0 {
		return "insert into tally values (1, 1) on conflict (id) do update set n = tally.n + 1"
	}
	return text
}

// someOfSession changes a session, whose connection is put back as it was at the end.
func someOfSession(r *rand.Rand) string {
	list := []string{
		"set search_path = alt, public", "set search_path = public", "reset search_path", "set timezone = 'Asia/Tokyo'", "set time zone 'America/New_York'",
		"set datestyle = 'SQL, DMY'", "set datestyle = 'ISO, MDY'", "set intervalstyle = 'iso_8601'", "set extra_float_digits = 0", "set bytea_output = 'escape'",
		"set standard_conforming_strings = off", "set transform_null_equals = on", "set array_nulls = off", "set app.tenant = 'x'", "set app.tenant = 'y'",
		"set default_text_search_config = 'pg_catalog.german'", "set default_text_search_config = 'pg_catalog.simple'", "set lc_monetary = 'C'",
		"set role lifeguard_reader", "reset role", "set session authorization lifeguard_reader", "set session authorization default", "set row_security = off",
		"set session_replication_role = replica", "set session_replication_role = origin", "set default_transaction_isolation = 'repeatable read'",
		"set default_transaction_read_only = on", "set client_encoding = 'LATIN1'", "set enable_seqscan = off", "set xmloption = document",
		"select set_config('search_path', 'alt,public', false)", "select zone('Europe/Berlin')", "select wander('alt,public')", "reset all",
		"begin", "begin isolation level repeatable read", "commit", "rollback", "commit and chain", "rollback; begin", "end; select 1",
		"savepoint a", "rollback to a", "release a", "set local timezone = 'UTC'", "set local search_path = alt",
		"prepare transaction '{database}'", "listen channel", "notify channel, 'x'", "select pg_notify('channel', 'y')",
		"prepare up (int) as update tally set n = n + $1 where id = 1", "execute up (3)", "deallocate up", "prepare look as select * from price", "execute look",
		"declare cur cursor with hold for select * from tally", "fetch all from cur", "close cur", "select pg_try_advisory_lock(1)", "select pg_advisory_unlock(1)",
		"lock table line in share mode", "set constraints all immediate", "discard plans", "discard sequences", "set session characteristics as transaction read only",
		"create temp table customer (like public.customer)", "drop table if exists pg_temp.customer", "create temp table price as select 1 as id, 2 as amount",
		"set local app.tenant = 'local'", "load 'plpgsql'", "checkpoint",
	}
	return list[r.IntN(len(list))]
}

// someOfTransaction makes sense in one.
func someOfTransaction(r *rand.Rand) string {
	list := []string{
		"savepoint a", "rollback to a", "release a", "savepoint b", "rollback to b", "set local timezone = 'UTC'", "set local search_path = alt, public",
		"set local role lifeguard_reader", "set transaction isolation level serializable", "set constraints all immediate", "set constraints all deferred",
		"select set_config('timezone', 'Asia/Tokyo', true)", "lock table line in share mode", "select pg_advisory_xact_lock(7)", "select 1 / 0",
		"declare c cursor for select * from tally", "fetch 1 from c", "move all in c", "close c",
		fmt.Sprintf("update tally set n = %d where id = 1", r.IntN(100)), fmt.Sprintf("update price set amount = %d where id = 1", r.IntN(100)),
		fmt.Sprintf("insert into event values (%d, '%s', 'tx')", 3000+r.IntN(1000), time.Date(2024, 2, 1+r.IntN(20), 0, 0, 0, 0, time.UTC).Format(time.DateOnly)),
	}
	return list[r.IntN(len(list))]
}
