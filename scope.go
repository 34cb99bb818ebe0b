package lifeguard

import (
	"context"
	"sync"
)

// scope counts the slots that one request holds, per limiter: a request that
// holds a connection to one database may wait for another's like anybody.
type scope struct {
	mu    sync.Mutex // guards holds; innermost: taken under limiter.mu, nothing under it
	holds []scopeHold
}

type scopeHold struct {
	of    *limiter
	held  int // slots
	waits int // nested acquisitions in the queue
}

// Scope marks a request: everything done with the returned context, or one
// derived from it, belongs together. An HTTP middleware is the place for it.
//
// A goroutine that holds a transaction, open rows or a sql.Conn and asks the
// sql.DB for a second connection can block any pool for ever, once enough of
// them do so at the same time. Inside a scope such a nested acquisition is
// recognised. It goes to the front of the queue, past everything else and past
// lifeguard_tx_share, since a held slot depends on it; and if even that cannot
// help, because all slots are held by scopes that wait like this one, it gets
// [ErrNestedAcquire] at once. In strict mode every nested acquisition gets it,
// which is meant for tests.
//
// Statements that one request runs in parallel count as nested too.
// Scope inside a scope returns ctx: the outermost request is the one.
func Scope(ctx context.Context) context.Context {
	r := requestFrom(ctx)
	if r.scope != nil {
		return ctx
	}
	r.scope = new(scope)

	return context.WithValue(ctx, requestKey{}, &r)
}

// hold returns the entry of l, which only l changes, under l.mu. Call it with
// s.mu held.
func (s *scope) hold(l *limiter) *scopeHold {
	for i := range s.holds {
		if s.holds[i].of == l {
			return &s.holds[i]
		}
	}
	s.holds = append(s.holds, scopeHold{of: l})

	return &s.holds[len(s.holds)-1]
}

// add changes what the scope holds of l and how many of its callers wait
// nested. Call it with l.mu held.
func (s *scope) add(l *limiter, held, waits int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	h := s.hold(l)
	h.held += held
	h.waits += waits
}

// counts returns how many slots of l the scope holds, and how many of its
// callers wait for one more. Call it with l.mu held.
func (s *scope) counts(l *limiter) (held, waits int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	h := s.hold(l)

	return h.held, h.waits
}

// deadlockedLocked reports whether, with one more nested waiter of sc, every
// slot would be idle in the hands of a scope that waits for another slot. None
// of them can then be released before one of them gets what it waits for.
func (l *limiter) deadlockedLocked(sc *scope) bool {
	if l.inFlight < l.usual {
		return false // a free slot that only transactions may not take, or one after a probe
	}
	for _, s := range l.all {
		if !s.held {
			continue
		}
		if s.req.scope == nil || !s.currentState().idle() {
			return false
		}
		if s.req.scope == sc {
			continue
		}
		if _, waits := s.req.scope.counts(l); waits == 0 {
			return false
		}
	}

	return true
}
