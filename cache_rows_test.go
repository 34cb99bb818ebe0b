package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

//nolint:dupword // i, i
const rowSchema = `
	create table item (id int primary key, name text not null, n int not null default 0);
	create table big (id bigint primary key, n int not null);
	create table doc (id uuid primary key, name text not null);
	create table word (id text primary key, n int not null);
	create table short (id varchar(4) primary key, n int not null);
	create table loose (id varchar primary key, n int not null);
	create table padded (id char(6) primary key, n int not null);
	create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	create table folded (id text collate ci primary key, n int not null);
	create domain small as int check (value < 1000);
	create table limited (id small primary key, n int not null);
	create table pair (a int, b int, n int not null, primary key (a, b));
	create table bare (id int, n int not null);
	create table tree (id int primary key, up int references tree on delete cascade, n int not null default 0);
	create table parent (id int primary key, n int not null);
	create table child (id int primary key, up int references parent on delete cascade on update cascade, n int not null);
	create table part (id int primary key, n int not null) partition by range (id);
	create table part_1 partition of part for values from (0) to (50);
	create table part_2 partition of part for values from (50) to (1000);
	create table base (id int primary key, n int not null);
	create table derived () inherits (base);
	create table moving (id int primary key, n int not null);
	create function move() returns trigger language plpgsql as 'begin new.id := new.id + 1; return new; end';
	create trigger move before insert on moving for each row execute function move();
	create table ruled (id int primary key, n int not null);
	create rule twist as on update to ruled do instead update ruled set n = new.n where id = old.id + 1;
	create view seen as select * from item;
	create table made (a int, id int generated always as (a * 2) stored primary key, n int not null);
	create table "Odd" ("Id" int primary key, "user" text, n int not null);
	create table who ("user" text primary key, n int not null);

	insert into item select i, 'item ' || i from generate_series(1, 40) i;
	insert into big select i, 0 from generate_series(1, 40) i;
	insert into doc select ('00000000-0000-0000-0000-0000000000' || lpad(to_hex(i), 2, '0'))::uuid, 'doc ' || i from generate_series(1, 40) i;
	insert into word select 'w' || i, 0 from generate_series(1, 40) i;
	insert into short select 'w' || i, 0 from generate_series(1, 40) i;
	insert into loose select 'w' || i, 0 from generate_series(1, 40) i;
	insert into padded select 'w' || i, 0 from generate_series(1, 40) i;
	insert into folded select 'w' || i, 0 from generate_series(1, 40) i;
	insert into limited select i, 0 from generate_series(1, 40) i;
	insert into pair select i, i, 0 from generate_series(1, 40) i;
	insert into bare select i / 2, 0 from generate_series(1, 40) i;
	insert into tree select i, nullif(i / 2, 0) from generate_series(1, 40) i;
	insert into parent select i, 0 from generate_series(1, 40) i;
	insert into child select i, i, 0 from generate_series(1, 40) i;
	insert into part select i, 0 from generate_series(1, 90) i;
	insert into base select i, 0 from generate_series(1, 20) i;
	insert into derived select i, 0 from generate_series(21, 40) i;
	insert into moving select i, 0 from generate_series(1, 40, 2) i;
	insert into ruled select i, 0 from generate_series(1, 40) i;
	insert into made (a, n) select i, 0 from generate_series(1, 40) i;
	insert into "Odd" select i, 'u' || i, 0 from generate_series(1, 40) i;
	insert into who select 'u' || i, 0 from generate_series(1, 40) i;
	insert into who values (current_user, 0);`

// rowText is a statement with the arguments for a row.
type rowText struct {
	text string
	args func(n int) []any
	one  bool // it is about one row, by its key
}

func ints(n int) []any { return []any{n} }

func int64s(n int) []any { return []any{int64(n)} }

func uuids(n int) []any { return []any{fmt.Sprintf("00000000-0000-0000-0000-0000000000%02X", n)} }

func words(n int) []any { return []any{fmt.Sprint("w", n)} }

