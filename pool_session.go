package lifeguard

import "context"

// In session mode a virtual connection owns its physical one from Connect to Close,
// and database/sql's own pool decides how long that is. Between two checkouts the
// pair is parked: the pool may then take the physical connection away, if it is at
// its limit and somebody waits for a place. The owner notices at its next
// ResetSession, and database/sql tries another connection: it is as if the parked
// one had died while idle. Without that, a Connect that waits for a place could wait
// for ever beside connections that nobody uses.

// openSession opens a connection for one virtual connection.
func (p *pool) openSession(ctx context.Context) (*physical, error) {
	p.mu.Lock()
	for p.total >= p.cfg.MaxConns && !p.closed {
		if err := p.waitLocked(ctx, p.parked.popFront()); err != nil {
			return nil, err
		}
	}
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.total++
	p.opening++
	p.mu.Unlock()
	return p.dial(ctx)
}

// park says that ph's owner is idle. It reports false if the owner should close
// instead, because somebody waits for the place.
func (p *pool) park(ph *physical) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.waiting) > 0 {
		return false
	}
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
