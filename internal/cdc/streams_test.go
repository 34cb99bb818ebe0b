package cdc

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// shared starts another consumer of l's process, with a register of its own.
func (l *listener) shared(change ...func(*Config)) *listener {
	l.t.Helper()
	other := *l
	other.register = &register{versions: map[Relation]int{}}
	other.log = &syncBuffer{}
	cfg := other.config(change...)
	cfg.Streams = l.cfg.Streams
	other.Consumer = start(cfg, false)
	l.t.Cleanup(other.Close)
	return &other
}

func TestConsumersOfAProcessShareAStream(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	others := []*listener{l.shared(), l.shared(func(c *Config) { c.Bound = time.Second })}
	for _, o := range others {
		o.ready()
	}
	if n := slots(t, l.conn); n != 1 {
		t.Errorf("%d slots", n)
	}
	if got := l.life.Load().limits.Load().bound; got != time.Second {
		t.Errorf("it beats for a bound of %v", got)
	}
	all := append(others, l)
	told := func(what string, of ...*listener) {
		t.Helper()
		before := make([][2]int, len(of))
		for i, o := range of {
			before[i] = o.version(o.oid("item"))
		}
		l.exec("update item set id = id where id = 1")
		for i, o := range of {
			o.confirmed()
			if o.version(o.oid("item")) == before[i] {
				t.Errorf("%s: the %d. was not told", what, i+1)
			}
		}
	}
	told("with all", all...)

	// The founder's end is nobody else's.
	confirmations := others[0].Stats().Ends
	l.Close()
	told("without the founder", others...)
	if n := slots(t, l.conn); n != 1 {
		t.Errorf("%d slots after the founder has left", n)
	}
	if len(others[0].Stats().Ends) != len(confirmations) {
		t.Error("the stream has ended")
	}

	// An end of the stream is everybody's, and one slot follows it.
	versions := [][2]int{others[0].version(0), others[1].version(0)}
	l.terminate()
	for i, o := range others {
		o.ended(SlotLost)
		if o.version(0) == versions[i] {
			t.Error("what was kept is still valid")
		}
		o.ready()
	}
	told("after another life", others...)
	if n := slots(t, l.conn); n != 1 {
		t.Errorf("%d slots after another life", n)
	}
	for _, o := range others {
		o.Close()
	}
	eventually(t, "the last takes the slot with it", func() bool { return slots(t, l.conn) == 0 })
}

// Whoever is not connected yet cannot leave his way to the others.
func TestAFounderThatLeavesEarlyIsReplaced(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	var gone atomic.Bool
	l := listen(t, shop, func(c *Config) {
		there := c.Connect
		c.Connect = func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			if !replication {
				return there(ctx, replication)
			}
			entered <- struct{}{}
			<-ctx.Done()
			gone.Store(true)
			return nil, ctx.Err()
		}
	})
	<-entered
	other := l.shared()
	eventually(t, "it has joined", func() bool { return other.life.Load() != nil })
	began := l.cfg.Now()
	l.Close()
	if took := l.cfg.Now() - began; !gone.Load() || took > connectLimit/2 {
		t.Errorf("Close has taken %v; its way to the server is left: %v", took, gone.Load())
	}
	other.ready()
}

// A fill whose versions were noted between two streams is not kept: it knows no doubts.
func TestWhoJoinsIsToldThatAnythingMayHaveChanged(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	other := l.shared()
	other.ready()
	if v := other.version(other.oid("item")); v[0] == 0 {
		t.Error("it was told nothing")
	}
}

func commits(t testing.TB, conn *pgx.Conn) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNobodyAsksNothingBeats(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	l := listenOn(t, server.DSN(""), shop, func(c *Config) {
		c.Bound, c.IdleAfter, c.PollEvery = 100*time.Millisecond, 300*time.Millisecond, time.Hour
	})
	l.ready()
	for round := range 3 {
		eventually(t, "it is idle", func() bool { return l.Stats().State == Idle })
		if l.Stats().Leads {
			t.Error("it keeps others from beating")
		}
		before, began := commits(t, l.conn), l.cfg.Now()
		eventually(t, "some time passes", func() bool { return l.cfg.Now()-began > time.Second })
		if n := commits(t, l.conn) - before; n > 10 { // with beats there are 40
			t.Errorf("%d transactions in a second of idleness", n)
		}
		confirmations := l.Stats().Confirmations
		began = l.cfg.Now()
		eventually(t, "more time passes", func() bool { return l.cfg.Now()-began > 200*time.Millisecond })
		if l.Stats().Confirmations != confirmations {
			t.Error("it is confirmed though nobody asks")
		}
		// Rows are told all the while, and so is what only the catalog shows.
		version := l.version(l.oid("item"))
		l.exec("update item set id = id where id = 1")
		eventually(t, "it is told", func() bool { return l.version(l.oid("item")) != version })
		schema := l.Stats().SchemaChanges
		l.exec(fmt.Sprintf("create view looked_%d as select 1 as n", round))
		if l.serves() {
			t.Error("who asks first is served what nobody has confirmed")
		}
		l.ready()
		if l.Stats().SchemaChanges == schema {
			t.Error("it serves without having looked at the catalog")
		}
	}
}
