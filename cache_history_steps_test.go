package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
)

//nolint:dupword // a column is named like its type
const historySchema = `
create type mood as enum ('sad', 'ok', 'happy');
create table customer (id int primary key, name varchar(40) not null, mood mood not null default 'ok',
	balance numeric(12,2) not null default 0, born date, seen timestamptz not null default '2024-03-10 12:00+00',
	data jsonb, raw bytea, tags text[]);
create table orders (id int primary key, customer int references customer on delete cascade on update cascade, total int not null, note text);
create table line (id int primary key, ord int references orders on delete cascade on update cascade, qty int not null);
create table favourite (id int primary key, customer int references customer on delete set null on update cascade);
create table audit (n serial primary key, what text not null);
create table tally (id int primary key, n bigint not null);
create table event (id int, at date, what text, primary key (id, at)) partition by range (at);
create table event_2023 partition of event for values from ('2023-01-01') to ('2024-01-01');
create table event_2024 partition of event for values from ('2024-01-01') to ('2025-01-01');
create table event_rest partition of event default;
create table base (id int, v int);
create table derived (extra text) inherits (base);
create function note() returns trigger language plpgsql as $$
	begin insert into audit (what) values (tg_op || ' ' || coalesce(new.id, old.id)); return null; end $$;
create trigger note after insert or update or delete on orders for each row execute function note();
create function count_lines() returns trigger language plpgsql as $$
	begin update tally set n = n + 1 where id = 1; return null; end $$;
create constraint trigger count_lines after insert or update or delete on line deferrable initially deferred
	for each row execute function count_lines();
create view totals as select c.id, c.name, sum(o.total) as total, count(*) as n from customer c left join orders o on o.customer = c.id group by c.id;
create view cheap as select id, customer, total, note from orders where total < 500;
create view entry as select id, v from base;
create function entered() returns trigger language plpgsql as $$ begin insert into tally values (new.id, new.v) on conflict (id) do update set n = excluded.n; return new; end $$;
create trigger entered instead of insert on entry for each row execute function entered();
create rule twice as on insert to favourite do also insert into tally values (new.id, 7) on conflict do nothing;
create materialized view frozen as select count(*) as n, sum(total) as total from orders;
create function double(int) returns int immutable language sql as $$ select $1 * 2 $$;
create function orders_of(int) returns bigint stable language sql as $$ select count(*) from orders where customer = $1 $$;
create function name_of(int) returns text immutable language sql as $$ select name::text from customer where id = $1 $$;
create schema alt;
create table alt.customer (like customer);
insert into customer select i, 'customer ' || i, (array['sad', 'ok', 'happy']::mood[])[1 + i % 3], i * 1.25, date '2000-01-01' + i,
	'2024-03-10 12:00+00'::timestamptz + i * interval '7 hours', jsonb_build_object('k', i, 's', repeat('x', i)), decode(lpad(to_hex(i), 4, '0'), 'hex'), array['a', 'b' || i]
	from generate_series(1, 20) i;
insert into alt.customer select id, 'alt ' || name, mood, -balance, born, seen, data, raw, tags from customer where id < 10;
insert into tally values (1, 0);
insert into orders select i, 1 + i % 20, i * 20, 'note ' || i from generate_series(1, 40) i;
insert into line select i, 1 + i % 40, i from generate_series(1, 80) i;
insert into favourite select i, i from generate_series(1, 10) i;
insert into event select i, date '2023-06-01' + i * 60, 'event ' || i from generate_series(1, 20) i;
insert into base select i, i from generate_series(1, 5) i;
insert into derived select i, i, 'd' from generate_series(6, 9) i;`

// historyVolatile makes queries able to write.
const historyVolatile = `
create function rename(int, text) returns int volatile language sql as $$ update customer set name = $2 where id = $1; select $1 $$;
create function rename_more(int) returns int volatile language plpgsql as $$ begin execute 'update orders set note = ''dynamic'' where id = $1' using $1; return $1; end $$;
create procedure settle(int) language plpgsql as $$ begin update orders set total = 0 where id = $1; commit; update tally set n = n + 1 where id = 1; end $$;
create function calm() returns int stable language sql as $$ select 1 $$;`

