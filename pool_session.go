package lifeguard

import (
	"context"
	"time"
)

// In session mode a virtual connection owns its physical one from Connect to Close,
// and database/sql's own pool decides how long that is. Between two checkouts the
// pair is parked: the pool may then take the physical connection away, if it is at
// its limit and somebody waits for a place. The owner notices at its next
// ResetSession, and database/sql tries another connection: it is as if the parked
// one had died while idle. Without that, a Connect that waits for a place could wait
// for ever beside connections that nobody uses.

// parkedFor is how long a connection that nobody uses stays with its owner when others
// wait: long enough that a new one has been used first, and that one which is given
// back under load is not taken from whoever gets it next.
const parkedFor = 100 * time.Millisecond

// stealLocked takes the connection that has been parked longest, if that is long enough.
func (p *pool) stealLocked() *physical {
	ph := p.parked.front
	if ph == nil || p.now()-ph.idleSince < parkedFor {
		return nil
	}
	return p.parked.remove(ph)
}

// openSession opens a connection for one virtual connection, or takes one that an
// abandoned attempt or the warm-up has left. It begins parked: database/sql may have
// opened it ahead of need.
func (p *pool) openSession(ctx context.Context) (*physical, error) {
	ph, err := p.get(ctx, nil, p.now())
	if err != nil {
		if ph != nil {
			p.put(ph)
		}
		return nil, err
	}
	p.mu.Lock()
	ph.idleSince = p.now()
	p.parked.pushBack(ph, placeParked)
	p.mu.Unlock()
	return ph, nil
}

// park says that ph's owner is idle. It reports false if the owner should close
// instead, because somebody waits for the place.
func (p *pool) park(ph *physical) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.waiting) > 0 {
		return false
	}
	ph.idleSince = p.now()
	p.parked.pushBack(ph, placeParked)
	return true
}

// unpark says that ph's owner is in use again. It reports false if the connection
// was taken away meanwhile.
func (p *pool) unpark(ph *physical) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ph.place != placeParked {
		return false
	}
	p.parked.remove(ph)
	return true
}
