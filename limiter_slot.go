package lifeguard

import (
	"sync"
	"time"
)

// A SlotState says what the holder of an admission slot is doing with it.
type SlotState uint8

// The states of a slot.
const (
	SlotConnecting SlotState = iota // admitted; being given its connection
	SlotExecuting                   // a statement is on the server
	SlotRowsOpen                    // a result is being read, or was forgotten
	SlotIdleInTx                    // between two statements of a transaction
	SlotIdleInConn                  // between two statements of a sql.Conn
	SlotDraining                    // cleaning up after a cancelled statement
	slotStates     = iota
)

// String returns the state as the metrics label it.
func (s SlotState) String() string {
	switch s {
	case SlotConnecting:
		return "connecting"
	case SlotExecuting:
		return "executing"
	case SlotRowsOpen:
		return "rows_open"
	case SlotIdleInTx:
		return "idle_in_tx"
	case SlotIdleInConn:
		return "idle_in_conn"
	case SlotDraining:
		return "draining"
	}

	return "unknown"
}

// idle reports whether the server has nothing to do for the slot: the next
// step is the application's.
func (s SlotState) idle() bool {
	return s == SlotRowsOpen || s == SlotIdleInTx || s == SlotIdleInConn
}

// A SlotInfo describes one slot in use; see [Connector.Slots].
type SlotInfo struct {
	State       SlotState
	Held        time.Duration // since admission
	InState     time.Duration // since the state began
	Fingerprint uint64        // of the latest statement; 0 if none was sent
	SQL         string        // of the latest statement, as its holder shows it
	Priority    Priority
	Tenant      string
	Tx          bool // admitted for a transaction
}

// slot is the right to have one statement, transaction or pinned connection in
// flight. It has one owner, from acquire to release; only slots() and the stall
// detector look over its shoulder. Slots are made once and reused.
type slot struct {
	l     *limiter
	index int // in limiter.all and limiter.fingerprints

	// Guarded by l.mu.
	held     bool
	used     bool // it has been released
	req      request
	acquired time.Duration // since l.epoch
	trial    bool
	crowded  bool // when it was granted, at least one waited for each slot

	// warm is the connection of the last owner, for the next. It is set by the owner before
	// release, and by who takes the slot from a waiter that has left; it is nil in a free
	// slot.
	warm *physical

	// By the owner, before release.
	shared  time.Duration // that it was held for riders
	expired bool          // its deadline passed while a statement was on the server
	unused  bool          // nothing was sent: it got no connection

	// mu guards the rest. acquire and release write it under l.mu alone: the
	// slot has no owner then, and a reader holds both. Taken under l.mu, never
	// the other way about.
	mu          sync.Mutex
	state       SlotState
	since       time.Duration // since l.epoch
	fingerprint uint64
	sql         string
	spent       [slotStates]time.Duration // in states that have ended
	moved       bool                      // since acquire
}

// setState notes what the owner does from now on.
// It returns the time of that.
func (s *slot) setState(state SlotState) time.Duration {
	now := s.l.now()
	s.mu.Lock()
	s.enter(state, now)
	s.mu.Unlock()

	return now
}

// begin notes a statement: sql is for display and may be a summary. The state is
// SlotExecuting, or SlotConnecting while its connection is still being opened.
func (s *slot) begin(state SlotState, sql string, fingerprint uint64) time.Duration {
	now := s.l.now()
	s.mu.Lock()
	s.enter(state, now)
	s.sql, s.fingerprint = sql, fingerprint
	s.mu.Unlock()

	return now
}

func (s *slot) enter(state SlotState, now time.Duration) {
	s.spent[s.state] += now - s.since
	s.state, s.since, s.moved = state, now, true
}

func (s *slot) currentState() SlotState {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.state
}

// doing is the state, and the statement that it is at, or was at last.
func (s *slot) doing() (state SlotState, sql string, fingerprint uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.state, s.sql, s.fingerprint
}

// info describes the slot. Call it with l.mu held.
func (s *slot) info(now time.Duration) SlotInfo {
	s.mu.Lock()
	defer s.mu.Unlock()

	return SlotInfo{
		State:       s.state,
		Held:        max(now-s.acquired, 0),
		InState:     max(now-s.since, 0),
		Fingerprint: s.fingerprint,
		SQL:         s.sql,
		Priority:    s.req.class,
		Tenant:      s.req.tenant,
		Tx:          s.req.tx,
	}
}

// sample is what an adaptive limit learns from one statement.
type sample struct {
	firstRow    time.Duration // from sending to the first row or the result
	fingerprint uint64
	tx          bool // in a transaction: lock waits are the application's
	ok          bool // false: failed or cancelled, so the time says little
	inFlight    int
	limit       int
	queued      int
}

// observe hands a statement's time to the adaptive limit, if there is one. The
// owner calls it before release.
func (s *slot) observe(firstRow time.Duration, fingerprint uint64, tx, ok bool) {
	l := s.l
	if l.cfg.onSample == nil {
		return
	}
	l.mu.Lock()
	o := sample{firstRow, fingerprint, tx, ok, l.inFlight, l.capacity, l.queued}
	l.mu.Unlock()
	l.cfg.onSample(o)
}