func nothing(int) []any { return nil }

func two(n int) []any { return []any{n, n} }

var rowReads = []rowText{
	{"select id, name, n from item where id = $1", ints, true},
	{"select name from public.item as i where i.id = $1 and name <> 'x' limit 1", int64s, true},
	{"select name from item where (n >= 0 and (item.id = $1)) order by name", ints, true},
	{"select count(*), max(n) from item where id = $1 and (n = 0 or n > 0)", ints, true},
	{"select id, name, n from item where id = 7", nothing, true},
	{`SELECT "item"."id", "item"."name", "item"."n" FROM "item" WHERE "item"."id" = $1 AND "item"."name" IS NOT NULL ORDER BY "item"."id" LIMIT 1`, ints, true},
	{"select n from big where id = $1", int64s, true},
	{"select name from doc where id = $1", uuids, true},
	{"select name from doc where id = $1", func(n int) []any { return []any{strings.ToLower(uuids(n)[0].(string))} }, true}, //nolint:errcheck,forcetypeassert // above
	{"select n from word where id = $1", words, true},
	{"select n from loose where id = $1", words, true},
	{"select n from short where id = $1", words, true},
	{`select n from "Odd" where "Id" = $1`, ints, true},
	{`select n from who where "user" = $1`, func(n int) []any { return []any{fmt.Sprint("u", n)} }, true},
	// Of the table, for one reason or another.
	{"select count(*), sum(n) from item", nothing, false},
	{"select id, n from item where id >= $1 order by id", ints, false},
	{"select id, n from item where id = $1 or n = 3 order by id", ints, false},
	{"select sum(n) from item where id = $1 and n >= 0 or id > 5", ints, false},
	{"select id, n from item where not id = $1 order by id", ints, false},
	{"select id, n from item where id = $1 is false order by id", ints, false},
	{"select id, n from item where (id = $1) = false order by id", ints, false},
	{"select count(*) from item where n between 0 and id and id = $1 or true", ints, false},
	{"select count(*) from item where case when n = 0 and id = $1 and true then true else true end", ints, false},
	{"select (select sum(n) from item), n from item where id = $1", ints, false},
	{"select a.n, b.n from item a join item b on b.id = a.id + 1 where a.id = $1", ints, false},
	{"select sum(b.n) from item a, item b where a.id = $1", ints, false},
	{"select n from item where id = $1 union all select sum(n)::int from item", ints, false},
	{"select id, n from seen where id = $1", ints, false},
	{"select n from item where id = any (array[$1::int, 3])", ints, false},
	{"select a from item as i (a, b, id) where id = $1 order by a", func(n int) []any { return []any{n % 3} }, false},
	{"select n from padded where id = $1", words, false},
	{"select n from folded where id = $1", words, false},
	{"select n from limited where id = $1", ints, false},
	{"select n from pair where a = $1", ints, false},
	{"select n from bare where id = $1", ints, false},
	{"select n from part where id = $1", ints, false},
	{"select n from part_1 where id = $1", ints, false},
	{"select n from base where id = $1", ints, false},
	{"select n from made where id = $1", ints, false},
	{"select sum(n) from item where id = $1::numeric", ints, false},
	// Whose writes are of the table.
	{"select * from tree where id = $1", ints, true},
	{"select n from parent where id = $1", ints, true},
	{"select n from child where id = $1", ints, true},
	{"select n from moving where id = $1", ints, true},
	{"select n from ruled where id = $1", ints, true},
}

