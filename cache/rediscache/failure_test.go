package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// counted waits until an error of that kind was met.
func counted(t *testing.T, tier *rediscache.Tier, kind string) {
	t.Helper()
	eventually(t, "an error of the kind "+kind, func() bool { return tier.Stats().Errors[kind] > 0 })
}

// failing looks until the breaker opens, and checks that from then on nobody waits.
func failing(t *testing.T, tier *rediscache.Tier, s *rediscache.Space, kind string) {
	t.Helper()
	eventually(t, "the breaker opens", func() bool {
		_, _ = s.Look(t.Context(), question("pets", 1))
		return tier.Stats().Breaker != rediscache.Closed
	})
	counted(t, tier, kind)
	if _, err := s.Look(t.Context(), question("pets", 1)); err != nil && strings.Contains(err.Error(), "sesame") {
		t.Error("the password is in the error:", err)
	}
}

// returns waits for the first look-up that is answered.
func returns(t *testing.T, tier *rediscache.Tier, s *rediscache.Space) {
	t.Helper()
	eventually(t, "Redis is asked again", func() bool {
		_, err := s.Look(t.Context(), question("pets", 1))
		return err == nil
	})
	if state := tier.Stats().Breaker; state != rediscache.Closed {
		t.Error("the breaker is", state)
	}
}

func TestARedisThatHangsIsLeftAlone(t *testing.T) {
	w := ownRedis(t)
	tier, s := openSpace(t, w.url, rediscache.Options{Budget: 100 * time.Millisecond}, time.Millisecond)
	returns(t, tier, s)
	if err := w.raw.Do(t.Context(), "CLIENT", "PAUSE", "5000", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	failing(t, tier, s, "timeout")
	returns(t, tier, s)
}

func TestARedisThatIsFullTakesNothingAndAnswers(t *testing.T) {
	w := newWorld(t, map[string]string{"maxmemory-policy": "noeviction"})
	tier, s := openSpace(t, w.url, rediscache.Options{Budget: patient}, time.Millisecond)
	keepWatching(t, s)
	q := question("pets", 1)
	fill(t, s, q, until(t, s, q, rediscache.Miss), "Rex")
	if err := w.raw.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Place(t.Context(), rediscache.Writes{Relations: []uint32{1}}); err == nil {
		t.Error("an intent without room for it")
	}
	counted(t, tier, "full")
	// Nobody can watch either, so nothing is served, and nothing waits.
	until(t, s, q, rediscache.Unconfirmed)
	if state := tier.Stats().Breaker; state != rediscache.Closed {
		t.Error("the breaker is", state)
	}
	if err := w.raw.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	until(t, s, q, rediscache.Miss)
}

func TestARedisThatEvictsServesNothingWrong(t *testing.T) {
	w := newWorld(t, map[string]string{"maxmemory-policy": "allkeys-random", "maxmemory": "3mb"})
	s := w.space(50 * time.Millisecond)
	keepWatching(t, s)
	big := strings.Repeat("x", 900) // not compressed
	for n := range 6000 {
		q := question(fmt.Sprintf("pets %d", n%3000), 1) // 3000 of them are more than there is room for
		a, err := s.Look(t.Context(), q)
		if err != nil {
			continue // full for a moment
		}
		switch a.State {
		case rediscache.Miss:
			_ = s.Fill(t.Context(), q, a, []byte(big+string(q.Key)))
		case rediscache.Same, rediscache.Fenced, rediscache.Unconfirmed:
		case rediscache.Found:
			if string(a.Value) != big+string(q.Key) {
				t.Fatal("the value of another question")
			}
		}
	}
	if n := w.raw.Info(t.Context(), "stats").Val(); strings.Contains(n, "evicted_keys:0\r") {
		t.Error("nothing was evicted, so nothing was shown")
	}
}

func TestAWrongPasswordIsAnErrorThatDoesNotTellIt(t *testing.T) {
	w := newWorld(t, map[string]string{"appendonly": "no"})
	if err := w.raw.ConfigSet(t.Context(), "requirepass", "open").Err(); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(w.url)
	u.User = url.UserPassword("", "sesame")
	tier, s := openSpace(t, u.String(), rediscache.Options{Budget: patient}, time.Millisecond)
	failing(t, tier, s, "auth")
	_, err := s.Place(t.Context(), rediscache.Writes{Relations: []uint32{1}})
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
	if err := w.raw.ConfigSet(t.Context(), "requirepass", "sesame").Err(); err != nil {
		t.Fatal(err)
	}
	returns(t, tier, s)
}

func TestAReplicaIsNoTier(t *testing.T) {
	master, w := ownRedis(t), ownRedis(t)
	u, _ := url.Parse(master.url)
	if err := w.raw.Do(t.Context(), "REPLICAOF", u.Hostname(), u.Port()).Err(); err != nil {
		t.Fatal(err)
	}
	tier, s := openSpace(t, w.url, rediscache.Options{Budget: patient}, time.Millisecond)
	failing(t, tier, s, "readonly")
	if err := w.raw.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	returns(t, tier, s)
}

func TestAPromotedReplicaServesNothingOfTheOldMaster(t *testing.T) {
	master, replica := ownRedis(t), ownRedis(t)
	u, _ := url.Parse(master.url)
	s := master.space(300 * time.Millisecond)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	fill(t, s, q, miss, "old")
	if err := replica.raw.Do(t.Context(), "REPLICAOF", u.Hostname(), u.Port()).Err(); err != nil {
		t.Fatal(err)
	}
	_, _, value := s.Keys(q.Key)
	eventually(t, "the replica has it", func() bool { return replica.raw.Exists(t.Context(), value).Val() == 1 })
	if err := replica.raw.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	bump(t, place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog})) // which the replica never hears of
	promoted := replica.space(300 * time.Millisecond)
	if got := look(t, promoted, q); got.State != rediscache.Unconfirmed {
		t.Error(got.State)
	}
	keepWatching(t, promoted)
	until(t, promoted, q, rediscache.Miss)
}