// historyRead is a query, and makers of its arguments.
type historyRead struct {
	text string
	args []func(r *rand.Rand) any
}

func (q *historyRead) arguments(r *rand.Rand) (args []any) {
	for _, arg := range q.args {
		args = append(args, arg(r))
	}
	return args
}

// someID is one of few, in one of the types that mean it.
func someID(r *rand.Rand) any {
	id := 1 + r.IntN(6)
	switch r.IntN(6) {
	case 0:
		return int64(id)
	case 1:
		return fmt.Sprint(id)
	case 2:
		return int16(id)
	case 3:
		return sql.NullInt64{Int64: int64(id), Valid: id != 3}
	}
	return id
}

func someText(r *rand.Rand) any {
	return []any{"note 3", "x", nil, "", "dynamic", sql.NullString{String: "x", Valid: true}}[r.IntN(6)]
}

func someTime(r *rand.Rand) any {
	at := time.Date(2024, 3, 10, 12+r.IntN(3)*40, 0, 0, 0, time.UTC)
	if r.IntN(2) == 0 {
		return at.In(time.FixedZone("", 7200))
	}
	return at
}

var historyReads = []historyRead{
	{"select id, name, mood, balance, born, seen, data, raw, tags from customer where id = $1", []func(*rand.Rand) any{someID}},
	{"select * from customer order by id limit 5", nil},
	{"select * from orders where customer = $1 order by id", []func(*rand.Rand) any{someID}},
	{"select id, seen::text, born::text, to_char(seen, 'Day HH24 TZ') from customer where id < 4 order by id", nil},
	{"select count(*), max(seen) from customer where seen > $1", []func(*rand.Rand) any{someTime}},
	{"select count(*) from orders where note = $1", []func(*rand.Rand) any{someText}},
	{"select count(*), sum(qty) from line", nil},
	{"select id, customer from favourite order by id", nil},
	{"select count(*), max(n) from audit", nil},
	{"select what from audit order by n desc limit 3", nil},
	{"select id, n from tally order by id", nil},
	{"select id, at, what from event where at < date '2024-01-01' order by id, at", nil},
	{"select * from event where id = $1 order by at", []func(*rand.Rand) any{someID}},
	{"select count(*), string_agg(what, ',' order by id, at) from event_2024", nil},
	{"select id, v from base order by id, v", nil},
	{"select id, v from only base order by id, v", nil},
	{"select id, v, extra from derived order by id, v", nil},
	{"select * from totals order by id limit 7", nil},
	{"select * from cheap order by id", nil},
	{"select * from entry order by id, v", nil},
	{"select n, total from frozen", nil},
	{"select double($1::int)", []func(*rand.Rand) any{someID}},
	{"select id, double(total) from orders where id = $1", []func(*rand.Rand) any{someID}},
	{"select orders_of($1)", []func(*rand.Rand) any{someID}},
	{"select name_of(2)", nil},
	{"select c.name, (select sum(l.qty) from orders o join line l on l.ord = o.id where o.customer = c.id) from customer c order by c.id limit 4", nil},
	{"with t as (select customer, sum(total) s from orders group by 1) select c.id, t.s from customer c join t on t.customer = c.id order by c.id limit 6", nil},
	{"select exists (select from orders where id = $1), $2::text", []func(*rand.Rand) any{someID, someText}},
	{"select mood, count(*), avg(balance) from customer group by mood order by mood", nil},
	{"select 1000 / (id - 3) from customer where id < $1 order by id", []func(*rand.Rand) any{someID}},
	{"select * from lately order by id limit 3", nil}, // a view that comes and goes
	{"select id, bonus from customer where id < 3 order by id", nil},
	{"table tally order by id", nil},
	{"values (1, 'x'), (2, null)", nil},
	{"select interval '1 month 3 days', 1.5::float8, 0.1::float4, '{1,2}'::int[], true, null::mood, 'ok'::mood", nil},
	{"select id from orders where id = $1 for share", []func(*rand.Rand) any{someID}},
}

// historyWrite is a text, and its arguments.
type historyWrite struct {
	text string
	args []any
}

