package cdc

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Something is done to the relay while the follower does not hear, after a change. Whatever it
// is, the follower must not serve without the change.
func TestAFollowerNoticesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		do   func(context.Context, *relay, *head) error
		ends Reason
	}{
		"entries are gone": {do: func(ctx context.Context, way *relay, _ *head) error {
			return way.client.XTrimMaxLen(ctx, way.log, 0).Err()
		}, ends: RelayGap},
		"one is gone": {do: func(ctx context.Context, way *relay, h *head) error {
			return way.client.XDel(ctx, way.log, strconv.FormatUint(h.number, 10)+"-"+strconv.FormatUint(h.seq+1, 10)).Err()
		}, ends: RelayGap},
		"one is damaged": {do: damage(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), ends: RelayGap},
		"one is cut":     {do: damage(func(b []byte) []byte { return b[:len(b)-1] }), ends: RelayGap},
		"one is empty":   {do: damage(func([]byte) []byte { return nil }), ends: RelayGap},
		"all is gone": {do: func(ctx context.Context, way *relay, _ *head) error {
			return way.client.FlushAll(ctx).Err()
		}, ends: RelayMoved},
		"another leads": {do: func(ctx context.Context, way *relay, _ *head) error {
			for { // the leader may write in between
				seen, err := way.look(ctx)
				if err != nil {
					return err
				}
				if _, leads, err := way.begin(ctx, seen, appendBase(nil, &entries{all: true})); err != nil || leads {
					return err
				}
			}
		}, ends: RelayMoved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := relayedListeners(t, 1)
			h := cable.New(t, redisurl.Where(r.url))
			f := r.process(relayed("redis://"+h.Addr(), 1), func(c *Config) { c.silence = time.Hour })
			f.plays(Follower)
			table := f.oid("item")
			f.confirmed()
			before := f.version(table)
			h.Lead(nowhere)
			seen := r.head()
			r.exec("update item set id = id where id = 1")
			eventually(t, "the change is in Redis", func() bool { return r.head().seq > seen.seq+1 })
			way := r.way()
			defer way.close()
			if err := fault.do(t.Context(), way, seen); err != nil {
				t.Fatal(err)
			}
			h.Lead(redisurl.Where(r.url))
			f.ended(fault.ends)
			f.ready()
			if f.version(table) == before {
				t.Error("it serves, and has not told")
			}
			if got := f.bumps("insert into parent values (4000)", "item", "parent"); got != "parent " {
				t.Errorf("told of %q", got)
			}
		})
	}
}

// damage changes each entry behind what was heard.
func damage(change func([]byte) []byte) func(context.Context, *relay, *head) error {
	return func(ctx context.Context, way *relay, h *head) error {
		entries, err := way.client.XRange(ctx, way.log, "-", "+").Result()
		if err != nil {
			return err
		}
		pipe := way.client.TxPipeline()
		pipe.Del(ctx, way.log)
		for _, m := range entries {
			_, low, _ := strings.Cut(m.ID, "-")
			if n, err := strconv.ParseUint(low, 10, 64); err == nil && n > h.seq {
				text, _ := m.Values["d"].(string)
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: way.log, ID: m.ID, Values: map[string]any{"d": change([]byte(text))}})
				continue
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: way.log, ID: m.ID, Values: m.Values})
		}
		_, err = pipe.Exec(ctx)
		return err
	}
}

func TestALeaderThatIsKilledIsReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Redis(t)
	dsn := shopDSN(t)
	leader := startVictim(t, dsn, url, 1)
	f := listenOn(t, dsn, "select 1", relayed(url, 1))
	other := f.process(relayed(url, 1))
	f.plays(Follower)
	other.plays(Follower)
	before := [2][2]int{f.version(f.oid("item")), other.version(f.oid("item"))}
	leader.kill()
	f.exec("update item set id = id where id = 1")
	eventually(t, "one of them leads", func() bool {
		return f.serves() && other.serves() && (f.Stats().Role == Leader) != (other.Stats().Role == Leader)
	})
	if before[0] == f.version(f.oid("item")) || before[1] == other.version(f.oid("item")) {
		t.Error("what was kept is still valid")
	}
	eventually(t, "one slot is left", func() bool { return slots(t, f.conn) == 1 })
}

