package lifeguard

import "time"

// LimiterStats is a snapshot of admission. Counters only grow.
type LimiterStats struct {
	Limit    int // slots
	InFlight int // slots in use; above Limit only after it was lowered
	Queued   int // waiters
	MaxQueue int // waiters before refusal

	Canceled uint64 // waiters, or just granted, whose own context ended
	Nested   uint64 // refusals with ErrNestedAcquire

	// HoldMean is the running mean of how long a slot is held, on which
	// predictions rest.
	HoldMean time.Duration

	Priorities [5]PriorityStats // Critical first
	States     [6]StateStats    // in the order of the constants
	Refusals   [4]RefusalStats  // OverloadErrors
}

// PriorityStats is one class's part of [LimiterStats].
type PriorityStats struct {
	Priority Priority
	Queued   int           // waiters now
	Admitted uint64        // slots given, at once or after waiting
	Waits    uint64        // slots given after waiting
	WaitTime time.Duration // that these waited
	Refused  uint64        // OverloadErrors
}

// StateStats says how many slots are in a state now, and how much time slots
// have spent in it, up to their latest change of state.
type StateStats struct {
	State SlotState
	Slots int
	Time  time.Duration
}

// RefusalStats counts one reason's refusals.
type RefusalStats struct {
	Reason OverloadReason
	Count  uint64
}

const refusals = len(overloadReasons)

func (r OverloadReason) index() int {
	for i, reason := range overloadReasons {
		if r == reason {
			return i
		}
	}

	return 0
}

// totals is what the limiter counts, guarded by its mu. Arrays of classes are
// by Priority.index.
type totals struct {
	admitted  [priorities]uint64
	queued    [priorities]int // nested ones too
	waits     [priorities]uint64
	waitTime  [priorities]time.Duration
	refusedOf [priorities]uint64
	refused   [refusals]uint64
	canceled  uint64
	nested    uint64
	spent     [slotStates]time.Duration
}

func (t *totals) waited(p Priority, wait time.Duration) {
	t.waits[p.index()]++
	t.waitTime[p.index()] += max(wait, 0)
}

// endHold adds the time that a hold spent in each state.
func (t *totals) endHold(s *slot, now time.Duration) {
	t.spent[s.state] += now - s.since
	if !s.moved {
		return
	}
	for i, d := range s.spent {
		t.spent[i] += d
	}
	clear(s.spent[:])
	s.moved, s.sql, s.fingerprint = false, "", 0
}

// stats returns a snapshot.
func (l *limiter) stats() LimiterStats {
	l.mu.Lock()
	defer l.mu.Unlock()

	t := &l.totals
	st := LimiterStats{
		Limit:    l.capacity,
		InFlight: l.inFlight,
		Queued:   l.queued,
		MaxQueue: l.maxQueue,
		Canceled: t.canceled,
		Nested:   t.nested,
		HoldMean: l.holds.mean,
	}
	for i := range st.Priorities {
		st.Priorities[i] = PriorityStats{
			Priority: Critical - Priority(i),
			Queued:   t.queued[i],
			Admitted: t.admitted[i],
			Waits:    t.waits[i],
			WaitTime: t.waitTime[i],
			Refused:  t.refusedOf[i],
		}
	}
	for i := range st.States {
		st.States[i] = StateStats{State: SlotState(i), Time: t.spent[i]}
	}
	for _, s := range l.all {
		if s.held {
			s.addTo(&st.States)
		}
	}
	for i := range st.Refusals {
		st.Refusals[i] = RefusalStats{overloadReasons[i], t.refused[i]}
	}

	return st
}

// addTo adds a slot in use to the counts. Call it with l.mu held.
func (s *slot) addTo(states *[slotStates]StateStats) {
	s.mu.Lock()
	defer s.mu.Unlock()

	states[s.state].Slots++
	for i, d := range s.spent {
		states[i].Time += d
	}
}

// slots describes the slots in use, in no order.
func (l *limiter) slots() []SlotInfo {
	now := l.now()

	l.mu.Lock()
	defer l.mu.Unlock()

	infos := make([]SlotInfo, 0, l.inFlight)
	for _, s := range l.all {
		if s.held {
			infos = append(infos, s.info(now))
		}
	}

	return infos
}
