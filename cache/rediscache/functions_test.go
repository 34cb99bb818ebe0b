package rediscache_test

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// calls returns how often Redis has run a command.
func (w *world) calls(command string) string {
	w.Helper()
	for line := range strings.Lines(w.raw.Info(w.Context(), "commandstats").Val()) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			count, _, _ := strings.Cut(rest, ",")
			return count
		}
	}
	return "0"
}

// shares shows that two tiers with a URL see each other's values and writes.
func (w *world) shares(t *testing.T, at string) {
	t.Helper()
	_, a := openSpace(t, at, rediscache.Options{Budget: patient}, 20*time.Millisecond)
	_, b := openSpace(t, at, rediscache.Options{Budget: patient}, 20*time.Millisecond)
	keepWatching(t, a)
	q := question("pets", 1)
	fill(t, a, q, until(t, a, q, rediscache.Miss), "Rex")
	found := until(t, b, q, rediscache.Found)
	bump(t, place(t, b, rediscache.Writes{Relations: []uint32{1}, Catalog: found.Catalog}))
	if again := until(t, a, q, rediscache.Miss); again.Proof == found.Proof {
		t.Error("a write ends nothing")
	}
}

func TestRedisIsAskedOnceWhoItIs(t *testing.T) {
	w := ownRedis(t)
	w.shares(t, w.url)
	if err := w.raw.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.shares(t, w.url)
	if info := w.calls("info"); info != "0" && info != "1" { // the other one is this test's
		t.Error("INFO was run", info, "times")
	}
	if texts := w.calls("evalsha"); texts != "0" {
		t.Error("scripts were sent as texts", texts, "times")
	}
}

func TestWithoutFunctionsTheScriptsAreTexts(t *testing.T) {
	for name, rights := range map[string][]any{
		"no call":     {"-fcall"},
		"no library":  {"-function"},
		"of Redis 6":  {"-fcall", "-fcall_ro", "-function"},
		"all of them": {},
	} {
		t.Run(name, func(t *testing.T) {
			w := ownRedis(t)
			user := append([]any{"ACL", "SETUSER", "app", "on", ">sesame", "~*", "&*", "+@all"}, rights...)
			if err := w.raw.Do(t.Context(), user...).Err(); err != nil {
				t.Fatal(err)
			}
			u, _ := url.Parse(w.url)
			u.User = url.UserPassword("app", "sesame")
			w.shares(t, u.String())
			if texts := w.calls("evalsha") != "0"; texts != (len(rights) > 0) {
				t.Error("scripts were sent as texts:", texts)
			}
		})
	}
}

func TestALibraryThatIsDeletedIsGivenAgain(t *testing.T) {
	w := ownRedis(t)
	s := w.space(time.Millisecond)
	keepWatching(t, s)
	for range 3 {
		until(t, s, question("pets", 1), rediscache.Miss)
		if err := w.raw.FunctionFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// A process of Redis that has all of another one's data and functions, and continues where
// that was, may lack its latest writes all the same.
func TestWhatARestartBringsBackIsForgotten(t *testing.T) {
	w := newWorld(t, map[string]string{"appendonly": "yes", "appendfsync": "always", "enable-debug-command": "yes"})
	s := w.space(300 * time.Millisecond)
	keepWatching(t, s)
	q := question("pets", 1)
	for range 3 {
		miss := until(t, s, q, rediscache.Miss)
		fill(t, s, q, miss, "Rex")
		until(t, s, q, rediscache.Found)
		before := w.server()
		_ = w.raw.Do(t.Context(), "DEBUG", "RESTART").Err() // its connection ends
		eventually(t, "Redis is another process", func() bool { now := w.server(); return now != "" && now != before })
		state, _, value := s.Keys(q.Key)
		if n := w.raw.Exists(t.Context(), state, value).Val(); n != 2 {
			t.Fatal("the restart has brought nothing back, so nothing was shown")
		}
		if n := len(w.raw.FunctionList(t.Context(), redis.FunctionListQuery{}).Val()); n != 1 {
			t.Fatal("the restart has brought back", n, "libraries")
		}
		if after := answered(t, s, q); after.State != rediscache.Miss || after.Proof == miss.Proof {
			t.Fatalf("what was there before is served: %s %q", after.State, after.Value)
		}
	}
}

// server names the process of Redis, or nothing.
func (w *world) server() string {
	_, rest, _ := strings.Cut(w.raw.Info(w.Context(), "server").Val(), "run_id:")
	run, _, _ := strings.Cut(rest, "\r")
	return run
}

// answered waits for an answer that is one.
func answered(t *testing.T, s *rediscache.Space, q rediscache.Question) (a rediscache.Answer) {
	t.Helper()
	eventually(t, "a look-up is answered", func() bool {
		var err error
		a, err = s.Look(t.Context(), q)
		return err == nil && a.State != rediscache.Unconfirmed
	})
	return a
}

// perCall is usec_per_call of a line of INFO commandstats.
func perCall(stats string) float64 {
	_, rest, _ := strings.Cut(stats, "usec_per_call=")
	number, _, _ := strings.Cut(rest, ",")
	usec, _ := strconv.ParseFloat(number, 64)
	return usec
}
