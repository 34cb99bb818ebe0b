package rediscache_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// TestWhatIsLostIsAMiss takes away each thing that Redis may lose, while a commit is under
// way whose intent is lost with it.
func TestWhatIsLostIsAMiss(t *testing.T) {
	for name, lose := range map[string]func(ctx context.Context, w *world, s *rediscache.Space) error{
		"everything": func(ctx context.Context, w *world, _ *rediscache.Space) error { return w.raw.FlushAll(ctx).Err() },
		"the state": func(ctx context.Context, w *world, s *rediscache.Space) error {
			state, _, _ := s.Keys(nil)
			return w.raw.Del(ctx, state).Err()
		},
		"the intents": func(ctx context.Context, w *world, s *rediscache.Space) error {
			_, intents, _ := s.Keys(nil)
			return w.raw.Del(ctx, intents).Err()
		},
		"a state of another type": func(ctx context.Context, w *world, s *rediscache.Space) error {
			state, _, _ := s.Keys(nil)
			return w.raw.Set(ctx, state, "mine", 0).Err()
		},
		"intents of another type": func(ctx context.Context, w *world, s *rediscache.Space) error {
			_, intents, _ := s.Keys(nil)
			return w.raw.Set(ctx, intents, "mine", 0).Err()
		},
		"the process: what it has is of another": func(ctx context.Context, w *world, s *rediscache.Space) error {
			state, _, _ := s.Keys(nil)
			return w.raw.HSet(ctx, state, "home", "0123456789").Err()
		},
		"time: the clock was set back": func(ctx context.Context, w *world, s *rediscache.Space) error {
			state, _, _ := s.Keys(nil)
			return w.raw.HIncrBy(ctx, state, "until", 3_600_000).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := ownRedis(t)
			s := w.space(500 * time.Millisecond)
			keepWatching(t, s)
			q := question("pets", 1)
			miss := until(t, s, q, rediscache.Miss)
			fill(t, s, q, miss, "old")
			until(t, s, q, rediscache.Found)
			i := place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog})
			lost := time.Now()
			if err := lose(t.Context(), w, s); err != nil {
				t.Fatal(err)
			}
			after := until(t, s, q, rediscache.Miss)
			if took := time.Since(lost); took < 300*time.Millisecond {
				t.Errorf("after %v answers come again, and the writer had no time to place its intent again", took)
			}
			if after.Proof == miss.Proof {
				t.Error("as if nothing was lost")
			}
			if _, err := s.Renew(t.Context(), []*rediscache.Intent{i}); err != nil {
				t.Fatal(err)
			}
			fill(t, s, q, after, "read during the commit")
			bump(t, i)
			if got := until(t, s, q, rediscache.Miss); got.Proof == after.Proof {
				t.Error("a commit whose intent was lost counts as none")
			}
		})
	}
}

func TestAValueThatIsNoneIsAMissAndCounted(t *testing.T) {
	w := ownRedis(t)
	tier, s := openSpace(t, w.url, rediscache.Options{Budget: patient}, time.Millisecond)
	keepWatching(t, s)
	miss := until(t, s, question("pets", 1), rediscache.Miss)
	good := func(key string, captured int64) string {
		return string(rediscache.AppendValue(nil, []byte(key), []byte("Rex"), captured))
	}
	for _, c := range []struct{ name, value, counted string }{
		{"empty", "", "damaged"},
		{"cut off", good("cut off", miss.Moment)[:20], "damaged"},
		{"of another question", good("cats", miss.Moment), "damaged"},
		{"of another format", "\x09" + good("of another format", miss.Moment)[1:], "format"},
		{"from the future", good("from the future", miss.Moment+3_600_000), "damaged"},
	} {
		q := question(c.name, 1)
		_, _, key := s.Keys(q.Key)
		before := tier.Stats().Errors[c.counted]
		now := until(t, s, q, rediscache.Miss) // the era may be new
		if err := w.raw.Set(t.Context(), key, now.Proof+"\n"+c.value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := look(t, s, q); got.State != rediscache.Miss && got.State != rediscache.Unconfirmed {
			t.Errorf("%s: %s %q", c.name, got.State, got.Value)
		}
		if n := tier.Stats().Errors[c.counted]; n != before+1 {
			t.Errorf("%s: counted %d times", c.name, n-before)
		}
		fill(t, s, q, now, "Rex")
		if got := look(t, s, q); got.State != rediscache.Found && got.State != rediscache.Unconfirmed {
			t.Errorf("%s: a fill does not replace it: %s", c.name, got.State)
		}
	}
}

func TestAnIntentTakesNoRoomAfterwards(t *testing.T) {
	w := ownRedis(t)
	s := w.space(10 * time.Second)
	confirmed(t, w, s)
	keepWatching(t, s)
	miss := until(t, s, question("pets", 1), rediscache.Miss)
	for range 50 {
		bump(t, place(t, s, rediscache.Writes{Relations: []uint32{1, 2, 3}, Catalog: miss.Catalog}))
	}
	state, intents, _ := s.Keys(nil)
	if n := w.raw.ZCard(t.Context(), intents).Val(); n != 0 {
		t.Errorf("%d intents", n)
	}
	if n := w.raw.HLen(t.Context(), state).Val(); n > 6+4 {
		t.Errorf("the state has %d fields: %v", n, w.raw.HKeys(t.Context(), state).Val())
	}
}

// Counts of tables that are gone would fill Redis for ever.
func TestTooManyCountsAreForgottenAllAtOnce(t *testing.T) {
	w := ownRedis(t)
	s := w.space(10 * time.Second)
	confirmed(t, w, s)
	q := question("pets", 1)
	watched := func() {
		if seen, err := s.Watch(t.Context(), 0, false); err != nil {
			t.Fatal(err)
		} else if _, err = s.Watch(t.Context(), seen.Moment+rediscache.Watch.Milliseconds(), false); err != nil {
			t.Fatal(err)
		}
	}
	keepWatching(t, s)
	first := until(t, s, q, rediscache.Miss)
	fill(t, s, q, first, "old")
	until(t, s, q, rediscache.Found)
	bump(t, place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: first.Catalog}))
	other := place(t, s, rediscache.Writes{Relations: []uint32{2}, Catalog: first.Catalog})

	state, _, _ := s.Keys(nil)
	fields := make([]any, 0, 110_000)
	for i := range 55_000 {
		fields = append(fields, "t"+strconv.Itoa(100+i), 1)
	}
	if err := w.raw.HSet(t.Context(), state, fields...).Err(); err != nil {
		t.Fatal(err)
	}
	watched()
	if n := w.raw.HLen(t.Context(), state).Val(); n > 20 {
		t.Errorf("%d fields are left", n)
	}
	if got := answered(t, s, q); got.State != rediscache.Miss || got.Proof == first.Proof {
		t.Errorf("a count begins anew, and what was stored under it stands again: %s %q", got.State, got.Value)
	}
	if got := look(t, s, question("cats", 2)); got.State != rediscache.Fenced && got.State != rediscache.Unconfirmed {
		t.Error("an intent was forgotten:", got.State)
	}
	bump(t, other)
}