// A leader that stands still, and is not dead, keeps its slot and its locks. Who has another
// slot leads in its place, and when it wakes up it writes nothing more.
func TestALeaderThatStandsStillIsReplacedAndFenced(t *testing.T) {
	t.Parallel()
	url := pgtest.Redis(t)
	wire := cable.New(t, redisurl.Where(url))
	l := listen(t, shop, relayed("redis://"+wire.Addr(), 2))
	l.plays(Leader)
	second := l.process(relayed(url, 2))
	second.plays(Direct)
	f := l.process(relayed(url, 2))
	f.plays(Follower)
	wire.Set(cable.Held)
	l.exec("update item set id = id where id = 1")
	second.plays(Leader)
	f.ready()
	if l.Stats().Role != Leader {
		t.Errorf("the first is %s", l.Stats().Role)
	}
	wire.Set(cable.Intact)
	l.plays(Direct)
	if got := f.bumps("insert into parent values (5000)", "item", "parent"); got != "parent " {
		t.Errorf("told of %q", got)
	}
	if second.Stats().Role != Leader || f.Stats().Role != Follower {
		t.Errorf("then there are %s and %s", second.Stats().Role, f.Stats().Role)
	}
}

func TestALeaderThatLeavesIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	r := relayedListeners(t, 2)
	r.Close()
	a, b := r.followers[0], r.followers[1]
	eventually(t, "one of them leads", func() bool {
		return a.serves() && b.serves() && (a.Stats().Role == Leader) != (b.Stats().Role == Leader)
	})
	for _, f := range r.followers {
		if got := f.bumps("update item set id = id where id = 1", "item", "parent"); got != "item " {
			t.Errorf("told of %q", got)
		}
	}
	if n := a.Stats().Ends[RelaySilent] + b.Stats().Ends[RelaySilent]; n > 0 {
		t.Error("they had to wait for it")
	}
}

// Redis comes back, empty, at the same address.
func TestARedisThatStartsAnewIsUsedAgain(t *testing.T) {
	t.Parallel()
	first, second := pgtest.NewRedis(t, pgtest.RedisOptions{}), pgtest.NewRedis(t, pgtest.RedisOptions{})
	h := cable.New(t, redisurl.Where(first.URL()))
	l := listen(t, shop, relayed("redis://"+h.Addr(), 1))
	l.plays(Leader)
	f := l.process(relayed("redis://"+h.Addr(), 1))
	f.plays(Follower)
	before := f.version(f.oid("item"))
	h.Lead(nowhere)
	l.exec("update item set id = id where id = 1")
	eventually(t, "it serves nothing", func() bool { return !f.serves() })
	l.ready()
	f.ended(RelayDown)
	h.Lead(redisurl.Where(second.URL()))
	f.plays(Follower)
	if f.version(f.oid("item")) == before {
		t.Error("what was kept is still valid")
	}
	if got := f.bumps("insert into parent values (6000)", "item", "parent"); got != "parent " {
		t.Errorf("told of %q", got)
	}
	if n := len(l.Stats().Ends); n != 0 {
		t.Errorf("the leader has ended for %v", l.Stats().Ends)
	}
}

// Connections that break and come back lose nothing, so nothing has to be forgotten.
func TestABrokenConnectionToRedisIsReadOn(t *testing.T) {
	t.Parallel()
	r := relayedListeners(t, 0)
	h := cable.New(t, redisurl.Where(r.url))
	f := r.process(relayed("redis://"+h.Addr(), 1), func(c *Config) { c.Bound = time.Minute })
	f.plays(Follower)
	for range 3 {
		h.Lead(redisurl.Where(r.url))
		if got := f.bumps("update item set id = id where id = 1", "item", "parent"); got != "item " {
			t.Errorf("told of %q", got)
		}
	}
	if len(f.Stats().Ends) != 0 {
		t.Errorf("it has ended for %v", f.Stats().Ends)
	}
}

// Who has no slot has nothing kept for it, so there is nothing to drop.
func TestAFollowerMayBeBehind(t *testing.T) {
	t.Parallel()
	r := relayedListeners(t, 0)
	h := cable.New(t, redisurl.Where(r.url))
	f := r.process(relayed("redis://"+h.Addr(), 1), func(c *Config) { c.MaxLag, c.silence = 1, time.Hour })
	f.plays(Follower)
	f.confirmed()
	h.Set(cable.Held)
	f.exec("update item set id = id where id = 1")
	eventually(t, "it is behind", func() bool {
		f.wake()
		return f.Stats().Lag > 1 || len(f.Stats().Ends) > 0
	})
	h.Set(cable.Intact)
	if got := f.bumps("insert into parent values (8000)", "parent"); got != "parent " || len(f.Stats().Ends) > 0 {
		t.Errorf("told of %q, and ended for %v", got, f.Stats().Ends)
	}
}
