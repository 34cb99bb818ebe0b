package lifeguard_test

import (
	"testing"

	"github.com/lifeguard-go/lifeguard"
)

// What changes a setting by ways that no word shows is met here for the first time, most of
// it in a transaction, where the server cannot be asked about it.
func TestASettingThatIsChangedUnseenBelongsToTheQuestion(t *testing.T) {
	const moment = "create table moment (at timestamptz); insert into moment values ('2024-01-01 00:00+00');"
	const query = "select at::text from moment"
	for _, w := range []struct {
		name, schema string
		texts        []string
		noTx         bool
	}{
		{"DO", "", []string{"do $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); end $$"}, false},
		{"view", "create view tz as select set_config('TimeZone', 'Asia/Tokyo', false)", []string{"select * from tz"}, false},
		{"default", "create table d (n int, x text default set_config('TimeZone', 'Asia/Tokyo', false))", []string{"insert into d (n) values (1)"}, false},
		{"check", "create table d (n int, check (set_config('TimeZone', 'Asia/Tokyo', false) <> ''))", []string{"insert into d (n) values (1)"}, false},
		{"when", "create table d (n int); create function nop() returns trigger language plpgsql as $$ begin return new; end $$; create trigger t before insert on d for each row when (set_config('TimeZone', 'Asia/Tokyo', false) <> '') execute function nop()", []string{"insert into d (n) values (1)"}, false},
		{"rule", "create table d (n int); create rule r as on insert to d do also select set_config('TimeZone', 'Asia/Tokyo', false)", []string{"insert into d (n) values (1)"}, false},
		{"policy", "create table d (n int); insert into d values (1); alter table d enable row level security; alter table d force row level security; create policy p on d using (set_config('TimeZone', 'Asia/Tokyo', false) <> '')", []string{"set local role pg_read_all_data", "select * from d", "reset role"}, false},
		{"domain", "create domain dom as int check (set_config('TimeZone', 'Asia/Tokyo', false) <> ''); create table d (n dom)", []string{"insert into d (n) values (1)"}, false},
		{"f pg_settings", "create function f() returns int language plpgsql as $$ begin update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'; return 1; end $$", []string{"select f()"}, false},
		{"f pg_settings no tx", "create function f() returns int language plpgsql as $$ begin update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'; return 1; end $$", []string{"select f()"}, true},
		{"pg_settings no tx", "", []string{"update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'"}, true},
		{"DO no tx", "", []string{"do $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); end $$"}, true},
		{"pg_settings", "", []string{"update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'"}, false},
		{"EXECUTE in tx", "", []string{"prepare p as select set_config('TimeZone', 'Asia/Tokyo', false)", "execute p"}, false},
		{"EXECUTE", "", []string{"prepare p as select set_config('TimeZone', 'Asia/Tokyo', false)", "select 1", query, query, "execute p"}, true},
		{"cursor", "", []string{"declare c cursor for select set_config('TimeZone', 'Asia/Tokyo', false)", "fetch c"}, false},
		{"held cursor", "", []string{"declare c cursor with hold for select set_config('TimeZone', 'Asia/Tokyo', false)"}, false},
		{"explain", "", []string{`explain ("analyze") select set_config('TimeZone', 'Asia/Tokyo', false)`}, false},
		{"copy", "", []string{`copy (select set_config('TimeZone', 'Asia/Tokyo', false)) to '/dev/null'`}, false},
		{"explain execute", "", []string{"prepare p as select set_config('TimeZone', 'Asia/Tokyo', false)", "select 1", "explain analyze execute p"}, true},
	} {
		t.Run(w.name, func(t *testing.T) {
			c := openCached(t, cacheSchema+moment+w.schema, "pool_max_conns=1")
			c.SetMaxOpenConns(1)
			c.warm(query)
			before := c.read(query)
			run := func(x rowQuerier) {
				for _, text := range w.texts {
					if _, err := readAll(t.Context(), x, text); err != nil {
						t.Log(text, err)
					}
				}
			}
			if w.noTx {
				run(c.DB)
			} else {
				tx, err := c.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				run(tx)
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			c.read(query)
			after := c.read(query)
			truth, err := readAll(lifeguard.WithCache(t.Context(), lifeguard.NoCache), c.DB, query)
			if err != nil {
				t.Fatal(err)
			}
			if after != truth {
				t.Errorf("memory %q, server %q, before %q", after, truth, before)
			}
			for range 3 {
				c.read(query)
			}
			mustExec(t, c, "reset timezone")
			for range 3 {
				if again := c.read(query); again != before {
					t.Errorf("after RESET %q, before %q", again, before)
					break
				}
			}
		})
	}
}
