package lifeguard

import (
	"context"
	"time"
)

// Now and then the driver itself has something to ask: what has become of a commit, who else
// is connected, what an idle connection has sent. It takes an idle connection for that, which
// a virtual connection may have had last and count on: with db.SetMaxOpenConns(1) its
// settings, temporary tables and plans are those of the application's one session. So such
// a connection is on an errand, and who prefers it waits until it is back, a round trip or
// two, rather than go on in another session.
//
// A connection for errands alone was considered: it would be one more on the server for each
// pool, and where pool_max_conns is 1 there is no place for it.

// errand is get for questions of the driver's own: any connection will do. The errand ends
// when the connection is put back, or ended.
func (p *pool) errand(ctx context.Context, now time.Duration) (*physical, error) {
	return p.getFor(ctx, nil, now, true)
}

// sendLocked says that a connection that was idle, or is about to be, goes on an errand; nil
// is one that is yet to be opened, which nobody prefers.
func (ph *physical) sendLocked() {
	if ph != nil {
		ph.errand = make(chan struct{})
	}
}

// backLocked ends the errand of a connection, if it is on one.
func (ph *physical) backLocked() {
	if ph.errand != nil {
		close(ph.errand)
		ph.errand = nil
	}
}

// returnedLocked waits until a connection is on no errand, and has others leave it alone until
// then. It unlocks mu for that, and leaves it unlocked with an error.
func (p *pool) returnedLocked(ctx context.Context, ph *physical) error {
	if ph == nil || ph.errand == nil {
		return nil
	}
	ph.awaited++
	for ph.errand != nil {
		back := ph.errand
		p.mu.Unlock()
		select {
		case <-back:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ph.errand != nil && ctx.Err() != nil {
			break
		}
	}
	ph.awaited--
	if err := ctx.Err(); err != nil {
		if ph.place == placeIdle {
			p.wakeLocked() // it was kept for us
		}
		p.mu.Unlock()
		return err
	}
	return nil
}
