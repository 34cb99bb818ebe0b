package lifeguard_test

import (
	"database/sql"
	"testing"
)

func TestBytesThatAreHandedOutMayBeChanged(t *testing.T) {
	c := openCached(t, cacheSchema+`create table blob (b bytea, s text); insert into blob values ('\x010203', 'abc');`)
	const q = "select b, s from blob"
	c.warm(q)
	rows, err := c.QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	var b, s sql.RawBytes
	if err := rows.Scan(&b, &s); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 9
	}
	for i := range s {
		s[i] = 'z'
	}
	_ = rows.Close()
	c.same("after", q)
	c.same("after", q)
}

func TestATemporaryTableOfSELECTINTOHidesWhatWasKept(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=1")
	c.SetMaxOpenConns(1)
	c.warm(allItems)
	c.read("select 1 as id, 'temp'::text as name into temp item")
	if got := c.read(allItems); got != "1|temp|\n" {
		t.Errorf("%q", got)
	}
	c.read("select 1")
	mustExec(t, c, "discard temp")
	c.same("after", allItems)
}

func TestADeferredTriggerIsPartOfItsTransaction(t *testing.T) {
	c := openCached(t, cacheSchema+`create function touch() returns trigger language plpgsql as $$ begin update item set name = name || '+' where id = 9; return new; end $$;
		create constraint trigger touch after insert on other deferrable initially deferred for each row execute function touch()`)
	for i := range 4 {
		c.warm(allItems)
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, "insert into other values ($1, 'x')", 500+i)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		c.same("after", allItems)
	}
}

// hiddenSettings are ways to change a setting of which no word of the text tells.
var hiddenSettings = []struct{ name, schema, text string }{
	{"a STABLE function", "create function tz() returns text stable language sql as $$ select set_config('TimeZone', 'Asia/Tokyo', false) $$", "select tz()"},
	{"a function of STABLE ones", `create function one() returns text stable language plpgsql as $$ begin return set_config('TimeZone', 'Asia/Tokyo', false); end $$;
		create function tz() returns text immutable language sql as $$ select one() $$`, "select tz()"},
	{"BEGIN ATOMIC", "create function tz() returns text stable language sql begin atomic select set_config('TimeZone', 'Asia/Tokyo', false); end", "select tz()"},
	{"a view", "create view tz as select set_config('TimeZone', 'Asia/Tokyo', false)", "select * from tz"},
	{"a trigger", `create function tz() returns trigger language plpgsql as $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); return new; end $$;
		create trigger tz before update on other for each row execute function tz()`, "update other set name = 'x' where id = 1"},
}

func TestASettingThatIsChangedInHidingBelongsToTheQuestion(t *testing.T) {
	const moment = "create table moment (at timestamptz); insert into moment values ('2024-01-01 00:00+00');"
	const query = "select at::text from moment"
	for _, w := range hiddenSettings {
		t.Run(w.name, func(t *testing.T) {
			c := openCached(t, cacheSchema+moment+w.schema, "pool_max_conns=1")
			c.SetMaxOpenConns(1)
			c.warm(query)
			before := c.read(query)
			c.read(w.text)
			if after := c.read(query); after == before {
				t.Errorf("still %q", after)
			}
		})
	}
}

func TestATriggersSettingOutlivesItsTransaction(t *testing.T) {
	c := openCached(t, cacheSchema+"create table moment (at timestamptz); insert into moment values ('2024-01-01 00:00+00');"+hiddenSettings[4].schema, "pool_max_conns=1")
	c.SetMaxOpenConns(1)
	const query = "select at::text from moment"
	c.warm(query)
	before := c.read(query)
	tx, err := c.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, "update other set name = 'y' where id = 1")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if after := c.read(query); after == before {
		t.Errorf("still %q", after)
	}
}

func TestACastByTextMayReadTheClock(t *testing.T) {
	c := openCached(t, `create table noted (day date, said varchar); insert into noted values (current_date, 'today');
		create cast (varchar as date) with inout as implicit`)
	const query = "select count(*) from noted where day = said"
	for range 5 {
		c.read(query)
	}
	x, err := c.names.ExplainCache(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	if x.Cacheable || x.Reason != "cast" {
		t.Errorf("%v", x)
	}
}
