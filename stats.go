package lifeguard

import (
	"fmt"
	"time"
)

// Stats is a snapshot of a [Connector]. Counters only grow.
//
// It is not what sql.DB's own Stats say: those count virtual connections. InUse there
// is InFlight plus Queued here, WaitCount there stays zero unless SetMaxOpenConns
// bounds the virtual connections too, and OpenConnections there says nothing about
// PostgreSQL.
type Stats struct {
	Name    string // lifeguard_name
	Pool    PoolStats
	Limiter LimiterStats
	Auto    AutoStats
	Fleet   FleetStats
	Group   GroupStats
	Cache   *CacheStats // nil if the cache is off
}

// PoolStats counts physical connections.
type PoolStats struct {
	Max     int // pool_max_conns
	Total   int // open, being opened or being closed
	Idle    int // ready for a lease, or parked (session mode)
	InUse   int // leased, or being closed
	Opening int

	Opened uint64            // ever
	Closed map[string]uint64 // ever, by reason: lost, cancelled, dirty, age, idle, closed, fleet
}

// Stats returns a snapshot; the zero Stats while the DSN is not valid.
func (c *Connector) Stats() Stats {
	co, err := c.peek()
	if err != nil {
		return Stats{}
	}
	return co.stats()
}

func (co *core) stats() Stats {
	return Stats{Name: co.cfg.Name, Pool: co.pool.stats(), Limiter: co.limiter.stats(), Auto: co.auto.snapshot(), Fleet: co.fleet.snapshot(), Group: co.groups.stats(), Cache: co.cache.stats()}
}

// Slots describes what each slot in use is doing, in no order: who holds the
// database, for how long, and since which statement. Statements are shown by their
// summary, without any value.
func (c *Connector) Slots() []SlotInfo {
	co, err := c.peek()
	if err != nil {
		return nil
	}
	return co.limiter.slots()
}

// SetLimit changes lifeguard_limit while the connector is at work, within 1 and
// pool_max_conns. Raising it admits waiters at once. After lowering it, those in
// flight finish. With lifeguard_limit=auto n is the most that it may rise to.
func (c *Connector) SetLimit(n int) error {
	co, err := c.ready()
	if err != nil {
		return err
	}
	if n < 1 || n > co.cfg.MaxConns {
		return fmt.Errorf("lifeguard: the limit must be from 1 to pool_max_conns (%d), not %d", co.cfg.MaxConns, n)
	}
	co.ceilings.setUser(n)
	return nil
}

// peek is ready for those who may look at a closed connector too.
func (c *Connector) peek() (*core, error) {
	c.mu.Lock()
	co := c.core
	c.mu.Unlock()
	if co != nil {
		return co, nil
	}
	return c.ready()
}

func (p *pool) stats() PoolStats {
	p.mu.Lock()
	st := PoolStats{
		Max:     p.cfg.MaxConns,
		Total:   p.total,
		Idle:    p.idle.size + p.parked.size,
		Opening: p.opening,
	}
	p.mu.Unlock()
	st.InUse = st.Total - st.Idle - st.Opening
	st.Opened = uint64(p.opened.Load())
	st.Closed = make(map[string]uint64, endReasons)
	for r := range endReasons {
		st.Closed[r.String()] = uint64(p.ended[r].Load())
	}
	return st
}

// limiterConfig resolves the conventions of Config (zero has become the default, -1
// is off) into the limiter's own.
func (c *Config) limiterConfig(onStall func(stall), onWait func(Priority, time.Duration, waitResult)) limiterConfig {
	return limiterConfig{
		limit:        c.startLimit(),
		maxLimit:     c.MaxConns,
		queue:        c.Queue, // 0 follows the limit, -1: nobody waits
		queueTimeout: max(c.QueueTimeout, 0),
		queueTarget:  max(c.QueueTarget, 0),
		txShare:      max(c.TxShare, 0),
		nestedStrict: c.Nested == NestedRefuse,
		onStall:      onStall,
		onWait:       onWait,
	}
}

// logStall writes the line that tells a pool exhausted by the application from a slow
// database.
func (co *core) logStall(st stall) {
	co.cfg.Logger.Warn("lifeguard: every slot is idle in the application's hands while statements wait",
		"pool", co.cfg.Name, "limit", st.limit, "queued", st.queued, "waited_ms", st.waited.Round(time.Millisecond).Milliseconds(),
		"idle_in_tx", st.states[SlotIdleInTx], "rows_open", st.states[SlotRowsOpen], "idle_in_conn", st.states[SlotIdleInConn],
		"oldest_held_ms", st.oldest.Held.Milliseconds(), "oldest_state", st.oldest.State.String(),
		"oldest_statement", st.oldest.SQL, "oldest_fingerprint", fmt.Sprintf("%016x", st.oldest.Fingerprint))
}
