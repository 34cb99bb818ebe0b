package cache

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
)

// Flights lets concurrent misses of one key share one query.
//
// Two misses are the same only if their snapshots are: a reader that starts after a
// commit must not be given what one that began before it has asked for. So the
// versions are part of the name.
//
// The query belongs to all who wait for it. It runs under the flight's context, which
// ends when the last of them has left, not with the context of whoever came first.
//
// Until it has taken off, its leader himself waits: for admission, in a line for as urgent
// callers as he is. Who is more urgent does not stand behind him: he leads another
// flight, which those who come later find.
type Flights struct {
	// Abandoned, unless nil, is called by the last who leaves a flight that has taken off:
	// its query is being cancelled, and has ended when landed is closed. Set it before the
	// first Join.
	Abandoned func(landed <-chan struct{})

	mu      sync.Mutex
	flights map[string]*Flight // guarded by mu
}

// Flight is one query that several callers may wait for.
type Flight struct {
	of   *Flights
	name string

	ctx    context.Context
	cancel context.CancelFunc

	urgency  int // of the leader
	airborne atomic.Bool
	waiting  int // guarded by of.mu
	landed   chan struct{}

	// Written before landed is closed.
	rows Rows
	err  error
}

// Urgent is the urgency of a caller for whom somebody else may be waiting already: he
// joins no flight that has not taken off.
const Urgent = math.MaxInt

// Join returns the flight for a key and a snapshot. leads is true for the first, and for
// who is more urgent than the leader of a flight that has not taken off: he has to call
// Land, once. Everybody, the leader too, calls Wait or Leave once. ctx gives its values,
// and not its end, to a new flight.
func (f *Flights) Join(ctx context.Context, key string, s *Snapshot, urgency int) (fl *Flight, leads bool) {
	name := s.name(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl = f.flights[name]; fl != nil && fl.takes(urgency) {
		fl.waiting++
		return fl, false
	}
	fl = &Flight{of: f, name: name, urgency: urgency, waiting: 1, landed: make(chan struct{})}
	fl.ctx, fl.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if f.flights == nil {
		f.flights = make(map[string]*Flight)
	}
	f.flights[name] = fl
	return fl, true
}

// name is the key with the versions before it, each of a fixed length, and before those
// how many they are: one text may depend on a row with one argument, and on its table with another.
func (s *Snapshot) name(key string) string {
	n := len(s.at.of)
	if s.row != nil {
		n++
	}
	b := make([]byte, 0, 8*(n+2)+len(key))
	b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // a few
	b = binary.BigEndian.AppendUint64(b, s.at.epoch)
	for _, v := range s.at.of {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	if s.row != nil {
		b = binary.BigEndian.AppendUint64(b, s.rowAt)
	}
	return string(append(b, key...))
}

// takes reports whether a caller may wait for the flight.
func (fl *Flight) takes(urgency int) bool {
	return fl.airborne.Load() || urgency <= fl.urgency && urgency != Urgent
}

// TakeOff says that the leader does not wait any more: the query is about to be sent.
func (fl *Flight) TakeOff() { fl.airborne.Store(true) }

// Context ends when nobody waits any more, and when the flight has landed.
func (fl *Flight) Context() context.Context { return fl.ctx }

// Land hands the result, or nil rows if there is none to share, to all who wait. Who
// misses from now on starts a new flight.
func (fl *Flight) Land(rows Rows, err error) {
	fl.of.mu.Lock()
	if fl.of.flights[fl.name] == fl {
		delete(fl.of.flights, fl.name)
	}
	fl.of.mu.Unlock()
	fl.rows, fl.err = rows, err
	close(fl.landed)
	fl.cancel()
}

// Wait returns what Land was given, or ctx's error if that ends first.
func (fl *Flight) Wait(ctx context.Context) (Rows, error) {
	select {
	case <-fl.landed:
		return fl.rows, fl.err
	case <-ctx.Done():
	}
	fl.Leave()
	return nil, ctx.Err()
}

// Leave says that the caller does not wait any more. When the last one leaves, the
// flight's context ends, and nobody can join it: what it brings may be an error.
func (fl *Flight) Leave() {
	if !fl.isLast() {
		return
	}
	fl.cancel()
	select {
	case <-fl.landed:
		return
	default:
	}
	if fl.of.Abandoned != nil && fl.airborne.Load() {
		fl.of.Abandoned(fl.landed)
	}
}

// isLast counts one who leaves, and reports whether nobody waits any more.
func (fl *Flight) isLast() bool {
	fl.of.mu.Lock()
	defer fl.of.mu.Unlock()
	fl.waiting--
	if fl.waiting > 0 {
		return false
	}
	if fl.of.flights[fl.name] == fl {
		delete(fl.of.flights, fl.name)
	}
	return true
}
