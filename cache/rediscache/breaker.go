package rediscache

import (
	"math/rand/v2"
	"sync"
	"time"
)

// breaker keeps look-ups from waiting for a Redis that does not answer.
//
//	closed ──failures in a row──► open ──a second or so──► half-open ──success──► closed
//	                                ▲                          │
//	                                └─────────failure──────────┘
//
// While it is half-open one look-up tries, and the others are turned away.
type breaker struct {
	mu       sync.Mutex // guards what follows; never held while blocking
	failures int
	open     bool
	trying   bool
	retry    time.Time
}

const (
	breakAfter = 5
	breakFor   = time.Second
)

// allow reports whether to try now. Who was allowed calls done.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return true
	}
	if b.trying || time.Now().Before(b.retry) {
		return false
	}
	b.trying = true
	return true
}

// done says what has become of a try. One that says nothing about Redis, since its caller
// has gone, is neither.
func (b *breaker) done(worked, says bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	switch {
	case !says:
	case worked:
		b.failures, b.open = 0, false
	default:
		b.failures++
		if b.open || b.failures >= breakAfter {
			b.open = true
			b.retry = time.Now().Add(breakFor/2 + rand.N(breakFor)) //nolint:gosec // jitter
		}
	}
}

// state is closed, open or half-open.
func (b *breaker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return Closed
	case b.trying:
		return HalfOpen
	}
	return Opened
}
