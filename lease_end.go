package lifeguard

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// giveBack returns what a lease consists of. The slot is free when the server has
// nothing left to do for it; then, and not before, so is the connection's place.
//
//nolint:contextcheck // what is left to do is so although the context has ended
func (co *core) giveBack(ph *physical, s *slot, session bool) {
	switch {
	case ph == nil:
		co.limiter.release(s)
	case session:
		co.giveBackSlot(ph, s)
	case ph.cancel.pending():
		s.setState(SlotDraining)
		co.pool.inBackground(func() {
			_ = ph.cancel.settle(context.Background())
			co.giveBack(ph, s, false)
		})
	default:
		now := co.limiter.now()
		reason, where := co.pool.putOrRefuse(ph, now, co.limiter.crowded())
		if where == withSlot {
			s.warm = ph
		}
		if where != refused {
			co.limiter.releaseAt(s, now)
			return
		}
		s.setState(SlotDraining)
		co.pool.end(ph, reason, func() { co.limiter.release(s) })
	}
}

// giveBackSlot frees the slot of a virtual connection that keeps its physical one.
func (co *core) giveBackSlot(ph *physical, s *slot) {
	if !ph.dead() {
		co.limiter.release(s)
		return
	}
	s.setState(SlotDraining)
	co.pool.inBackground(func() {
		ph.awaitCleanup()
		co.limiter.release(s)
	})
}

// watchForLeak logs the stack of the caller unless the timer is stopped before.
func (co *core) watchForLeak(ctx context.Context, wait time.Duration, s *slot) *time.Timer {
	after := co.cfg.LeakAfter
	callers := make([]uintptr, 64)
	callers = callers[:runtime.Callers(3, callers)]
	return time.AfterFunc(after, func() { co.journal.leaked(ctx, after, wait, s, stackOf(callers)) })
}

// stackOf writes functions and lines, and no arguments, which may be the application's
// data.
func stackOf(callers []uintptr) string {
	var b strings.Builder
	frames := runtime.CallersFrames(callers)
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return b.String()
		}
	}
}