var rowWrites = []rowText{
	{"update item set n = n + 1 where id = $1", ints, true},
	{"update only public.item as i set n = n + 1, name = i.name || 'x' where i.id = $1 returning n", int64s, true},
	{`UPDATE "item" SET "name"='y',"n"="n"+1 WHERE "item"."id" = $1 AND "n" >= 0`, ints, true},
	{"update item set (name, n) = ('z', n + 1) where (id = $1)", ints, true},
	{"update item set n = n + 1 where id = 7", nothing, true},
	{"delete from item where id = $1", ints, true},
	{"insert into item (id, name) values ($1, 'again')", ints, true},
	{"insert into item (name, id, n) values ('again', $1, 5) returning id", ints, true},
	{"update big set n = n + 1 where id = $1", ints, true},
	{"update doc set name = name || 'x' where id = $1", uuids, true},
	{"update doc set name = name || 'y' where id = $1", func(n int) []any { return []any{"{" + uuids(n)[0].(string) + "}"} }, false}, //nolint:errcheck,forcetypeassert // above
	{"update word set n = n + 1 where id = $1", words, true},
	{"insert into word (id, n) values ($1, 1)", words, true},
	{"delete from word where id = $1", words, true},
	{"update loose set n = n + 1 where id = $1", words, true},
	{"update short set n = n + 1 where id = $1", words, true},
	{"delete from short where id = $1", words, true},
	{`update "Odd" set n = n + 1 where "Id" = $1`, ints, true},
	// Of the table.
	{"update item set id = id + 100, n = n + 1 where id = $1 and id < 100", ints, false},
	{"update item set (n, id) = (n, $1) where id = $2 and id < 0", two, false},
	{"update item set n = n + 1 where id = $1 or id = 3", ints, false},
	{"update item set n = n + 1 where id = $1 and n >= 0 or id < 10", ints, false},
	{"update item set n = n + 1 where id >= $1", ints, false},
	{"update item set n = n + 1 where id = $1::numeric", ints, false},
	{"update item set n = item.n + 1 from big where item.id = $1 and big.id = 1", ints, false},
	{"with x as (update item set n = n + 1 where id <> $1 returning 1) update item set n = n + 5 where id = $1", ints, false},
	{"insert into item (id, name) values ($1, 'a'), ($1 + 200, 'b') on conflict do nothing", ints, false},
	{"insert into item (id, name) values ($1, 'a') on conflict (id) do update set n = item.n + 1", ints, false},
	{"insert into item (id, name) values ($1 + 0, 'a')", ints, false},
	{"insert into item values ($1, 'a')", ints, false},
	{"insert into item (id, name) select $1::int + i, 'a' from generate_series(0, 2) i on conflict do nothing", ints, false},
	{"delete from item using big where item.id = $1 and big.id = 1", ints, false},
	{"update seen set n = n + 1 where id = $1", ints, false},
	{"insert into short (id, n) values ($1, 1)", func(n int) []any { return []any{fmt.Sprint("w", n, "    ")} }, false},
	{"update padded set n = n + 1 where id = $1", func(n int) []any { return []any{fmt.Sprint("w", n, " ")} }, false},
	{"update folded set n = n + 1 where id = $1", func(n int) []any { return []any{fmt.Sprint("W", n)} }, false},
	{"update limited set n = n + 1 where id = $1", ints, false},
	{"update pair set n = n + 1 where a = $1", ints, false},
	{"update bare set n = n + 1 where id = $1", ints, false},
	{"update part set n = n + 1 where id = $1", ints, false},
	{"update part_1 set n = n + 1 where id = $1", ints, false},
	{"update base set n = n + 1 where id = $1", ints, false},
	{"update made set a = a + 100 where id = $1 and a < 50", ints, false},
	{"delete from tree where id = $1", ints, false},
	{"update parent set id = id + 100, n = 1 where id = $1 and id < 100", ints, false},
	{"delete from parent where id = $1", ints, false},
	{"insert into moving (id, n) values ($1, 9)", ints, false},
	{"update ruled set n = n + 1 where id = $1", ints, false},
	{"update who set n = n + 1 where user = $1", func(int) []any { return []any{"nobody"} }, false},
	{"update who set n = n + 1 where current_user <> $1", func(int) []any { return []any{"nobody"} }, false},
	{"truncate bare", nothing, false},
	{"alter table item add column if not exists extra int", nothing, false},
}

