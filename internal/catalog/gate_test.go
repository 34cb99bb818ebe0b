package catalog

import (
	"strings"
	"testing"
	"time"
)

func TestALiteralReadsTheClock(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]bool{
		`'now'`: true, `'NOW'`: true, `' now '`: true, `'{a,now}'`: true, `'now1'`: true, `'2024 today'`: true,
		`'nowhere'`: false, `'know'`: false, `''`: false, `'no''w'`: false, `'it''s'`: false, `'it''s now'`: true,
		"'no'\n'w'": true, "'a'\n'b'": true, `E'x'`: false, `E'\n'`: true, `e'now'`: true, `N'now'`: true, `U&'x'`: true,
		`$$now$$`: true, `$now$x$now$`: true, `$$x$$`: false, `'allballs'`: false, `'infinity'`: false, `'epoch'`: false,
		`'tomorrow'`: true, `'yesterday'`: true, `'Yesterday 10:00'`: true, `'tomorrows'`: false, `'`: true,
	} {
		if got := literalReadsClock(literal); got != want {
			t.Errorf("%s: %v", literal, got)
		}
	}
}

func TestTheGateTakesLinearTime(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{
		"date(", "(", "x::date", "CAST(x AS date", "a.", "f(a,", "date(a)::date,", "))", "AS ",
	} {
		cost := func(n int) time.Duration {
			sql := "SELECT " + strings.Repeat(piece, n)
			start := time.Now()
			Gate(sql)
			return time.Since(start)
		}
		// 32 times the text takes 32 times as long, or 1024 times. On a busy machine
		// any one look may take long, so the shortest of many counts; one is mostly enough.
		short := min(cost(1000), cost(1000), cost(1000))
		long := cost(32000)
		for range 20 {
			if long <= 250*short {
				break
			}
			short, long = min(short, cost(1000)), min(long, cost(32000))
		}
		if long > 250*short {
			t.Errorf("%q: %v, and 32 times as much %v", piece, short, long)
		}
	}
}

func TestATextWithANulIsNotLetThrough(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"SELECT 1\x00", "SELECT '\x00'", "\x00SELECT 1"} {
		if c, reason := Gate(sql); reason != Unreadable || c.Effect != Anything {
			t.Errorf("%q: %s, %v", sql, reason, c.Effect)
		}
	}
}

func TestALongNameIsNotLetThrough(t *testing.T) {
	t.Parallel()
	// PostgreSQL cuts it to 63 bytes, and then it may be another function's.
	if _, reason := Gate("SELECT " + strings.Repeat("x", 64) + "()"); reason != Unreadable {
		t.Error(reason)
	}
	if _, reason := Gate("SELECT " + strings.Repeat("x", 63) + "()"); reason != "" {
		t.Error(reason)
	}
}

// TestTheLocksHaveTheLastWord: whatever the gate let through, a lock that is not
// that of a plain read refuses.
func TestTheLocksHaveTheLastWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    split
		want Reason
	}{
		{split{}, ""},
		{split{locking: true}, LocksRows},
		{split{targets: []Relation{20000}}, Modifies},
		{split{odd: true}, LockMode},
	} {
		k := newKnowledge(1)
		k.hazards = &hazards{}
		j := &judge{k: k, want: newWant(), memory: map[verdictKey]verdict{}}
		v := j.cacheable(&Candidate{}, &parsed{path: []string{"pg_catalog"}}, &tt.s)
		if v.reason != tt.want {
			t.Errorf("%+v: %q, want %q", tt.s, v.reason, tt.want)
		}
	}
}

func TestWhatIsNotReadToItsEndMayDoAnything(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"TRUNCATE users frobnicate", "TRUNCATE users, (a)", "TRUNCATE U&\"a\"", "COPY users", "COPY users (id"} {
		if c, _ := Gate(sql); c.Effect != Anything {
			t.Errorf("%s: effect %v", sql, c.Effect)
		}
	}
}
