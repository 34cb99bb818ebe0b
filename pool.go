package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool keeps the physical connections. It queues nobody on purpose: whoever asks has
// been admitted by the limiter, and the limiter admits no more than maxConns. Waiting
// happens only while connections are being opened or closed.
//
//	          get: dial                    put: clean
//	(nothing) ─────────► leased ◄───────────────────────► idle
//	    ▲                  │  give up: dead, dirty, old     │ too old, too idle, lost
//	    └──── closing ◄────┴────────────────────────────────┘
//	          the place stays taken until the server side is gone
//
// Invariants:
//  1. total = idle + parked + leased + opening + closing ≤ maxConns, at any time.
//  2. A connection is in at most one list; one in none has exactly one owner.
//  3. mu is never held while anything blocks.
//
// puddle/v2 was considered: it takes the most recently used resource only, while a
// virtual connection wants the one it had last (SetMaxOpenConns(1) must go on meaning
// one session), and its own queue would stand behind the limiter's.
type pool struct {
	cfg     *Config
	connect func(context.Context) (driver.Conn, error)
	keepsNo bool                 // the inner connector pools by itself: give everything back to it
	now     func() time.Duration // the limiter's clock: monotonic, from its own epoch

	groups atomic.Pointer[groups] // meets a connection before anybody leases it; nil if they are off

	cache atomic.Pointer[queryCache] // told when a connection died by itself; nil if it is off

	ctx  context.Context // ends with the pool; bounds opening connections
	stop context.CancelFunc

	mu       sync.Mutex // guards all below; never held while blocking
	max      int        // pool_max_conns, or less; see setMax
	total    int
	opening  int
	closing  int
	idle     physicalList
	parked   physicalList
	waiting  []chan struct{}
	borrower chan *physical // see borrow; nil if there is none
	onNoRoom func(open int) // the server has too many connections; nil without a fleet budget
	closed   bool
	checker  bool
	work     sync.WaitGroup // background goroutines; added to under mu while open

	opened atomic.Int64
	ended  [endReasons]atomic.Int64
}

// endReason says why a physical connection was closed.
type endReason uint8

const (
	endLost      endReason = iota // died while idle or in use
	endCancelled                  // a cancelled statement killed it
	endDirty                      // given back inside a transaction
	endAge                        // pool_max_conn_lifetime
	endIdle                       // pool_max_conn_idle_time
	endClosed                     // the pool, or its virtual connection in session mode, was closed
	endFleet                      // more than this instance's share of lifeguard_fleet_budget
	endReasons
)

func (r endReason) String() string {
	return [...]string{"lost", "cancelled", "dirty", "age", "idle", "closed", "fleet"}[r]
}

func newPool(cfg *Config, connect func(context.Context) (driver.Conn, error), keepsNo bool, now func() time.Duration) *pool {
	p := &pool{cfg: cfg, connect: connect, keepsNo: keepsNo, now: now, max: cfg.MaxConns}
	p.ctx, p.stop = context.WithCancel(context.Background())
	if cfg.MinConns > 0 || cfg.MinIdleConns > 0 {
		p.mu.Lock()
		p.startCheckerLocked()
		p.mu.Unlock()
	}
	return p
}

// get leases a connection: the preferred one if it is idle or on an errand, else the one
// used last, else a new one. The result is checked to be alive. If the context ends during that
// check, it comes with the error, and must be given back all the same. now is the time
// of admission.
func (p *pool) get(ctx context.Context, prefer *physical, now time.Duration) (*physical, error) {
	return p.getFor(ctx, prefer, now, false)
}

// follow leases the connection that came with a slot; errLost says that it has been ended
// since it could serve nobody any more. Another error is that of get, with the connection.
func (p *pool) follow(ctx context.Context, ph *physical, now time.Duration) (*physical, error) {
	if p.ctx.Err() != nil {
		return ph, ErrClosed
	}
	err := p.renew(ctx, ph, now)
	if errors.Is(err, errLost) {
		p.end(ph, endLost, nil)
		return nil, err
	}
	return ph, err
}

// getFor is get, or errand.
func (p *pool) getFor(ctx context.Context, prefer *physical, now time.Duration, errand bool) (*physical, error) {
	for {
		ph, err := p.take(ctx, prefer, errand)
		if err != nil {
			return nil, err
		}
		if ph == nil {
			return p.dial(ctx)
		}
		err = p.renew(ctx, ph, now)
		if err == nil {
			return ph, nil
		}
		if !errors.Is(err, errLost) {
			return ph, err // the caller's context ended during a ping
		}
		p.end(ph, endLost, nil)
	}
}

// renew checks a connection, and loses none if a hook of the application panics.
func (p *pool) renew(ctx context.Context, ph *physical, now time.Duration) error {
	returned := false
	defer func() {
		if !returned {
			p.end(ph, endLost, nil)
		}
	}()
	err := ph.renew(ctx, now, p.cfg.PingTimeout)
	returned = true
	return err
}

