package lifeguard

import (
	"context"
	"fmt"
	"time"
)

// startCheckerLocked starts the checker once there is something to check.
//
//nolint:contextcheck // it outlives whoever opened the first connection
func (p *pool) startCheckerLocked() {
	if p.checker || p.closed {
		return
	}
	p.checker = true
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		p.check()
	}()
}

// check closes what has become too old or too idle and keeps the minimums, every
// pool_health_check_period until the pool is closed.
func (p *pool) check() {
	ticker := time.NewTicker(p.cfg.HealthCheckPeriod)
	defer ticker.Stop()
	for {
		p.closeStale(p.now())
		p.fill()
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// closeStale ends idle connections past their lifetime or idle time, and those that
// the server has ended.
func (p *pool) closeStale(now time.Duration) {
	type stale struct {
		ph     *physical
		reason endReason
	}
	var found []stale
	var spoken []*physical // the server has sent something: a notification, or a farewell
	p.mu.Lock()
	for ph := p.idle.front; ph != nil; {
		next := ph.next
		reason := endReasons
		state := ph.probe.look(ph.pg) // does not block
		switch {
		case state == socketEnded:
			reason = endLost
		case now > ph.expires:
			reason = endAge
		case p.cfg.MaxConnIdleTime > 0 && now-ph.idleSince > p.cfg.MaxConnIdleTime && p.total-len(found) > p.cfg.MinConns:
			reason = endIdle
		}
		switch {
		case reason != endReasons:
			p.idle.remove(ph)
			found = append(found, stale{ph, reason})
		case state == socketReadable:
			p.idle.remove(ph).sendLocked()
			spoken = append(spoken, ph)
		}
		ph = next
	}
	p.mu.Unlock()
	for _, s := range found {
		p.end(s.ph, s.reason, nil)
	}
	for _, ph := range spoken {
		p.listen(ph)
	}
}

// listenLimit bounds the ping of an idle connection that has sent something.
const listenLimit = 5 * time.Second

// listen reads what an idle connection has sent, and keeps it if it is alive.
func (p *pool) listen(ph *physical) {
	ctx, cancel := context.WithTimeout(p.ctx, listenLimit)
	defer cancel()
	since := ph.idleSince
	if err := ph.pg.Ping(ctx); err != nil {
		p.end(ph, endLost, nil)
		return
	}
	if reason, where := p.putOrRefuse(ph, since, false); where == refused {
		p.end(ph, reason, nil)
	}
}

// fill opens connections, one after the other, until the minimums hold. A failure
// ends the round: the next one is a period away.
func (p *pool) fill() {
	for {
		p.mu.Lock()
		short := p.total < p.cfg.MinConns || p.idle.size < p.cfg.MinIdleConns
		if p.closed || !short || p.total >= p.max {
			p.mu.Unlock()
			return
		}
		p.total++
		p.opening++
		p.mu.Unlock()

		ph, bad, err := p.openCatching(p.ctx)
		if bad != nil { // there is no caller to get it
			p.cfg.Logger.Error("lifeguard: a connect hook panicked in the background", "pool", p.cfg.Name, "panic", fmt.Sprint(bad))
		}
		if bad != nil || err != nil { // which the journal has told
			return
		}
		p.put(ph)
	}
}