func TestARedisThatIsAwayFailsAtOnceAndReturnsEmpty(t *testing.T) {
	server := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	tier, s := openSpace(t, server.URL(), rediscache.Options{Budget: 200 * time.Millisecond}, time.Millisecond)
	returns(t, tier, s)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	failing(t, tier, s, "network")
	for range 100 { // turned away, not dialled
		_, err := s.Look(t.Context(), question("pets", 1))
		if err == nil {
			t.Fatal("answered by nobody")
		}
	}
	if _, err := s.Place(t.Context(), rediscache.Writes{Relations: []uint32{1}}); err == nil {
		t.Error("an intent that is nowhere")
	}
}

func TestACallerWhoHasGoneSaysNothingAboutRedis(t *testing.T) {
	w := ownRedis(t)
	tier, s := openSpace(t, w.url, rediscache.Options{Budget: patient}, time.Millisecond)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if _, err := s.Look(gone, question("pets", 1)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if state := tier.Stats().Breaker; state != rediscache.Closed {
		t.Error("the breaker is", state)
	}
}

func TestURLs(t *testing.T) {
	for _, good := range []string{
		"redis://localhost", "redis://:sesame@localhost:6379/3", "rediss://me:sesame@localhost",
		"redis+sentinel://:sesame@a:26379,b:26379,c/mymaster", "redis+sentinel://a/mymaster/2?sentinel_password=sesame",
		"rediss+sentinel://a:1/m", "redis cluster://a:7000,b:7001", "redis+cluster://me:sesame@a:7000,b:7001,c:7002", "rediss+cluster://a",
	} {
		if err := rediscache.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "sesame", "http://sesame", "redis://a:sesame", "redis://:sesame@a/b/c", "redis+sentinel://:sesame@a:1", "redis+sentinel://sesame,/m",
		"redis+other://sesame", "redis+cluster://", "redis://%zz:sesame@a", "redis://a?sesame=1", "rediss+rediss://sesame",
	} {
		if err := rediscache.CheckURL(bad); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// go-redis writes to a logger that all of the program share, on the standard error if nobody
// has set another.
func TestARedisThatIsAwayIsNotWrittenAbout(t *testing.T) {
	written := new(lines)
	redis.SetLogger(written)
	server := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	cluster := "redis+cluster://" + rediscache.Where(server.URL())
	for _, at := range []string{server.URL(), strings.Replace(server.URL(), "redis:", "rediss:", 1), cluster} {
		tier, s := openSpace(t, at, rediscache.Options{Budget: patient}, time.Millisecond)
		_, _ = s.Look(t.Context(), question("pets", 1))
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := s.Place(t.Context(), rediscache.Writes{Relations: []uint32{1}}); err == nil {
				t.Error("an intent that is nowhere")
			}
		}
		counted(t, tier, "network")
	}
	if text := written.String(); text != "" {
		t.Errorf("go-redis writes:\n%s", text)
	}
}

// lines is a logger of go-redis'.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Printf implements go-redis' logger.
func (l *lines) Printf(_ context.Context, format string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, format+"\n", values...)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
