package lifeguard

import (
	"context"
	"strconv"
)

// A Priority orders the callers that wait for admission; see [WithPriority].
type Priority int8

// The classes, and what each is guaranteed of the slots' time while all five
// wait: the weights are 1:2:8:64:1024. What a class does not use goes to the
// others, so an idle class costs nothing and no class starves.
const (
	Bulk     Priority = iota - 2 // 0.1 %: loads, maintenance; BatchInserter's own
	Low                          // 0.2 %: what nobody waits for
	Normal                       // 0.7 %: the default
	High                         // 6 %
	Critical                     // 93 %; 99 % against Normal alone. It may wait for all of its deadline, others for half
)

// String returns the class's name in lower case.
func (p Priority) String() string {
	switch p {
	case Bulk:
		return "bulk"
	case Low:
		return "low"
	case Normal:
		return "normal"
	case High:
		return "high"
	case Critical:
		return "critical"
	}

	return "priority(" + strconv.Itoa(int(p)) + ")"
}

// request is what one caller asks the limiter for. It travels by value.
type request struct {
	class       Priority  // from WithPriority
	tenant      string    // from WithTenant; "" is nobody's
	fingerprint uint64    // of the statement; 0 is none, and free of the half-of-the-slots rule
	tx          bool      // a transaction wants the slot
	scope       *scope    // from Scope; nil is none
	ask         *groupAsk // what a leader may take along; nil is nothing
}

// requestKey finds the one context value of this package, a *request that is
// never written again: one look-up on the path, whatever was marked.
type requestKey struct{}

// requestFrom returns what the context says about its statements; the caller
// adds the fingerprint and tx.
func requestFrom(ctx context.Context) request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return *r
	}

	return request{}
}

// WithPriority returns a context whose statements wait for admission in class
// p. Values out of range count as the nearest class. While nobody waits, a
// priority changes nothing. A statement in an open transaction or on a
// pinned sql.Conn never waits, whatever its class: it has its connection.
func WithPriority(ctx context.Context, p Priority) context.Context {
	r := requestFrom(ctx)
	r.class = min(max(p, Bulk), Critical)

	return context.WithValue(ctx, requestKey{}, &r)
}

// WithTenant returns a context whose statements wait in the tenant's own line.
// Inside a priority, the tenants that wait are admitted in turns, one each, and
// when the queue is full the one with the longest line loses its newest.
// Statements without a tenant share one line.
func WithTenant(ctx context.Context, tenant string) context.Context {
	r := requestFrom(ctx)
	r.tenant = tenant

	return context.WithValue(ctx, requestKey{}, &r)
}