// someWrite returns a statement that writes rows.
func (h *history) someWrite() historyWrite {
	r := h.r
	id, other, n := 1+r.IntN(8), 1+r.IntN(40), r.IntN(100)
	h.next++
	writes := []historyWrite{
		{"update customer set name = $1 where id = $2", []any{fmt.Sprint("n", n), id}},
		{fmt.Sprintf("update customer set balance = balance + %d, mood = 'happy' where id in (%d, 2)", n, id), nil},
		{"update customer set id = id + 1000 where id = $1", []any{10 + r.IntN(10)}},
		{"delete from customer where id = $1", []any{other}},
		{"insert into customer (id, name) values ($1, $2) on conflict (id) do update set name = excluded.name", []any{id, fmt.Sprint("u", n)}},
		{fmt.Sprintf("insert into customer (id, name) values (%d, 'new')", id), nil}, // often an error
		{"insert into orders values ($1, $2, $3, 'x')", []any{h.next, id, n}},
		{fmt.Sprintf("insert into orders values (%d, %d, %d, 'y')", h.next, id, n), nil},
		{"update orders set total = $1 where customer = $2", []any{n, id}},
		{"delete from orders where id = $1", []any{other}},
		{"insert into line values ($1, $2, $3)", []any{h.next, other, n}},
		{fmt.Sprintf("update line set qty = %d where ord = %d", n, other), nil},
		{"delete from line where id = $1", []any{other}},
		{"insert into event values ($1, $2, 'new')", []any{h.next, time.Date(2022+r.IntN(4), 5, 1, 0, 0, 0, 0, time.UTC)}},
		{fmt.Sprintf("update event set at = at + 365 where id = %d", id), nil},
		{"delete from event_2023 where id = $1", []any{id}},
		{"update base set v = v + 1 where id = $1", []any{id}},
		{"update only base set v = v * 2", nil},
		{"insert into derived values ($1, 1, 'x')", []any{id}},
		{"update cheap set note = 'cheap' where id = $1", []any{other}},
		{fmt.Sprintf("insert into entry values (%d, %d)", id+1, n), nil},
		{"insert into favourite values ($1, $2)", []any{h.next, id}},
		{"with d as (delete from orders where id = $1 returning customer) update customer set balance = -1 from d where customer.id = d.customer", []any{other}},
		{"merge into tally t using (select $1::int as id) s on t.id = s.id when matched then update set n = t.n + 1 when not matched then insert values (s.id, 0)", []any{id}},
		{"insert into orders select 5000 + o.id, o.customer, o.total, o.note from orders o where o.id = $1 on conflict do nothing", []any{other}},
	}
	if r.IntN(12) == 0 {
		writes = []historyWrite{
			{"truncate favourite", nil},
			{"truncate line", nil},
			{"truncate only base", nil},
			{"truncate orders cascade", nil},
			{"truncate event_2024", nil},
			{"truncate audit restart identity", nil},
		}
	}
	return writes[r.IntN(len(writes))]
}

// someReturning returns a statement that writes and gives rows.
func (h *history) someReturning() historyWrite {
	r := h.r
	id, n := 1+r.IntN(8), r.IntN(100)
	h.next++
	writes := []historyWrite{
		{"update customer set name = name || '!' where id = $1 returning id, name", []any{id}},
		{"insert into orders values ($1, $2, $3, 'r') returning *", []any{h.next, id, n}},
		{"with u as (update orders set total = total + 1 where customer = $1 returning id) select count(*) from u", []any{id}},
		{fmt.Sprintf("with i as (insert into base values (%d, %d) returning v) select v from i union all select 0 order by 1", id, n), nil},
		{"delete from line where ord = $1 returning id, qty", []any{id}},
	}
	if h.shape.volatile {
		writes = append(
			writes,
			historyWrite{"select rename($1, $2)", []any{id, fmt.Sprint("f", n)}},
			historyWrite{fmt.Sprintf("select rename(%d, 'f%d')", id, n), nil},
			historyWrite{fmt.Sprintf("select rename_more(%d)", id), nil},
			historyWrite{"select id, rename(id, 'all') from orders where id < 3 order by id", nil},
			historyWrite{"select calm()", nil},
		)
	}
	return writes[r.IntN(len(writes))]
}