// What a text is about is told as a person would expect it: of one row, or of the table.
func TestWhichTextsAreAboutOneRow(t *testing.T) {
	c := openCached(t, rowSchema)
	for _, texts := range [][]rowText{rowReads, rowWrites} {
		for _, x := range texts {
			if got := c.explain(x.text, x.args(1)...).Row != ""; got != x.one {
				t.Errorf("%s: one row: %t", x.text, got)
			}
		}
	}
}

// Each read is in memory, for some rows; each write is done, in some way; then each read that is
// in memory has to be what the server says.
func TestRowsAreTheSameWithAndWithoutTheCache(t *testing.T) {
	c := openCached(t, rowSchema)
	ctx := t.Context()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
	keys := []int{1, 2, 3, 7, 8, 12, 101, 102, 103, 107, 108, 112}
	for range 3 {
		for _, x := range rowReads {
			for _, n := range keys {
				c.read(x.text, x.args(n)...)
			}
		}
	}
	hits := c.stats().Hits
	for step, at := range append(r.Perm(len(rowWrites)), r.Perm(len(rowWrites))...) {
		x := rowWrites[at]
		c.writeSomehow(ctx, r, x)
		for _, read := range rowReads {
			n := keys[r.IntN(len(keys))]
			c.same(fmt.Sprintf("seed %d, step %d, after %s", seed, step, x.text), read.text, read.args(n)...)
		}
		for _, n := range keys {
			c.same(fmt.Sprintf("seed %d, step %d, after %s", seed, step, x.text), rowReads[0].text, n)
		}
		if t.Failed() {
			return
		}
	}
	if c.stats().Hits-hits < 100 {
		t.Errorf("%d hits: this tested nothing", c.stats().Hits-hits)
	}
}

