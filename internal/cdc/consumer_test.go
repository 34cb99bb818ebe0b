package cdc

import (
	"strings"
	"testing"
	"time"
)

const shop = `
create table item (id int primary key, name text);
create table parent (id int primary key);
create table child (id int primary key, parent int references parent on delete cascade);
create table audit (id serial primary key, what text);
create function note() returns trigger language plpgsql as 'begin insert into audit (what) values (tg_op); return null; end';
create trigger note after insert or update or delete on item for each statement execute function note();
create table bare (id int);
create unlogged table quick (id int primary key);
create table part (id int, day int, primary key (id, day)) partition by range (day);
create table part_1 partition of part for values from (0) to (10);
create table part_2 partition of part for values from (10) to (20);
insert into item select i, 'item' from generate_series(1, 10) i;
insert into parent select i from generate_series(1, 10) i;
insert into child select i, i from generate_series(1, 10) i;
insert into part select i, i from generate_series(1, 15) i;
`

func TestEverybodysWritesAreTold(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	for _, c := range []struct{ sql, want string }{
		{"insert into parent values (100)", "parent "},
		{"update parent set id = 101 where id = 100", "parent "},
		{"delete from parent where id = 1", "parent child "},
		{"delete from parent where id = 1000", ""},
		{"insert into item values (11, 'x')", "item audit "},
		{"truncate child", "child "},
		{"truncate parent cascade", "parent child "},
		{"copy (select 1) to stdout", ""},
		{"insert into part values (1, 5)", "part "},
		{"update part set day = 15 where id = 5", "part "},
		{"truncate part_1", "part "},
		{"truncate part", "part "},
		{"begin; insert into parent values (200); rollback", ""},
		{"begin; insert into parent values (201); savepoint a; insert into child values (201, 201); rollback to a; commit", "parent "},
		{"set session_replication_role = replica; insert into child values (7, 7); reset session_replication_role", "child "},
		{"do $$ begin insert into parent values (300); commit; insert into child values (300, 300); end $$", "parent child "},
		{"begin; insert into parent values (400); prepare transaction 'one'", ""},
	} {
		if strings.Contains(c.sql, "prepare transaction") {
			continue // max_prepared_transactions is 0 here
		}
		if got := l.bumps(c.sql, "item", "parent", "child", "audit", "part"); got != c.want {
			t.Errorf("%s: told of %q, not of %q", c.sql, got, c.want)
		}
	}
	l.confirmed()
	before := l.version(l.oid("parent"))
	if _, err := l.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("500\n501\n"), "copy parent from stdin"); err != nil {
		t.Fatal(err)
	}
	l.confirmed()
	if l.version(l.oid("parent")) == before {
		t.Error("COPY is not told")
	}
}

func TestOnlyWhatIsPublishedIsCovered(t *testing.T) {
	t.Parallel()
	l := listen(t, shop+`create view seen as select * from item; create materialized view kept as select * from bare;
		create table inherits_bare () inherits (bare); alter table inherits_bare add primary key (id)`)
	l.ready()
	for table, want := range map[string]bool{
		"item": true, "part": true, "seen": true, "kept": true, "audit": true,
		"bare": false, "quick": false,
	} {
		if got := l.Covers([]Relation{l.oid(table)}); got != want {
			t.Errorf("%s: covered %v, not %v", table, got, want)
		}
	}
	if l.Covers([]Relation{l.oid("item"), l.oid("bare")}) {
		t.Error("one that is not is enough")
	}
	l.exec("insert into bare values (1); update bare set id = 2; delete from bare") // an UPDATE must not fail
}

func TestNewTablesAreTakenUp(t *testing.T) {
	t.Parallel()
	l := listen(t, shop+InstallSQL)
	l.ready()
	if !l.Stats().Announced {
		t.Error("the event trigger is not noticed")
	}
	l.exec("create table later (id int primary key); insert into later values (1)")
	eventually(t, "it is published and covered", func() bool { return l.Covers([]Relation{l.oid("later")}) })
	l.ready()
	if got := l.bumps("update later set id = 2", "later", "item"); got != "later " {
		t.Errorf("told of %q", got)
	}
	l.exec("create table part_3 partition of part for values from (20) to (30)")
	l.ready()
	if got := l.bumps("insert into part values (21, 21)", "later", "part"); !strings.Contains(got, "part ") {
		t.Errorf("told of %q", got)
	}
	l.exec("alter table later drop constraint later_pkey")
	eventually(t, "it is not covered any more", func() bool { return !l.Covers([]Relation{l.oid("later")}) })
	l.exec("update later set id = 3") // and does not fail
}

func TestNothingIsServedWhileConfirmationsAreOlderThanTheBound(t *testing.T) {
	t.Parallel()
	l := listen(t, shop, func(c *Config) { c.Bound = 200 * time.Millisecond })
	l.ready()
	// The beats stand still, the rest goes on.
	l.exec("select pg_advisory_lock(1)")
	var pid int
	if err := l.conn.QueryRow(t.Context(), `select pid from pg_stat_activity where datname = current_database()
		and application_name = 'cdc' and backend_type = 'client backend'`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	resume := stopProcess(t, pid)
	eventually(t, "it serves nothing", func() bool { return !l.serves() })
	if l.Serves(l.cfg.Now()) {
		t.Error("it serves again without a confirmation")
	}
	resume()
	l.ready()
}

func TestCloseLeavesNoSlot(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	if n := slots(t, l.conn); n != 1 {
		t.Errorf("%d slots", n)
	}
	l.Close()
	if l.serves() {
		t.Error("it serves after Close")
	}
	eventually(t, "the slot is gone", func() bool { return slots(t, l.conn) == 0 })
}
