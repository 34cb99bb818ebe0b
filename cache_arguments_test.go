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

// turn is what the values below say besides what they hold.
var turn atomic.Int64

type turning string

func (turning) Value() (driver.Value, error) { return fmt.Sprintf("item %d", turn.Load()), nil }

type marshalled int

func (marshalled) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "item %d", turn.Load()), nil
}

type holding struct{ Name marshalled }

func TestWhatIsInAnArgumentMayComputeToo(t *testing.T) {
	c := openCached(t, cacheSchema)
	for _, w := range []struct {
		query string
		arg   any
	}{
		{"select id from item where name = any($1::text[])", []turning{"a"}},
		{"select id from item where name = any($1::text[])", [1]turning{"a"}},
		{"select id from item where name = $1::jsonb->>'Name'", holding{1}},
		{"select id from item where name = $1::jsonb->>0", []marshalled{1}},
	} {
		for _, n := range []int64{1, 2} {
			turn.Store(n)
			for range 5 {
				if got, want := c.read(w.query, w.arg), fmt.Sprintf("%d|\n", n); got != want {
					t.Errorf("%s with %T: %q, not %q", w.query, w.arg, got, want)
				}
			}
		}
	}
}
