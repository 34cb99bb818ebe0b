package lifeguard

import (
	"fmt"
	"strings"
	"time"
)

// stallAfter is how long all slots must have been idle in the application's
// hands, and somebody have waited, before it is worth a log line.
const stallAfter = 200 * time.Millisecond

// stallEvery is how often there may be such a line, if there is one episode after the
// other: transactions that work a little now and then end theirs each time.
const stallEvery = 10 * time.Second

// stall says that nobody can be admitted although the server has nothing to do:
// each slot is held by a transaction or connection between two statements, or by
// rows that nobody reads on. Usually these wait for something outside the
// database, or for the very slots that they hold.
type stall struct {
	queued int
	limit  int
	states [slotStates]int
	oldest SlotInfo      // held longest
	waited time.Duration // by whoever waits longest
}

// String is the log line.
func (s stall) String() string {
	var what []string
	for i, n := range s.states {
		if n > 0 {
			what = append(what, fmt.Sprintf("%d %s", n, SlotState(i)))
		}
	}

	return fmt.Sprintf(
		"no slot is doing anything (%s) and %d statements wait, the longest for %v; the slot held longest, %v, has been %s for %v since %q (fingerprint %016x)",
		strings.Join(what, ", "), s.queued, s.waited.Round(time.Millisecond),
		s.oldest.Held.Round(time.Millisecond), s.oldest.State, s.oldest.InState.Round(time.Millisecond),
		s.oldest.SQL, s.oldest.Fingerprint)
}

// stallLocked reports a stall once per episode, and one that begins soon after the latest
// report when stallEvery is over, if it still lasts. The timer calls it, which runs
// only while somebody waits, so nothing of this is on the path of a query. An
// episode ends when a tick finds a slot at work, or nobody waiting.
func (l *limiter) stallLocked(now time.Duration) (stall, bool) {
	st, found := l.findStallLocked(now)
	if !found {
		l.stalled = false

		return st, false
	}
	if l.stalled || l.stallSaid > 0 && now-l.stallSaid < stallEvery {
		return st, false
	}
	l.stalled, l.stallSaid = true, now

	return st, true
}

func (l *limiter) findStallLocked(now time.Duration) (stall, bool) {
	if l.queued == 0 || l.inFlight < l.capacity || l.probing {
		return stall{}, false
	}
	st := stall{queued: l.queued, limit: l.capacity}
	for i := range l.classes {
		if w := l.classes[i].oldest; w != nil {
			st.waited = max(st.waited, now-w.since)
		}
	}
	if st.waited < stallAfter {
		return stall{}, false
	}
	for _, s := range l.all {
		if !s.held {
			continue
		}
		info := s.info(now)
		if !info.State.idle() || info.InState < stallAfter {
			return stall{}, false
		}
		st.states[info.State]++
		if info.Held > st.oldest.Held {
			st.oldest = info
		}
	}

	return st, true
}
