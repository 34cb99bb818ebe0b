package lifeguard

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// fleet keeps one instance within its share of the connections that all instances of
// a service may have on one server together, lifeguard_fleet_budget.
//
// There is nobody who deals out shares. Each instance names its connections
// <application_name>/<random id>, and counts the others in pg_stat_activity every 10 s.
// A role sees the application_name of every session there, so it takes no rights, and
// the instances need not be one role nor use one database. What an instance takes is
//
//	min(budget ÷ instances, budget − connections of the others)
//
// and always one, so that it can look and be counted; more instances than
// connections in the budget exceed it, and that is logged.
//
// The second term makes growing safe: while others still hold more than their share (a
// new instance is here, and they have not looked yet) only what is really free is
// taken. They shrink at their next look, so the sum exceeds the budget for one
// interval at most, and only if two take the same room at once. What is leased
// finishes first: a transaction of an hour keeps its connection, and the others wait
// for it.
//
//	              first look                  look: less ─► at once
//	careful (2) ─────────────► share ◄──────────────────────────────────┐
//	                             │       look: more ─► when the next says so too
//	                             │ SQLSTATE 53300
//	                             ▼
//	                          halved ──── back-off over, look by look ───┘
//
// So an instance that starts, stops or dies has moved all shares within 15 s: to shrink
// takes a look, 11 s at most, and to grow two more, soon after each other, 1.4 s each at
// most.
//
// A look that fails changes nothing. A killed instance counts until the server has
// noticed: at once if its machine lives and its connections are idle, at the end of
// the statement if not, after TCP's keep-alive if the machine is gone.
type fleet struct {
	budget int
	most   int    // pool_max_conns
	name   string // of this instance's connections
	prefix string // of every instance's
	every  time.Duration
	pool   *pool
	limit  func(int) // of statements
	log    *slog.Logger
	label  string

	mu      sync.Mutex // guards the rest; held while a share is applied, which does not block
	looked  bool       // at least once
	failing bool
	crowded bool
	found   peers
	share   int // by the looks
	last    int // what the latest look would give
	stats   FleetStats

	// After a 53300, until it is undone:
	ceiling  int // 0: none
	refused  time.Duration
	backoff  time.Duration
	recovers time.Duration // not before
}

const (
	fleetEvery   = 10 * time.Second // between two looks, ±10 %
	fleetSoon    = 8                // a look follows after an eighth of that when the share is about to change
	fleetCareful = 2                // connections before the first look: its own, and one for the application
	fleetBackoff = 16               // intervals: the longest
	fleetIDLen   = 12               // hex digits
)

// FleetStats is a snapshot of the fleet's budget; zero unless lifeguard_fleet_budget is
// set.
type FleetStats struct {
	Budget    int    // connections of all instances together
	Instance  string // application_name of this instance's connections
	Instances int    // at the latest look, with this one; 0 before the first
	Others    int    // connections of the others, at the latest look
	Share     int    // connections that this instance may have now
	Looks     uint64 // that succeeded
	Failures  uint64 // looks that did not
	Refusals  uint64 // times the share was halved because the server had no room (53300)
}

// peers is what a look finds.
type peers struct {
	instances   int // others
	connections int // theirs
}

// countPeers does not ask for backend_type, which a role may not see of others. So it
// counts parallel workers too: on the safe side.
const countPeers = `select count(distinct application_name), count(*) from pg_catalog.pg_stat_activity
where left(application_name, length($1)) = $1
and substr(application_name, length($1) + 1) ~ '^[0-9a-f]{12}$'
and application_name <> $2`

// fleetName makes the application_name of one instance's connections. The server cuts
// it to 63 bytes and replaces what is not printable ASCII, so that is done here.
func fleetName(applicationName string) string {
	clean := []byte(cmp.Or(applicationName, "lifeguard"))
	for i, b := range clean {
		if b < ' ' || b > '~' {
			clean[i] = '?'
		}
	}
	id := make([]byte, fleetIDLen/2)
	_, _ = rand.Read(id) // never fails
	return string(clean[:min(len(clean), 63-1-fleetIDLen)]) + "/" + hex.EncodeToString(id)
}

// newFleet bounds the pool and the limit. It looks as long as run runs.
func newFleet(cfg *Config, p *pool, limit func(int)) *fleet {
	f := &fleet{
		budget: cfg.FleetBudget, most: cfg.MaxConns,
		name: cfg.instance, prefix: cfg.instance[:len(cfg.instance)-fleetIDLen],
		every: fleetEvery, pool: p, limit: limit,
		log: cfg.Logger, label: cfg.Name,
	}
	if cfg.fleetEvery > 0 {
		f.every = cfg.fleetEvery
	}
	p.mu.Lock()
	p.onNoRoom = f.noRoom
	p.mu.Unlock()
	f.mu.Lock()
	f.share = min(fleetCareful, f.budget)
	f.applyLocked()
	f.mu.Unlock()
	return f
}

