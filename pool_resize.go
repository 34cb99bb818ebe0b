package lifeguard

import (
	"context"
	"errors"
)

// setMax bounds the physical connections from now on, within 1 and pool_max_conns.
// Idle ones beyond it are closed, oldest use first; leased ones at the end of their
// lease.
func (p *pool) setMax(n int) {
	var surplus []*physical
	p.mu.Lock()
	p.max = min(max(n, 1), p.cfg.MaxConns)
	for p.total-p.closing-len(surplus) > p.max && p.idle.size > 0 {
		surplus = append(surplus, p.idle.popFront())
	}
	for range min(len(p.waiting), max(p.max-p.total, 0)) {
		p.wakeLocked()
	}
	p.mu.Unlock()
	for _, ph := range surplus {
		p.end(ph, endFleet, nil)
	}
}

// surplusLocked reports whether a connection that comes back is one too many. While
// somebody waits for one, he was admitted before the pool shrank.
func (p *pool) surplusLocked() bool {
	return p.total-p.closing > p.max && len(p.waiting) == 0 && p.borrower == nil
}

// reportNoRoom tells the fleet if the server refused a connection for having too many.
func (p *pool) reportNoRoom(err error) {
	if !isNoRoom(err) {
		return
	}
	p.mu.Lock()
	report, open := p.onNoRoom, p.total
	p.mu.Unlock()
	if report != nil {
		report(open)
	}
}

// borrow takes a connection past the limiter, for a moment: whoever the limiter has
// admitted may wait for it. If all are in use the next that comes back is handed
// over, so that a saturated pool does not keep the borrower out. There is one
// borrower at most.
func (p *pool) borrow(ctx context.Context) (*physical, error) {
	for {
		ph, err := p.takeFirst(ctx)
		if err != nil {
			return nil, err
		}
		if ph == nil {
			ph, bad, err := p.openCatching(ctx)
			if bad != nil {
				return nil, errHookPanicked
			}
			return ph, err
		}
		err = p.renewCatching(ctx, ph)
		if err == nil {
			return ph, nil
		}
		if errors.Is(err, errHookPanicked) {
			return nil, err // renew has ended the connection
		}
		p.end(ph, endLost, nil)
		if !errors.Is(err, errLost) {
			return nil, err
		}
	}
}

var errHookPanicked = errors.New("lifeguard: a hook of the application panicked")

// renewCatching is renew for the borrower's goroutine, where the panic of a hook would
// end the process.
func (p *pool) renewCatching(ctx context.Context, ph *physical) (err error) {
	defer func() {
		if recover() != nil {
			err = errHookPanicked
		}
	}()
	return p.renew(ctx, ph, p.now())
}

// takeFirst is take for the borrower: a connection, or nil with a place reserved.
func (p *pool) takeFirst(ctx context.Context) (*physical, error) {
	p.mu.Lock()
	if ph, ok, err := p.claimLocked(nil); ok || err != nil {
		ph.sendLocked()
		p.mu.Unlock()
		return ph, err
	}
	handed := make(chan *physical, 1)
	p.borrower = handed
	p.mu.Unlock()

	select {
	case ph := <-handed:
		return ph, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	missed := p.borrower == handed
	if missed {
		p.borrower = nil
	}
	p.mu.Unlock()
	if missed {
		return nil, ctx.Err()
	}
	if ph := <-handed; ph != nil {
		p.put(ph)
	} else {
		p.leave(&p.opening)
	}
	return nil, ctx.Err()
}

// handLocked gives a connection, or with nil the place of one, to the borrower.
func (p *pool) handLocked(ph *physical) bool {
	if p.borrower == nil {
		return false
	}
	if ph == nil {
		if p.total >= p.max {
			return false
		}
		p.total++
		p.opening++
	}
	ph.sendLocked()
	p.borrower <- ph
	p.borrower = nil
	return true
}