// someOdd returns a text that is more than one statement on rows.
func (h *history) someOdd() historyWrite {
	r := h.r
	id, n := 1+r.IntN(8), r.IntN(100)
	odd := []string{
		fmt.Sprintf("update customer set name = 'm%d' where id = 1; update orders set note = 'm%d' where id = 2", n, n),
		fmt.Sprintf("begin; update customer set name = 'b%d' where id = %d; commit", n, id),
		fmt.Sprintf("update tally set n = %d where id = 1; select 1 / 0", n),
		fmt.Sprintf("begin; update tally set n = %d where id = 1; commit; select 1 / 0", n),
		fmt.Sprintf("do $$ begin update customer set name = 'd%d' where id = %d; end $$", n, id),
		"alter table customer add column bonus int default 3",
		"alter table customer drop column if exists bonus",
		"create index if not exists orders_note on orders (note)",
		"drop index if exists orders_note",
		"create or replace view lately as select id, total from orders where id > 20",
		"drop view if exists lately",
		"create view lately as select id, name from customer",
		"refresh materialized view frozen",
		fmt.Sprintf("create or replace function double(int) returns int immutable language sql as $$ select $1 * %d $$", 2+n),
		"alter type mood rename value 'ok' to 'fine'",
		"alter type mood rename value 'fine' to 'ok'",
		"alter table event detach partition event_2024",
		"alter table event attach partition event_2024 for values from ('2024-01-01') to ('2025-01-01')",
		fmt.Sprintf("create table if not exists copy%d as select * from orders", id),
		"alter table favourite disable rule twice",
		"alter table orders disable trigger note",
		"alter table orders enable trigger note",
		"alter table audit rename to audit_old",
		"alter table audit_old rename to audit",
	}
	if h.shape.volatile {
		odd = append(odd, fmt.Sprintf("call settle(%d)", id), fmt.Sprintf("explain analyze update customer set name = 'e%d' where id = %d", n, id))
	}
	return historyWrite{odd[r.IntN(len(odd))], nil}
}

// historySettings are changes of a session, which belong to one connection.
var historySettings = []string{
	"set search_path = alt, public", "reset search_path", "set TimeZone = 'Asia/Tokyo'", "set time zone 'America/New_York'",
	"reset timezone", "set DateStyle = 'SQL, DMY'", "reset datestyle", "select set_config('search_path', 'alt,public', false)",
	"select set_config('TimeZone', 'UTC', false)", "set intervalstyle = 'iso_8601'", "set extra_float_digits = 0", "reset all", "discard plans",
	"set bytea_output = 'escape'", "set session characteristics as transaction isolation level read committed",
}

// step does one thing to both sides.
func (h *history) step() {
	busy := h.plain.tx != nil || h.plain.conn != nil
	switch n := h.r.IntN(100); {
	case busy && n < 30:
		h.endSomething()
	case n < 8 && h.plain.tx == nil && (!h.shape.single || !busy):
		h.both("BeginTx", func(s *side) string { return s.begin() })
	case n < 13 && h.plain.conn == nil && (!h.shape.single || !busy):
		h.both("Conn", func(s *side) string { return s.pin() })
	case n < 62:
		w := h.someWrite()
		h.exec(w.text, w.args)
	case n < 76:
		w, by, prepared := h.someReturning(), h.anywhere(), h.r.IntN(4) == 0
		h.both(fmt.Sprintf("query by %d: %s %v", by, w.text, w.args), func(s *side) string { return s.read(by, prepared, w.text, w.args) })
	case n < 84:
		h.exec(h.someOdd().text, nil)
	case n < 90:
		h.load()
	case n < 96 && h.shape.single:
		h.exec(historySettings[h.r.IntN(len(historySettings))], nil)
	case h.plain.tx != nil || h.plain.hand:
		h.inTransaction()
	default:
		w := h.someWrite()
		h.exec(w.text, w.args)
	}
}

