package lifeguard

import "sync"

// ceilings is what bounds the statements in flight. The lowest counts; zero is none.
type ceilings struct {
	set func(int) // the limiter's; does not block

	mu    sync.Mutex // guards the rest; held during set, so that the latest stays
	user  int        // lifeguard_limit, or SetLimit
	auto  int        // the adaptive limit
	fleet int        // this instance's share of connections
}

func (c *ceilings) setUser(n int)  { c.change(&c.user, n) }
func (c *ceilings) setAuto(n int)  { c.change(&c.auto, n) }
func (c *ceilings) setFleet(n int) { c.change(&c.fleet, n) }

func (c *ceilings) change(which *int, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*which = n
	lowest := 0
	for _, limit := range []int{c.user, c.auto, c.fleet} {
		if limit > 0 && (lowest == 0 || limit < lowest) {
			lowest = limit
		}
	}
	c.set(lowest)
}

// AutoLimit as Config.Limit is lifeguard_limit=auto.
const AutoLimit = -2

// startLimit is the limit until adapt has been called.
func (c *Config) startLimit() int {
	if c.Limit == AutoLimit {
		return c.MaxConns
	}
	return c.Limit
}

// adapt starts what changes the limit at run time.
func (co *core) adapt() {
	co.ceilings = &ceilings{set: co.limiter.setLimit, user: max(co.cfg.Limit, 0)}
	if co.cfg.Queue == 0 && (co.cfg.Limit == AutoLimit || co.cfg.FleetBudget > 0) {
		// By default the queue's bound follows the limit; but who lowers a limit that
		// nobody set must not refuse for it.
		co.limiter.cfg.queue = 100 * co.cfg.MaxConns
	}
	if co.cfg.Limit == AutoLimit {
		co.auto = newAutoLimit(co.cfg.MaxConns, co.limiter, co.ceilings.setAuto)
		co.limiter.cfg.onSample = co.auto.observe
	}
	if co.cfg.FleetBudget > 0 {
		co.fleet = newFleet(&co.cfg, co.pool, co.ceilings.setFleet)
		co.pool.background(func() { co.fleet.run(co.pool.ctx) })
	}
}

// adapt lets the adaptive limit learn from a statement whose first row, or result, has
// come.
func (c *Conn) adapt(e *event) {
	if c.core.auto == nil || e.verb != verbExecute {
		return
	}
	tx := c.slot.req.tx || c.ph.pg.TxStatus() != 'I'
	c.slot.observe(e.first, e.st.Fingerprint, tx, e.err == nil)
}
