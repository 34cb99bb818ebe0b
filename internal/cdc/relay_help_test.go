package cdc

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/internal/redisurl"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// relayAt is one through the Redis of a URL; nil without one. Its place is the same for all,
// whatever way they take.
func relayAt(url string, slots int) *Relay {
	open, err := redisurl.Dialer(url)
	if err != nil {
		return nil
	}
	return &Relay{Open: open, Place: "the test's", Slots: slots}
}

// relayed has a consumer relay through a Redis.
func relayed(url string, slots int) func(*Config) {
	return func(c *Config) { c.Relay = relayAt(url, slots) }
}

// nowhere is where nobody listens.
const nowhere = "127.0.0.1:1"

func redisClient(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	open, err := redisurl.Dialer(url)
	if err != nil {
		t.Fatal(err)
	}
	client := open()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// process starts another consumer on l's database, with nothing in common: as if it were of
// another process.
func (l *listener) process(change ...func(*Config)) *listener {
	l.t.Helper()
	other := *l
	other.register = &register{versions: map[Relation]int{}}
	other.log = &syncBuffer{}
	other.Consumer = start(other.config(change...), false)
	l.t.Cleanup(other.Close)
	return &other
}

func (l *listener) plays(role Role) {
	l.t.Helper()
	eventually(l.t, "it is "+string(role)+"; "+l.log.String(), func() bool { return l.Stats().Role == role && l.Serves(l.cfg.Now()) })
}

// relaying is a leader with followers, on a database and a Redis of their own.
type relaying struct {
	*listener
	url       string
	client    redis.UniversalClient
	followers []*listener
}

func relayedListeners(t *testing.T, followers int, change ...func(*Config)) *relaying {
	t.Helper()
	return relayedOver(t, shop, followers, change...)
}

func relayedOver(t *testing.T, schema string, followers int, change ...func(*Config)) *relaying {
	t.Helper()
	url := pgtest.Redis(t)
	r := &relaying{url: url, client: redisClient(t, url)}
	change = append(change, relayed(url, 1))
	r.listener = listen(t, schema, change...)
	r.plays(Leader)
	for range followers {
		r.followers = append(r.followers, r.process(change...))
	}
	for _, f := range r.followers {
		f.plays(Follower)
	}
	return r
}

// head is what Redis says of the leader.
func (r *relaying) head() *head {
	r.t.Helper()
	way := r.way()
	defer way.close()
	h, err := way.look(r.t.Context())
	if err != nil || h == nil {
		r.t.Fatalf("there is no leader: %v", err)
	}
	return h
}

// way is one to the keys of the relay.
func (r *relaying) way() *relay {
	s := r.followers[0].life.Load()
	eventually(r.t, "a follower has a stream", func() bool {
		s = r.followers[0].life.Load()
		return s != nil
	})
	open := relayAt(r.url, 1).Open
	return &relay{client: open(), head: s.relay.head, log: s.relay.log}
}