func (h *history) exec(text string, args []any) {
	by := h.anywhere()
	prepared := len(args) > 0 && h.r.IntN(4) == 0
	h.both(fmt.Sprintf("exec by %d: %s %v", by, text, args), func(s *side) string { return s.exec(by, prepared, text, args) })
}

func (s *side) begin() (err string) {
	tx, e := s.db.BeginTx(context.Background(), nil)
	s.tx = tx
	return fmt.Sprint(e)
}

func (s *side) pin() string {
	conn, err := s.db.Conn(context.Background())
	s.conn = conn
	return fmt.Sprint(err)
}

// inTransaction is for what only makes sense there.
func (h *history) inTransaction() {
	by := throughConn
	if h.plain.tx != nil {
		by = throughTx
	}
	text := []string{"savepoint a", "rollback to a", "release a", "set local search_path = alt", "set constraints all immediate", "set local timezone = 'UTC'"}[h.r.IntN(6)]
	h.both(fmt.Sprintf("exec by %d: %s", by, text), func(s *side) string { return s.exec(by, false, text, nil) })
}

// endSomething ends the transaction, or goes on with the pinned connection.
func (h *history) endSomething() {
	commit := h.r.IntN(3) > 0
	if h.plain.tx != nil && (h.plain.conn == nil || h.r.IntN(2) == 0) {
		h.both(fmt.Sprint("end of the transaction: commit ", commit), func(s *side) string {
			tx := s.tx
			s.tx = nil
			if commit {
				return failureOrNil(tx.Commit())
			}
			return failureOrNil(tx.Rollback())
		})
		return
	}
	switch {
	case h.plain.hand:
		text := []string{"commit", "end", "rollback", "commit and chain", "rollback and chain", "commit; begin", "abort"}[h.r.IntN(7)]
		h.both("by hand: "+text, func(s *side) string {
			s.hand = text == "commit and chain" || text == "rollback and chain" || text == "commit; begin"
			return s.exec(throughConn, false, text, nil)
		})
	case h.r.IntN(2) == 0:
		text := []string{"begin", "start transaction", "begin isolation level repeatable read"}[h.r.IntN(3)]
		h.both("by hand: "+text, func(s *side) string { s.hand = true; return s.exec(throughConn, false, text, nil) })
	default:
		h.both("end of the Conn", func(s *side) string {
			conn := s.conn
			s.conn = nil
			return failureOrNil(conn.Close())
		})
	}
}

func failureOrNil(err error) string {
	if err != nil {
		return failure(err)
	}
	return "ok"
}

type historyBase struct{ ID, V int }

// load brings rows in by COPY, in each of its ways.
func (h *history) load() {
	h.next++
	rows := []historyBase{{h.r.IntN(8), h.next}, {h.r.IntN(8), h.r.IntN(50)}}
	by, how := h.anywhere(), h.r.IntN(3)
	if by == throughTx && how == 0 || how == 0 && by == throughConn {
		how = 1
	}
	h.both(fmt.Sprintf("load %d by %d: %v", how, by, rows), func(s *side) string {
		return failureOrNil(s.load(by, how, rows, s == h.cached))
	})
}

func (s *side) load(by through, how int, rows []historyBase, cached bool) error {
	ctx := context.Background()
	switch {
	case how == 2 && s.conn != nil && by == throughConn:
		return s.conn.Raw(func(driverConn any) error {
			pg := driverConn.(interface{ Conn() *pgx.Conn }).Conn() //nolint:errcheck,forcetypeassert // a test may panic
			_, err := pg.CopyFrom(ctx, pgx.Identifier{"base"}, []string{"id", "v"}, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
				return []any{rows[i].ID, rows[i].V}, nil
			}))
			return err
		})
	case cached && how == 0:
		_, err := lifeguard.InsertMany(ctx, s.db, "base", slices.Values(rows), lifeguard.BatchConfig{})
		return err
	case cached && how == 1 && by != throughConn:
		_, err := lifeguard.CopyInto(ctx, s.session(by), "base", slices.Values(rows))
		return err
	}
	_, err := s.session(by).ExecContext(ctx, "insert into base values ($1, $2), ($3, $4)", rows[0].ID, rows[0].V, rows[1].ID, rows[1].V)
	return err
}
