package cdc

import (
	"fmt"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestFollowersHearOfEverythingThroughRedis(t *testing.T) {
	t.Parallel()
	r := relayedOver(t, shop+InstallSQL, 2) // DDL changes the versions of all tables, when it is heard of
	if n := slots(t, r.conn); n != 1 {
		t.Errorf("%d slots", n)
	}
	for i, f := range r.followers {
		n := fmt.Sprint(7000 + i)
		for _, change := range [][2]string{
			{"insert into item values (" + n + ")", "item "},
			{"update item set id = id where id = " + n, "item "},
			{"insert into parent values (" + n + ")", "parent "},
			{"truncate item", "item "},
			{"do $$ begin insert into item values (" + n + "); commit; delete from parent where id = " + n + "; end $$", "item parent "},
		} {
			sql, want := change[0], change[1]
			if got := f.bumps(sql, "item", "parent"); got != want {
				t.Errorf("%s: told of %q", sql, got)
			}
		}
	}
	for i, f := range r.followers {
		before := f.Stats().SchemaChanges
		f.exec("create table more_" + fmt.Sprint(i) + " (id int primary key)")
		eventually(t, "the catalog was looked at", func() bool {
			f.wake()
			f.serves()
			return f.Stats().SchemaChanges > before
		})
	}
}

// Nobody has to be told which processes there are: the slots are taken by who comes first.
func TestManyProcessesTakeFewSlots(t *testing.T) {
	t.Parallel()
	url := pgtest.Redis(t)
	l := listen(t, shop, relayed(url, 2))
	l.plays(Leader)
	roles := map[Role]int{}
	all := []*listener{l}
	for range 7 {
		all = append(all, l.process(relayed(url, 2)))
	}
	for _, one := range all {
		one.ready()
	}
	for _, one := range all {
		roles[one.Stats().Role]++
	}
	if roles[Leader] != 1 || roles[Direct] != 1 || roles[Follower] != 6 {
		t.Errorf("%v", roles)
	}
	var senders int
	err := l.conn.QueryRow(t.Context(), `select count(*) from pg_stat_replication r join pg_stat_activity a using (pid) where a.datname = current_database()`).Scan(&senders)
	if err != nil || senders != 2 || slots(t, l.conn) != 2 {
		t.Errorf("%d walsenders, %d slots, %v", senders, slots(t, l.conn), err)
	}
	before := make([][2]int, len(all))
	for i, one := range all {
		one.confirmed()
		before[i] = one.version(one.oid("item"))
	}
	l.exec("update item set id = id where id = 1")
	for i, one := range all {
		one.confirmed()
		if one.version(one.oid("item")) == before[i] {
			t.Errorf("the %d. was not told", i+1)
		}
	}
}

func TestAFollowersFillAtTheInstantOfTheEventIsNeverStale(t *testing.T) {
	t.Parallel()
	url := pgtest.Redis(t)
	l := listen(t, counter, relayed(url, 1))
	l.plays(Leader)
	f := l.process(relayed(url, 1))
	f.plays(Follower)
	refused, stale, n := newProbe(f).race(rounds(t, 400))
	t.Logf("%d rounds, %d fills refused, %d stale", n, refused, stale)
	if stale > 0 || refused == n {
		t.Errorf("%d of %d entries are stale, %d were refused", stale, n, refused)
	}
}

// A follower that cannot hear the relay serves nothing beyond the bound, and begins again when it can.
func TestASilentRelayServesNothingBeyondTheBound(t *testing.T) {
	t.Parallel()
	r := relayedListeners(t, 0, func(c *Config) { c.Bound = 300 * time.Millisecond })
	h := cable.New(t, redisurl.Where(r.url))
	f := r.process(relayed("redis://"+h.Addr(), 1), func(c *Config) { c.Bound = 300 * time.Millisecond })
	f.plays(Follower)
	table := f.oid("item")
	for round := range 2 {
		f.ready()
		f.confirmed()
		before := f.version(table)
		h.Set(cable.Held)
		f.exec("update item set id = id where id = 1")
		written := f.cfg.Now()
		worst := time.Duration(0)
		length := 4 * f.cfg.Bound
		if round > 0 {
			length = relaySilence + 2*relayWithin + time.Second // it gives up
		}
		for f.cfg.Now()-written < length {
			if now := f.cfg.Now(); f.Serves(now) {
				worst = max(worst, now-written)
			}
			<-time.After(time.Millisecond)
		}
		if worst > f.cfg.Bound {
			t.Errorf("it served what it had not heard of for %v; the bound is %v", worst, f.cfg.Bound)
		}
		if round == 0 && f.version(table) != before {
			t.Error("the relay was not silent: this shows nothing")
		}
		h.Set(cable.Intact)
		f.ready()
		if f.version(table) == before {
			t.Error("it serves, and has not told")
		}
	}
	if n := f.Stats().Ends[RelayDown] + f.Stats().Ends[RelaySilent]; n == 0 {
		t.Errorf("it never gave up: %v", f.Stats().Ends)
	}
	if r.Stats().Role != Leader || len(r.Stats().Ends) != 0 {
		t.Errorf("the leader has suffered: %+v", r.Stats())
	}
}