// run looks again and again.
func (f *fleet) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := f.every
		if f.look(ctx) {
			wait /= fleetSoon
		}
		timer.Reset(time.Duration((0.9 + 0.2*mathrand.Float64()) * float64(wait)))
	}
}

// look counts, and takes the share. It reports whether it should be looked again soon.
func (f *fleet) look(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, f.every)
	defer cancel()
	found, err := f.count(bounded)
	if ctx.Err() != nil {
		return false
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.stats.Failures++
		if !f.failing {
			f.log.Warn("lifeguard: the fleet's instances could not be counted; the share stays as it is",
				"pool", f.label, "share", f.currentLocked(), "error", err)
		}
		f.failing = true
		f.applyLocked()
		return !f.looked
	}
	if f.failing {
		f.log.Info("lifeguard: the fleet's instances are counted again", "pool", f.label)
	}
	f.failing = false
	f.stats.Looks++
	return f.takeLocked(found)
}

// takeLocked makes what was found the share. It reports whether that may change soon.
func (f *fleet) takeLocked(found peers) bool {
	f.found = found
	fair := max(f.budget/(found.instances+1), 1)
	now := max(min(fair, f.budget-found.connections, f.most), 1)
	f.warnIfCrowdedLocked()

	share := now
	if f.looked && now > f.share {
		share = max(f.share, min(now, f.last)) // an instance that is missing may only be connecting again
	}
	f.last, f.share, f.looked = now, share, true
	f.recoverLocked()
	f.applyLocked()
	return share < min(fair, f.most)
}

// recoverLocked undoes the halving, step by step, when its back-off is over.
func (f *fleet) recoverLocked() {
	now := f.pool.now()
	if f.ceiling == 0 || now < f.recovers {
		return
	}
	f.ceiling += max(f.share/4, 1)
	if f.ceiling >= f.share {
		f.ceiling, f.backoff = 0, 0
	}
}

// noRoom is told when the server refused a connection with SQLSTATE 53300. A burst of
// them counts once.
func (f *fleet) noRoom(open int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.pool.now()
	if f.refused > 0 && now-f.refused < f.every/10 {
		return
	}
	f.refused = now
	f.stats.Refusals++
	f.backoff = min(max(2*f.backoff, f.every), fleetBackoff*f.every)
	f.recovers = now + f.backoff
	if f.ceiling == 0 {
		f.log.Warn("lifeguard: the server has no room for another connection; the share is halved",
			"pool", f.label, "share", f.currentLocked(), "open", open, "instances", f.found.instances+1)
	}
	f.ceiling = max(min(f.currentLocked(), open)/2, 1)
	f.applyLocked()
}

// isNoRoom reports whether the server, the database or the role has too many
// connections.
func isNoRoom(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "53300"
}

func (f *fleet) warnIfCrowdedLocked() {
	crowded := f.found.instances+1 > f.budget
	if crowded && !f.crowded {
		f.log.Warn("lifeguard: there are more instances than connections in lifeguard_fleet_budget; each keeps one",
			"pool", f.label, "budget", f.budget, "instances", f.found.instances+1)
	}
	f.crowded = crowded
}

// currentLocked is what the instance may have now.
func (f *fleet) currentLocked() int {
	if f.ceiling > 0 {
		return min(f.share, f.ceiling)
	}
	return f.share
}

// applyLocked hands the share on: to the side first that must not exceed the other.
func (f *fleet) applyLocked() {
	n := f.currentLocked()
	if n < f.stats.Share {
		f.limit(n)
		f.pool.setMax(n)
	} else {
		f.pool.setMax(n)
		f.limit(n)
	}
	f.stats.Share = n
}

// count asks the server.
func (f *fleet) count(ctx context.Context) (peers, error) {
	ph, err := f.pool.borrow(ctx)
	if err != nil {
		return peers{}, err
	}
	result := ph.pg.ExecParams(ctx, countPeers, [][]byte{[]byte(f.prefix), []byte(f.name)}, nil, nil, nil).Read()
	if result.Err != nil {
		f.pool.end(ph, endLost, nil) // whatever state it is in
		return peers{}, result.Err
	}
	f.pool.put(ph)
	if len(result.Rows) != 1 || len(result.Rows[0]) != 2 {
		return peers{}, fmt.Errorf("lifeguard: counting instances gave %d rows", len(result.Rows))
	}
	instances, err1 := strconv.Atoi(string(result.Rows[0][0]))
	connections, err2 := strconv.Atoi(string(result.Rows[0][1]))
	return peers{instances, connections}, errors.Join(err1, err2)
}

// snapshot returns the state for [Stats].
func (f *fleet) snapshot() FleetStats {
	if f == nil {
		return FleetStats{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.stats
	st.Budget, st.Instance = f.budget, f.name
	if f.looked {
		st.Instances, st.Others = f.found.instances+1, f.found.connections
	}
	return st
}