// take returns an idle connection, or nil with a place reserved for a new one.
func (p *pool) take(ctx context.Context, prefer *physical, errand bool) (*physical, error) {
	p.mu.Lock()
	for {
		if err := p.returnedLocked(ctx, prefer); err != nil {
			return nil, err
		}
		ph, ok, err := p.claimLocked(prefer)
		if ok || err != nil {
			if errand {
				ph.sendLocked()
			}
			p.mu.Unlock()
			return ph, err
		}
		if err := p.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
}

// claimLocked takes the preferred connection if it is idle, else the one used last,
// else, with nil, a place for a new one. It reports false if there is neither.
func (p *pool) claimLocked(prefer *physical) (ph *physical, ok bool, err error) {
	if p.closed {
		return nil, false, ErrClosed
	}
	if prefer != nil && prefer.place == placeIdle {
		p.idle.remove(prefer)
		return prefer, true, nil
	}
	ph = p.idle.back
	for ph != nil && ph.awaited > 0 {
		ph = ph.prev
	}
	if ph != nil {
		return p.idle.remove(ph), true, nil
	}
	if p.total >= p.max {
		return nil, false, nil
	}
	p.total++
	p.opening++
	return nil, true, nil
}

// waitLocked waits until a connection or a place may have become free. It unlocks mu
// and, unless it returns an error, locks it again. In session mode it closes the
// connection that has been parked longest, to make room: after the wait has begun, or
// its wake-up could come too early.
func (p *pool) waitLocked(ctx context.Context) error {
	ready := make(chan struct{}, 1)
	p.waiting = append(p.waiting, ready)
	victim := p.stealLocked()
	p.mu.Unlock()
	if victim != nil {
		p.end(victim, endIdle, nil)
	}
	var again <-chan time.Time
	if p.cfg.Mode == ModeSession {
		again = time.After(parkedFor)
	}
	select {
	case <-ready:
		p.mu.Lock()
		return nil
	case <-again:
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, ready)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if i < 0 {
		p.wakeLocked() // the wake-up was ours already: pass it on
	}
	p.mu.Unlock()
	return err
}

func (p *pool) wakeLocked() {
	if len(p.waiting) == 0 {
		return
	}
	first := p.waiting[0]
	p.waiting = p.waiting[1:]
	first <- struct{}{}
}

// putting says where a connection is that was given back.
type putting uint8

const (
	refused  putting = iota // still with the caller, and has to be ended
	taken                   // in the pool, or with its borrower
	withSlot                // still with the caller, to be left to whom its slot goes to
)

// putOrRefuse takes a connection back, unless it must be ended instead. If somebody waits for
// the caller's slot, the connection may go with it: the next statement then meets a backend
// that has just answered, and often has not gone to sleep yet, where by way of the pool it
// takes two locks and what is idle by then. But not if the pool itself wants it, or has
// another one, which the next may prefer; nor in session mode, where the next has its own.
func (p *pool) putOrRefuse(ph *physical, now time.Duration, crowded bool) (endReason, putting) {
	switch {
	case ph.dead() && ph.cancelled:
		return endCancelled, refused
	case ph.dead():
		return endLost, refused
	case !ph.clean():
		return endDirty, refused
	case now > ph.expires:
		return endAge, refused
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || p.keepsNo:
		return endClosed, refused
	case p.surplusLocked():
		return endFleet, refused
	}
	ph.idleSince = now
	ph.backLocked()
	switch {
	case p.handLocked(ph):
		return 0, taken
	case crowded && p.cfg.Mode != ModeSession && ph.awaited == 0 && len(p.waiting) == 0 && p.idle.size == 0:
		return 0, withSlot
	}
	p.idle.pushBack(ph, placeIdle)
	p.wakeLocked()
	return 0, taken
}

// put takes a connection back, or ends it in the background.
func (p *pool) put(ph *physical) {
	if reason, where := p.putOrRefuse(ph, p.now(), false); where == refused {
		p.end(ph, reason, nil)
	}
}

// end closes a connection in the background, then calls done. Its place stays taken
// until the server side is gone.
func (p *pool) end(ph *physical, reason endReason, done func()) {
	p.ended[reason].Add(1)
	ph.cached.ended.Store(true)
	if reason == endLost {
		p.cache.Load().connectionLost()
	}
	p.mu.Lock()
	p.closing++
	ph.backLocked()
	p.mu.Unlock()
	finish := func() {
		if p.keepsNo {
			ph.release()
		} else {
			ph.close(p.ctx)
		}
		ph.cached.leaveSite()
		p.leave(&p.closing)
		if done != nil {
			done()
		}
	}
	p.inBackground(finish)
}

// inBackground runs f in the background, or at once if the pool is closed: then
// nobody waits for goroutines any more.
func (p *pool) inBackground(f func()) {
	if !p.background(f) {
		f()
	}
}

// background runs f unless the pool is closed; Close waits for it.
func (p *pool) background(f func()) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	p.work.Add(1)
	p.mu.Unlock()
	go func() {
		defer p.work.Done()
		f()
	}()
	return true
}

// close ends the idle connections and every goroutine, and returns when they are
// gone. Leased connections end when their lease does, as database/sql has it: what
// has been started may finish.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	var ending []*physical
	for ph := p.idle.popBack(); ph != nil; ph = p.idle.popBack() {
		ending = append(ending, ph)
	}
	for _, ready := range p.waiting {
		ready <- struct{}{}
	}
	p.waiting = nil
	p.mu.Unlock()

	p.stop()
	var closing sync.WaitGroup
	for _, ph := range ending {
		closing.Go(func() { p.end(ph, endClosed, nil) })
	}
	closing.Wait()
	p.work.Wait()
}
