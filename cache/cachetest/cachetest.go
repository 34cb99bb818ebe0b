// Package cachetest is the conformance suite that every cache.Store passes.
package cachetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lifeguard-go/lifeguard/cache"
)

// rows is a result that can be told from others.
type rows int

// Size implements cache.Rows.
func (rows) Size() int { return 100 }

func entry(n int) *cache.Entry { return &cache.Entry{Rows: rows(n)} }

// Run checks a store. open returns an empty one with room for a thousand small entries.
func Run(t *testing.T, open func(t *testing.T) cache.Store) {
	t.Helper()
	t.Run("what was set is found, under its key alone", func(t *testing.T) {
		s := open(t)
		if _, ok := s.Get("a"); ok {
			t.Error("an empty store has an entry")
		}
		s.Set("a", entry(1))
		s.Set("", entry(2))
		s.Set("a\x00", entry(3))
		for key, want := range map[string]rows{"a": 1, "": 2, "a\x00": 3} {
			if e, ok := s.Get(key); !ok || e.Rows != want {
				t.Errorf("%q: %v %v", key, e, ok)
			}
		}
		if _, ok := s.Get("A"); ok {
			t.Error("found under another key")
		}
	})
	t.Run("the last one set counts", func(t *testing.T) {
		s := open(t)
		s.Set("a", entry(1))
		s.Set("a", entry(2))
		if e, ok := s.Get("a"); !ok || e.Rows != rows(2) {
			t.Errorf("%v %v", e, ok)
		}
	})
	t.Run("what was deleted is gone", func(t *testing.T) {
		s := open(t)
		s.Delete("a")
		s.Set("a", entry(1))
		s.Delete("a")
		if _, ok := s.Get("a"); ok {
			t.Error("still there")
		}
	})
	t.Run("a sweep takes the dead ones only", func(t *testing.T) {
		s := open(t)
		for i := range 100 {
			s.Set(fmt.Sprint(i), entry(i))
		}
		s.Sweep(func(e *cache.Entry) bool { return e.Rows.(rows)%2 == 1 }) //nolint:errcheck,forcetypeassert // ours
		for i := range 100 {
			if _, ok := s.Get(fmt.Sprint(i)); ok != (i%2 == 0) {
				t.Errorf("%d: found is %t", i, ok)
			}
		}
		if n := s.Usage().Entries; n != 50 {
			t.Errorf("%d entries", n)
		}
	})
	t.Run("usage is counted", func(t *testing.T) {
		s := open(t)
		for i := range 10 {
			s.Set(fmt.Sprint(i), entry(i))
		}
		if u := s.Usage(); u.Entries != 10 || u.Bytes < 1000 {
			t.Errorf("%+v", u)
		}
	})
	t.Run("concurrent use", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 500 {
					key := i % 50
					switch (i + g) % 4 {
					case 0:
						s.Set(fmt.Sprint(key), entry(key))
					case 1:
						s.Delete(fmt.Sprint(key))
					case 2:
						s.Sweep(func(e *cache.Entry) bool { return e.Rows == rows(g) })
					default:
						if e, ok := s.Get(fmt.Sprint(key)); ok && e.Rows != rows(key) {
							t.Errorf("key %d has the entry %v", key, e.Rows)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}
