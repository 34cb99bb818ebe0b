package cdc

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// shopDSN is of a new database with the schema shop.
func shopDSN(t testing.TB) string {
	t.Helper()
	dsn := pgtest.DSN(t)
	if _, err := connect(t, dsn).Exec(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func shortBound(c *Config) { c.Bound = 300 * time.Millisecond }

// writes changes a table that all of them serve, and fails if one of them serves without the
// change for longer than its bound. Then all of them have been told.
func writes(t *testing.T, sql string, table Relation, all ...*listener) {
	t.Helper()
	before := make([][2]int, len(all))
	for i, l := range all {
		before[i] = l.version(table)
	}
	all[0].exec(sql)
	written := all[0].cfg.Now() // they have one clock
	worst := make([]time.Duration, len(all))
	eventually(t, "all are told", func() bool {
		told := 0
		for i, l := range all {
			now := l.cfg.Now()
			serves := l.Serves(now)
			switch {
			case l.version(table) != before[i]:
				told++
			case serves:
				worst[i] = max(worst[i], now-written)
			}
		}
		return told == len(all)
	})
	for i, l := range all {
		if worst[i] > l.cfg.Bound {
			t.Errorf("the %d. served what it had not heard of for %v; the bound is %v", i+1, worst[i], l.cfg.Bound)
		}
	}
}

// A leader that is stopped, and not dead, keeps its slot and all its connections. Who has
// another slot leads in its place; when it goes on, it serves nothing of before, and nobody
// hears of it what it had still to say.
func TestALeaderThatIsStoppedIsReplaced(t *testing.T) {
	t.Parallel()
	url, dsn := pgtest.Redis(t), shopDSN(t)
	leader := startVictim(t, dsn, url, 2)
	table := oidOf(t, connect(t, dsn), "item")
	leader.plays(table, Leader) // before another can
	second := listenOn(t, dsn, "select 1", relayed(url, 2), shortBound)
	second.plays(Direct)
	f := second.process(relayed(url, 2), shortBound)
	f.plays(Follower)
	r := &relaying{listener: second, url: url, followers: []*listener{f}}
	leader.ask(table)
	_, before := leader.stands()
	second.confirmed()
	f.confirmed()
	resume := stopProcess(t, leader.cmd.Process.Pid)
	writes(t, "update item set id = id where id = 1", table, second, f)
	second.plays(Leader)
	f.plays(Follower)
	writes(t, "update item set id = id where id = 1", table, second, f)
	now, moved := r.head().epoch, f.Stats().Ends[RelayMoved]

	leader.ask(table) // it hears of that when it goes on, and may not have looked at the time yet
	resume()
	if _, after := leader.stands(); after == before {
		t.Error("it has gone on, and serves what it had before it was stopped")
	}
	leader.plays(table, Direct)
	if r.head().epoch != now || second.Stats().Role != Leader || f.Stats().Ends[RelayMoved] != moved {
		t.Errorf("it has taken the place of the %s; the follower has moved %d times", second.Stats().Role, f.Stats().Ends[RelayMoved])
	}
	writes(t, "update item set id = id where id = 1", table, second, f)
}

// A process that is stopped keeps its slot for as long as it is. With one slot there is nobody
// to lead in its place: so nobody serves, until it goes on.
func TestTheOnlySlotIsOfAProcessThatIsStopped(t *testing.T) {
	t.Parallel()
	url, dsn := pgtest.Redis(t), shopDSN(t)
	leader := startVictim(t, dsn, url, 1)
	f := listenOn(t, dsn, "select 1", relayed(url, 1), shortBound)
	f.plays(Follower)
	table := f.oid("item")
	f.confirmed()
	resume := stopProcess(t, leader.cmd.Process.Pid)
	writes(t, "update item set id = id where id = 1", table, f)
	f.ended(RelaySilent)
	if f.serves() || slots(t, f.conn) != 1 {
		t.Errorf("with %d slots it serves: %v", slots(t, f.conn), f.serves())
	}
	resume()
	f.plays(Follower)
	f.confirmed()
	writes(t, "update item set id = id where id = 1", table, f)
}

func TestAllProcessesThatHaveASlotDieAtOnce(t *testing.T) {
	t.Parallel()
	url, dsn := pgtest.Redis(t), shopDSN(t)
	leader, direct := startVictim(t, dsn, url, 2), startVictim(t, dsn, url, 2)
	a := listenOn(t, dsn, "select 1", relayed(url, 2), shortBound)
	a.plays(Follower)
	all := []*listener{a}
	for range 2 {
		f := a.process(relayed(url, 2), shortBound)
		f.plays(Follower)
		all = append(all, f)
	}
	table := a.oid("item")
	for _, f := range all {
		f.confirmed()
	}
	for _, c := range []*child{leader, direct} {
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	writes(t, "update item set id = id where id = 1", table, all...)
	eventually(t, "two of them have taken the slots", func() bool {
		roles := map[Role]int{}
		for _, f := range all {
			if f.serves() {
				roles[f.Stats().Role]++
			}
		}
		return roles[Leader] == 1 && roles[Direct] == 1 && roles[Follower] == 1
	})
	if n := slots(t, a.conn); n != 2 {
		t.Errorf("%d slots", n)
	}
	writes(t, "update item set id = id where id = 1", table, all...)
}

// When PostgreSQL is back, all who followed do so again, and have forgotten everything: also
// after a crash.
func TestPostgreSQLRestartsUnderFollowers(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	url := pgtest.Redis(t)
	first := listenOn(t, server.DSN(""), shop, relayed(url, 1), shortBound)
	first.plays(Leader)
	all := []*listener{first}
	for range 2 {
		f := first.process(relayed(url, 1), shortBound)
		f.plays(Follower)
		all = append(all, f)
	}
	table := first.oid("item")
	for _, stop := range []func() error{func() error { return nil }, server.Kill} {
		before := make([][2]int, len(all))
		for i, l := range all {
			l.confirmed()
			before[i] = l.version(table)
		}
		_ = first.conn.Close(t.Context())
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		gone := first.cfg.Now() // they have one clock
		conn := connect(t, first.dsn)
		for i, l := range all {
			l.conn = conn
			eventually(t, "it has forgotten, and serves again", func() bool {
				now := l.cfg.Now()
				serves := l.Serves(now)
				forgotten := l.version(table) != before[i]
				if serves && !forgotten && now > gone+l.cfg.Bound {
					t.Fatalf("the %d. serves what it had, %v after the server has gone", i+1, now-gone)
				}
				return serves && forgotten
			})
		}
		eventually(t, "one of them leads", func() bool {
			roles := map[Role]int{}
			for _, l := range all {
				roles[l.Stats().Role]++
			}
			return roles[Leader] == 1 && roles[Follower] == len(all)-1
		})
		for _, l := range all {
			l.ready()
		}
		writes(t, "update item set id = id where id = 1", table, all...)
		if n := slots(t, conn); n != 1 {
			t.Errorf("%d slots", n)
		}
	}
}

// A change of the leader costs each follower one connection to PostgreSQL.
func TestManyFollowersChangeTheLeaderTogether(t *testing.T) {
	t.Parallel()
	const followers = 16
	url := pgtest.Redis(t)
	var connections atomic.Int64
	counted := func(c *Config) {
		c.Bound = time.Minute // they ask the server for little else
		to := c.Connect
		c.Connect = func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			connections.Add(1)
			return to(ctx, replication)
		}
	}
	l := listen(t, shop, relayed(url, 1), counted)
	l.plays(Leader)
	all := make([]*listener, followers)
	for i := range all {
		all[i] = l.process(relayed(url, 1), counted)
	}
	for _, f := range all {
		f.plays(Follower)
	}
	before := connections.Load()
	l.Close()
	eventually(t, "one leads, and the others follow", func() bool {
		roles := map[Role]int{}
		for _, f := range all {
			if f.serves() {
				roles[f.Stats().Role]++
			}
		}
		return roles[Leader] == 1 && roles[Follower] == followers-1
	})
	n := connections.Load() - before
	t.Logf("%d connections to PostgreSQL", n)
	if n > followers+4 {
		t.Errorf("%d followers have made %d connections", followers, n)
	}
}

// Who is told that another leads begins anew soon, but not in the same moment as all others.
func TestFollowersThatAreToldOfAnotherLeaderDoNotAllConnectAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const followers, window = 100, 10 * time.Millisecond
		began := time.Now()
		var mu sync.Mutex
		connections := map[time.Duration]int{}
		all := make([]*Consumer, followers)
		for i := range all {
			all[i] = New(Config{
				Now: func() time.Duration { return time.Since(began) }, Cache: &register{versions: map[Relation]int{}},
				Connect: func(context.Context, bool) (*pgconn.PgConn, error) {
					mu.Lock()
					defer mu.Unlock()
					connections[time.Since(began)/window]++
					return nil, errRelayMoved
				},
			})
		}
		synctest.Wait()
		<-time.After(backoffFirst * 3 / 2) // each has tried once more
		for _, c := range all {
			c.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		if connections[0] != followers {
			t.Errorf("at first there were %d connections", connections[0])
		}
		delete(connections, 0)
		sum, most := 0, 0
		for _, n := range connections {
			sum, most = sum+n, max(most, n)
		}
		if sum < followers || most > followers/3 {
			t.Errorf("then %d, of which %d came within %v", sum, most, window)
		}
	})
}
