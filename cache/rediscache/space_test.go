package rediscache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

func TestAValueIsFoundByEveryProcess(t *testing.T) {
	w := ownRedis(t)
	a, b := w.space(time.Millisecond), w.space(time.Millisecond)
	keepWatching(t, a)
	q := question("all pets", 1, 2)
	first := until(t, a, q, rediscache.Miss)
	fill(t, a, q, first, strings.Repeat("Rex ", 1000))
	found := until(t, b, q, rediscache.Found)
	if string(found.Value) != strings.Repeat("Rex ", 1000) || found.Age <= 0 {
		t.Errorf("%d bytes of age %v", len(found.Value), found.Age)
	}
	q.Have = found.Proof
	if got := look(t, b, q); got.State != rediscache.Same || len(got.Value) > 0 {
		t.Errorf("%+v", got)
	}
	if got := look(t, b, question("all cats", 1, 2)); got.State != rediscache.Miss {
		t.Errorf("another question: %+v", got)
	}
}

func TestACommitEndsWhatItTouches(t *testing.T) {
	w := ownRedis(t)
	a, b := w.space(10*time.Second), w.space(10*time.Second)
	confirmed(t, w, a)
	keepWatching(t, a)
	for _, c := range []struct {
		name  string
		write []uint32
		kills bool
	}{
		{"its relation", []uint32{1}, true},
		{"one of two", []uint32{2, 7}, true},
		{"everything", []uint32{0}, true},
		{"another relation", []uint32{3}, false},
		{"one whose number begins alike", []uint32{11, 12, 21}, false},
	} {
		q := question(c.name, 1, 2)
		miss := until(t, a, q, rediscache.Miss)
		fill(t, a, q, miss, "old")
		i := place(t, b, rediscache.Writes{Relations: c.write, Catalog: miss.Catalog})
		if i.Widened {
			t.Fatal("widened: the era has changed")
		}
		during := look(t, a, q)
		if fenced := during.State == rediscache.Fenced; fenced != c.kills {
			t.Errorf("%s: during the commit %s", c.name, during.State)
		}
		fill(t, a, q, miss, "older")
		bump(t, i)
		after := look(t, a, q)
		if missed := after.State == rediscache.Miss; missed != c.kills {
			t.Errorf("%s: after the commit %s %q", c.name, after.State, after.Value)
		}
		fill(t, a, q, miss, "too late")
		if got := look(t, b, q); c.kills && got.State != rediscache.Miss {
			t.Errorf("%s: a fill from before the commit is served: %s", c.name, got.Value)
		}
	}
}

func TestARollbackEndsNothing(t *testing.T) {
	w := ownRedis(t)
	s := w.space(10 * time.Second)
	confirmed(t, w, s)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	fill(t, s, q, miss, "Rex")
	i := place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog})
	if got := look(t, s, q); got.State != rediscache.Fenced {
		t.Error(got.State)
	}
	for range 2 { // the answer may have been lost
		if _, err := i.Lower(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := look(t, s, q); got.State != rediscache.Found {
		t.Error(got.State)
	}
}

func TestIntentsAreCounted(t *testing.T) {
	w := ownRedis(t)
	s := w.space(10 * time.Second)
	confirmed(t, w, s)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	writes := rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog}
	a, b := place(t, s, writes), place(t, s, writes)
	bump(t, a)
	bump(t, a)
	if got := look(t, s, q); got.State != rediscache.Fenced {
		t.Error("the second writer's intent fell with the first one's:", got.State)
	}
	bump(t, b)
	if got := look(t, s, q); got.State != rediscache.Miss {
		t.Error(got.State)
	}
}

func TestTheIntentOfAWriterThatDiedEndsInAMiss(t *testing.T) {
	w := ownRedis(t)
	s := w.space(300 * time.Millisecond)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	fill(t, s, q, miss, "Rex")
	place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog})
	if got := look(t, s, q); got.State != rediscache.Fenced {
		t.Log("a slow machine: the intent has ended already")
	}
	after := until(t, s, q, rediscache.Miss)
	if after.Proof == miss.Proof {
		t.Error("what the dead writer may have changed counts as unchanged")
	}
}

func TestARenewedIntentStands(t *testing.T) {
	w := ownRedis(t)
	s := w.space(2 * time.Second)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	i := place(t, s, rediscache.Writes{Relations: []uint32{1}, Catalog: miss.Catalog})
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		if _, err := s.Renew(t.Context(), []*rediscache.Intent{i}); err != nil {
			t.Fatal(err)
		}
		if got := look(t, s, q); got.State != rediscache.Fenced && got.State != rediscache.Unconfirmed {
			t.Fatal("the intent of a living writer has ended:", got.State)
		}
		<-time.After(50 * time.Millisecond)
	}
	bump(t, i)
	if got := until(t, s, q, rediscache.Miss); got.Proof == miss.Proof {
		t.Error("nothing has changed")
	}
}

func TestAWriterWhoseCatalogIsOldFencesEverything(t *testing.T) {
	w := ownRedis(t)
	s := w.space(10 * time.Second)
	confirmed(t, w, s)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	ddl := place(t, s, rediscache.Writes{Relations: []uint32{9}, Schema: true, Catalog: miss.Catalog})
	bump(t, ddl)
	after := look(t, s, q)
	if after.Catalog == miss.Catalog || after.Proof == miss.Proof {
		t.Error("nobody learns that the catalog has changed")
	}
	i := place(t, s, rediscache.Writes{Relations: []uint32{9}, Catalog: miss.Catalog})
	if !i.Widened || i.Catalog != after.Catalog {
		t.Errorf("%+v", i)
	}
	if got := look(t, s, q); got.State != rediscache.Fenced {
		t.Error("a trigger that the writer does not know may write pets, too:", got.State)
	}
	bump(t, i)
}

func TestNothingIsServedUnlessSomebodyWatches(t *testing.T) {
	w := ownRedis(t)
	s := w.space(time.Millisecond)
	q := question("pets", 1)
	if got := look(t, s, q); got.State != rediscache.Unconfirmed {
		t.Error("nobody has watched yet:", got.State)
	}
	stop := keepWatching(t, s)
	miss := until(t, s, q, rediscache.Miss)
	fill(t, s, q, miss, "Rex")
	until(t, s, q, rediscache.Found)
	stop()
	until(t, s, q, rediscache.Unconfirmed)
	keepWatching(t, s)
	if got := until(t, s, q, rediscache.Miss); got.Proof == miss.Proof {
		t.Error("nobody has watched for a while, and all is as it was")
	}
}

func TestAWatcherThatWasDelayedExtendsNothing(t *testing.T) {
	w := ownRedis(t)
	s := w.space(time.Millisecond)
	seen, err := s.Watch(t.Context(), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Watch(t.Context(), seen.Moment-1, false); err != nil {
		t.Fatal(err)
	}
	if got := look(t, s, question("pets", 1)); got.State != rediscache.Unconfirmed {
		t.Error(got.State)
	}
}

// confirmed waits for the time in which nothing is served, or skips over it: the tests that
// need a long Linger do not need that one.
func confirmed(t *testing.T, w *world, s *rediscache.Space) {
	t.Helper()
	seen, err := s.Watch(t.Context(), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Watch(t.Context(), seen.Moment+1000, false); err != nil {
		t.Fatal(err)
	}
	state, _, _ := s.Keys(nil)
	if err := w.raw.HSet(t.Context(), state, "quiet", 0).Err(); err != nil {
		t.Fatal(err)
	}
}
