package rediscache_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// patient is a budget that a busy machine keeps.
const patient = 10 * time.Second

// world is a Redis, and a client that looks behind the tier's back.
type world struct {
	*testing.T
	url string
	raw *redis.Client
}

func newWorld(t *testing.T, settings map[string]string) *world {
	t.Helper()
	w := &world{T: t, url: pgtest.NewRedis(t, pgtest.RedisOptions{Settings: settings}).URL()}
	o, err := redis.ParseURL(w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.raw = redis.NewClient(o)
	t.Cleanup(func() { _ = w.raw.Close() })
	return w
}

// ownRedis is one that is not shared with other programs, for it is flushed.
func ownRedis(t *testing.T) *world {
	t.Helper()
	return newWorld(t, map[string]string{"appendonly": "no"})
}

// space opens a tier of its own, as each process has.
func (w *world) space(linger time.Duration) *rediscache.Space {
	w.Helper()
	_, s := openSpace(w.T, w.url, rediscache.Options{Budget: patient}, linger)
	return s
}

func openSpace(t *testing.T, url string, o rediscache.Options, linger time.Duration) (*rediscache.Tier, *rediscache.Space) {
	t.Helper()
	tier, err := rediscache.OpenBriefly(url, o, linger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tier.Close() })
	return tier, tier.Space("a server/5")
}

// keepWatching watches until the test ends, or until stop is called.
func keepWatching(t *testing.T, s *rediscache.Space) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if seen, err := s.Watch(ctx, 0, false); err == nil {
				_, _ = s.Watch(ctx, seen.Moment+rediscache.Watch.Milliseconds(), false)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// eventually polls for as long as a busy machine may need.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func look(t *testing.T, s *rediscache.Space, q rediscache.Question) rediscache.Answer {
	t.Helper()
	a, err := s.Look(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// until polls a look-up for a state.
func until(t *testing.T, s *rediscache.Space, q rediscache.Question, state rediscache.State) (a rediscache.Answer) {
	t.Helper()
	eventually(t, "a look-up answers "+string(state), func() bool {
		var err error
		a, err = s.Look(t.Context(), q)
		return err == nil && a.State == state
	})
	return a
}

func place(t *testing.T, s *rediscache.Space, w rediscache.Writes) *rediscache.Intent {
	t.Helper()
	i, err := s.Place(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func bump(t *testing.T, i *rediscache.Intent) {
	t.Helper()
	if _, err := i.Bump(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, s *rediscache.Space, q rediscache.Question, from rediscache.Answer, value string) {
	t.Helper()
	if err := s.Fill(t.Context(), q, from, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func question(key string, relations ...uint32) rediscache.Question {
	return rediscache.Question{Key: []byte(key), Relations: relations, Value: true}
}
