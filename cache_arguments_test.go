package lifeguard_test

import (
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"testing"
)

// ticking has no fields, and another value each time.
type ticking struct{}

var ticks atomic.Int64

func (ticking) Value() (driver.Value, error) { return ticks.Add(1), nil }

// today says so only when it is asked.
type today struct{}

func (today) Value() (driver.Value, error) { return "today", nil }

func TestWhatAnArgumentComputesBelongsToTheQuestion(t *testing.T) {
	c := openCached(t, cacheSchema)
	const echo = "select $1::bigint from item where id = 1"
	c.warm(echo, 7)
	last := int64(0)
	for range 6 {
		var n int64
		if err := c.QueryRow(echo, ticking{}).Scan(&n); err != nil || n <= last {
			t.Fatalf("%d after %d: %v", n, last, err)
		}
		last = n
	}
}

func TestArgumentsThatSayTodayBypass(t *testing.T) {
	c := openCached(t, cacheSchema)
	const query = "select id from item where name = $1::text"
	c.warm(query, "x")
	hits := c.stats().Hits
	for _, arg := range []any{"today", "ToDay ", []byte("{now}"), today{}} {
		for range 3 {
			c.read(query, arg)
		}
		if n := c.stats().Hits; n != hits {
			t.Errorf("%v: a hit", arg)
		}
	}
	if c.stats().Bypasses["clock_argument"] < 12 {
		t.Errorf("%+v", c.stats())
	}
}

func TestABufferMayBeUsedAgainWhenQueryHasReturned(t *testing.T) {
	c := openCached(t, cacheSchema)
	const query = "select id from item where name = convert_from($1::bytea, 'UTF8')"
	buf := []byte("item 1")
	for i := range 20 {
		copy(buf, fmt.Sprintf("item %d", i%9+1))
		if got, want := c.read(query, buf), fmt.Sprintf("%d|\n", i%9+1); got != want {
			t.Fatalf("%q, not %q", got, want)
		}
	}
}
