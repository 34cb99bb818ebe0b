package lifeguard_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// panicky panics when pgx asks for its value, or only when it is asked late.
type panicky struct{ text string }

func (p panicky) Value() (driver.Value, error) { panic(p.text) }

func TestAPanickingArgumentReachesItsCallerAndNobodyElse(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	const update = "update item set name = $1::text where id = 1"
	mustExec(t, c, update, "x")
	panics := func(f func()) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		f()
		return false
	}
	if !panics(func() {
		_, _ = readAll(t.Context(), c.DB, "select name from item where name = $1::text", panicky{"read"})
	}) {
		t.Error("the query's panic is lost")
	}
	for range 4 {
		_, _ = readAll(t.Context(), c.DB, "select name from item where name = $1::text", "x")
	}
	if !panics(func() {
		_, _ = readAll(t.Context(), c.DB, "select name from item where name = $1::text", panicky{"read"})
	}) {
		t.Error("the query's panic is lost")
	}
	if !panics(func() { _, _ = c.ExecContext(t.Context(), update, panicky{"write"}) }) {
		t.Error("the write's panic is lost")
	}
	for _, q := range c.names.TopQueries(0) {
		if q.Query == "select name from item where name = $1::text" && q.Errors == 0 {
			t.Errorf("the query that panicked was not observed: %+v", q)
		}
	}
	eventually(t, "the end of the fence", func() bool { return c.stats().Unsettled == 0 })
	c.same("after the panics", allItems)
	c.warm(allItems)
}

// leaver ends the goroutine that asks it for its value, once: when it is sent, and not when
// its key is made.
type leaver string

var leaverAsked atomic.Int32

func (l leaver) Value() (driver.Value, error) {
	if leaverAsked.Add(1) == 2 {
		runtime.Goexit()
	}
	return string(l), nil
}

func TestAnArgumentThatEndsItsGoroutineLeavesNobodyWaiting(t *testing.T) {
	c := openCached(t, cacheSchema)
	const query = "select id from item where name = $1::text"
	leaverAsked.Store(2)
	c.warm(query, leaver("warm"))
	for i, ctx := range []context.Context{context.Background(), t.Context()} {
		item := leaver(fmt.Sprint("item ", i+7))
		leaverAsked.Store(0)
		done, went := make(chan struct{}), false
		go func() {
			defer close(done)
			defer func() { _ = recover() }() // where its goroutine is another one
			_, _ = readAll(ctx, c.DB, query, item)
			went = true
		}()
		<-done
		if went || leaverAsked.Load() < 2 {
			t.Fatalf("the goroutine went on, after %d questions", leaverAsked.Load())
		}
		if got, err := readAll(t.Context(), c.DB, query, item); got != fmt.Sprintf("%d|\n", i+7) || err != nil {
			t.Errorf("%q %v", got, err)
		}
	}
}
