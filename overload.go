package lifeguard

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrOverloaded is what errors.Is finds in every refusal by the admission
	// queue. The numbers are in the [OverloadError].
	ErrOverloaded = errors.New("lifeguard: overloaded")

	// ErrNestedAcquire is returned to a request marked by [Scope] that asks for
	// a second connection while it holds one: always in strict mode, otherwise
	// only if waiting could never end, because every slot is held by a request
	// that itself waits for a second one.
	ErrNestedAcquire = errors.New("lifeguard: the request already holds a connection")

	// ErrClosed is returned after the connector was closed, also to whoever
	// was waiting then.
	ErrClosed = errors.New("lifeguard: connector is closed")
)

// An OverloadReason says why a statement was refused. The set is closed.
type OverloadReason string

const (
	// ReasonQueueFull means that as many callers wait as may wait.
	ReasonQueueFull OverloadReason = "queue_full"
	// ReasonDeadline means that the caller's deadline would pass first: the
	// expected wait and its own time took more than half of the time left when it
	// came (for Critical, more than all of it); or all of it while it waited; or
	// too little for a typical statement was left when its turn came.
	ReasonDeadline OverloadReason = "deadline"
	// ReasonTimeout means that it waited for lifeguard_queue_timeout.
	ReasonTimeout OverloadReason = "timeout"
	// ReasonCoDel means that the queue stood longer than lifeguard_queue_target and is
	// being shed.
	ReasonCoDel OverloadReason = "codel"
)

// overloadReasons lists the set in the order of refusalIndex.
var overloadReasons = [...]OverloadReason{ReasonQueueFull, ReasonDeadline, ReasonTimeout, ReasonCoDel} //nolint:gochecknoglobals // a constant table

// An OverloadError is a refusal by the admission queue: the statement was not
// sent. It matches [ErrOverloaded], and never driver.ErrBadConn, which
// database/sql would retry. A caller whose own context ends while it waits gets
// the context's error instead.
//
// It has no Timeout or Temporary method: code that finds one retries at once,
// which is what an overloaded server needs least. Retry no earlier than
// RetryAfter, or answer 503.
type OverloadError struct {
	// Reason is why.
	Reason OverloadReason
	// Limit is how many statements or transactions may be in flight.
	Limit int
	// Queued is how many others waited at the moment of refusal.
	Queued int
	// Waited is how long this one had waited; 0 if it was refused on arrival.
	Waited time.Duration
	// RetryAfter is when those in flight and in the queue are expected to be
	// done, with a jitter of ±20 % so that the refused do not return together.
	RetryAfter time.Duration
}

func (e *OverloadError) Error() string {
	return fmt.Sprintf("lifeguard: overloaded: limit %d, %d queued, waited %v, reason %s, retry after %v",
		e.Limit, e.Queued, e.Waited.Round(time.Microsecond), e.Reason, e.RetryAfter.Round(time.Millisecond))
}

// Is reports whether target is [ErrOverloaded].
func (e *OverloadError) Is(target error) bool { return target == ErrOverloaded }