// writeSomehow does a write by itself, in a transaction with another one, in one that is rolled
// back, or in a savepoint that is. Whether it succeeds does not matter.
func (c *cachedDB) writeSomehow(ctx context.Context, r *rand.Rand, x rowText) {
	n := []int{1, 2, 3, 7, 8, 12}[r.IntN(6)]
	way := r.IntN(6)
	if way < 2 {
		if way == 0 {
			_, _ = c.ExecContext(ctx, x.text, x.args(n)...)
			return
		}
		_, _ = readAll(ctx, c.DB, x.text, x.args(n)...)
		return
	}
	tx, err := c.BeginTx(ctx, &sql.TxOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer tx.Rollback()
	other := rowWrites[r.IntN(8)]
	switch way {
	case 2:
		_, _ = tx.ExecContext(ctx, "savepoint a")
		_, _ = tx.ExecContext(ctx, x.text, x.args(n)...)
		_, _ = tx.ExecContext(ctx, "rollback to savepoint a")
		_, _ = tx.ExecContext(ctx, other.text, other.args(n+1)...)
	case 3:
		_, _ = tx.ExecContext(ctx, x.text, x.args(n)...)
		return
	default:
		_, _ = tx.ExecContext(ctx, "savepoint a")
		if _, err := tx.ExecContext(ctx, other.text, other.args(n+1)...); err != nil {
			_, _ = tx.ExecContext(ctx, "rollback to savepoint a")
		}
		_, _ = tx.ExecContext(ctx, x.text, x.args(n)...)
	}
	_ = tx.Commit()
}

// What was read of a row survives writes of other rows, and of no row that nobody can name.
func TestARowsResultSurvivesWritesOfOtherRows(t *testing.T) {
	c := openCached(t, rowSchema)
	ctx := t.Context()
	one, all := "select n from item where id = $1", "select sum(n) from item"
	c.warm(one, 1)
	c.warm(one, 2)
	c.warm(all)
	for _, x := range []struct {
		text string
		args []any
	}{
		{"update item set n = n + 1 where id = $1", []any{3}},
		{"update item set n = n + 1 where id = $1", []any{int64(4)}},
		{"delete from item where id = 5", nil},
		{"insert into item (id, name) values ($1, 'new')", []any{5}},
	} {
		for range 2 { // the first of a text is analysed
			c.warm(all)
			_, err := c.ExecContext(ctx, x.text, x.args...)
			if err == nil && c.isWarm(all) {
				t.Errorf("after %s the table's result is still in memory", x.text)
			}
			c.same("after "+x.text, all)
			// Two of the keys may have one stripe, but hardly three.
			if first, second := c.survived(one, 1), c.survived(one, 2); !first && !second {
				t.Errorf("%s has made other rows invalid", x.text)
			}
		}
	}
	c.warm(one, 9)
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustDo(ctx, t, tx, "update item set n = n + 1 where id = $1", 2)
	mustDo(ctx, t, tx, "update item set n = n + 1 where id = $1", 6)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	c.same("after the transaction", one, 2)
	c.same("after the transaction", all)
	if first, second := c.survived(one, 1), c.survived(one, 9); !first && !second {
		t.Error("a transaction has made other rows invalid")
	}
	mustDo(ctx, t, c.DB, "update item set n = n + 1 where id > $1", 30)
	if c.isWarm(one, 1) {
		t.Error("a write of the table has left a row's result in memory")
	}
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func mustDo(ctx context.Context, t *testing.T, db execer, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(ctx, query, args...); err != nil {
		t.Fatal(err)
	}
}

// Arguments of which it is not plain what the server gets are about the table.
func TestAKeyThatIsNotPlainIsOfTheTable(t *testing.T) {
	c := openCached(t, rowSchema)
	ctx := t.Context()
	one, update := "select n from item where id = $1", "update item set n = n + 1 where id = $1"
	seven := 7
	for _, args := range [][]any{
		{"7"}, {&seven}, {sql.NullInt64{Int64: 7, Valid: true}}, {pgx.QueryExecModeSimpleProtocol, 7}, {pgx.QueryExecModeExec, "7"}, {uint8(7)}, {float64(7)},
	} {
		for range 2 {
			c.warm(one, 7)
			if _, err := c.ExecContext(ctx, update, args...); err != nil {
				t.Fatalf("%v: %v", args, err)
			}
			c.same(fmt.Sprintf("%T", args[0]), one, 7)
			c.same(fmt.Sprintf("%T", args[0]), "select sum(n) from item")
		}
	}
	for range 4 { // readers
		c.same("a text", one, "7")
		c.same("a pointer", one, &seven)
		mustDo(ctx, t, c.DB, update, 7)
	}
	st, err := c.PrepareContext(ctx, update)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for n := range 6 {
		c.warm(one, n+1)
		if _, err := st.ExecContext(ctx, n+1); err != nil {
			t.Fatal(err)
		}
		c.same("a statement", one, n+1)
	}
	named := "update item set n = n + 1 where id = @id"
	for range 3 {
		c.warm(one, 7)
		if _, err := c.ExecContext(ctx, named, pgx.NamedArgs{"id": 7}); err != nil {
			t.Fatal(err)
		}
		c.same("a name", one, 7)
	}
}

// A key that is another column from now on is not mixed up with the one that it was.
func TestAnotherPrimaryKeyBeginsAnew(t *testing.T) {
	c := openCached(t, `create table item (id int primary key, other int not null unique, n int not null);
		insert into item select i, i + 100, 0 from generate_series(1, 40) i`)
	ctx := t.Context()
	byID, byOther := "select n from item where id = $1", "select n from item where other = $1"
	for range 2 {
		for n := range 3 {
			c.warm(byID, n+1)
			c.warm(byOther, n+101)
			mustDo(ctx, t, c.DB, "update item set n = n + 1 where id = $1", n+1)
			c.same("by id", byID, n+1)
			c.same("by id", byOther, n+101)
			c.warm(byID, n+1)
			mustDo(ctx, t, c.DB, "update item set n = n + 1 where other = $1", n+101)
			c.same("by the other", byID, n+1)
			c.same("by the other", byOther, n+101)
		}
		mustDo(ctx, t, c.DB, "alter table item drop constraint item_pkey")
		mustDo(ctx, t, c.DB, "alter table item add primary key (other)")
	}
}
