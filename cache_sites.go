package lifeguard

import (
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
)

// site is a database, as all Connectors of this process share it: what one of them
// writes, the others must not serve any more, whatever DSN led them there. So the ledger
// and the count of the catalog's generations belong to the site. What was read of the
// catalog and what is in memory stay each Connector's own.
//
// A connection is told its site by the server, before the application sends anything on
// it. Host names would not do: two may lead to one server, and one to two. The system
// identifier would, but a role may be barred from it, and then two Connectors would
// disagree. The start of the server, in microseconds, does as well: any role may read it.
// After a restart nothing is left of what was fenced off before; so whenever a new start
// is seen, what was read from others is thrown away, and no session there is known until
// a connection has shown to be alive.
//
// Somebody holds a site as long as its ledger may say something: a Connector with a
// cache, a connection, a commit whose outcome is not known. With the last of them it goes.
type site struct {
	name        siteName
	ledger      *cache.Ledger
	generations *catalog.Generations
	sharing     atomic.Pointer[sharing]       // nil without lifeguard_redis; replaced under sites.mu
	raws        atomic.Int64                  // connections in the application's own hands
	readers     atomic.Pointer[[]*queryCache] // told when versions have grown; replaced, never changed

	// Guarded by sites.mu.
	holds  int
	askers []*queryCache // that could ask for lost commits
	lost   []*lostCommit // whose Connector was closed, and for which nobody asks
}

// siteName tells databases apart.
type siteName struct{ started, database string }

// sites are those that are held. It is the one thing that Connectors of a process share.
type sites struct {
	// era is 0 while no Connector has lifeguard_cache=local or cdc: then those without a cache
	// need not look at what they write. Else it is the number of this time.
	era atomic.Uint64

	// streams are those by which Connectors with lifeguard_cache=cdc hear of others' writes.
	streams cdc.Streams

	mu     sync.Mutex // guards what follows; never held while blocking; before queryCache.mu
	eras   uint64
	caches int // Connectors with lifeguard_cache=local or cdc
	made   uint64
	known  map[siteName]*site
	cores  []weak.Pointer[core]

	// earlier are the leases that were there when the era began. What they send then is
	// looked at by nobody, so nothing is kept before they have ended.
	earlier []earlierLease
	// barred counts connections whose database the server does not tell.
	barred int
	// waiting is len(earlier) + barred.
	waiting atomic.Int64
}

type earlierLease struct {
	slot     *slot
	acquired int64
}

//nolint:gochecknoglobals // see sites
var inProcess = sites{known: make(map[siteName]*site)}

// join counts a Connector. It is called before its first lease.
func (ps *sites) join(co *core) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.cores = slices.DeleteFunc(ps.cores, func(w weak.Pointer[core]) bool { return w.Value() == nil })
	if co.cache == nil || !co.cache.mode.exact() {
		ps.cores = append(ps.cores, weak.Make(co))
		return
	}
	ps.caches++
	if ps.caches > 1 {
		return
	}
	ps.eras++
	ps.era.Store(ps.eras)
	// Who takes a lease from here on sees the era.
	ps.earlier = nil
	for _, w := range ps.cores {
		if other := w.Value(); other != nil {
			ps.earlier = append(ps.earlier, other.limiter.leases()...)
		}
	}
	ps.waiting.Store(int64(len(ps.earlier) + ps.barred))
}

// leave is called when a Connector is closed. Its leases may last longer.
func (ps *sites) leave(co *core) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if co.cache != nil && co.cache.mode.exact() {
		ps.caches--
		if ps.caches == 0 {
			ps.era.Store(0)
		}
		return
	}
	ps.cores = slices.DeleteFunc(ps.cores, func(w weak.Pointer[core]) bool {
		return w.Value() == nil || w.Value() == co && len(co.limiter.leases()) == 0
	})
}

// unclear reports whether somebody may write of whom nobody knows what, or where.
func (ps *sites) unclear() bool {
	if ps.waiting.Load() == 0 {
		return false
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	before := len(ps.earlier)
	ps.earlier = slices.DeleteFunc(ps.earlier, func(l earlierLease) bool { return !l.slot.isLease(l.acquired) })
	if before > 0 && len(ps.earlier) == 0 {
		for _, p := range ps.known { // they may have changed tables, too
			p.generations.Next()
		}
	}
	ps.waiting.Store(int64(len(ps.earlier) + ps.barred))
	return ps.waiting.Load() > 0
}

// bar counts a connection whose database is not known, so that what it writes may be
// anywhere.
func (ps *sites) bar(n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.barred += n
	ps.waiting.Store(int64(len(ps.earlier) + ps.barred))
	for _, p := range ps.known {
		p.doubt() // no session is known any more, and none will be; see meet
	}
}

// doubt makes everything invalid, and every session unknown.
func (p *site) doubt() {
	p.generations.Next()
	p.ledger.Flush()
}

// doubtOthers is called when the catalog may have changed: roles with their rights, and
// the configuration, are the server's, so a REVOKE or a reload in one database counts in
// all. Before its end nobody can tell when it happens, so it needs no fence there.
func (p *site) doubtOthers() {
	if p == nil {
		return
	}
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	for _, other := range inProcess.known {
		if other == p || other.name.started != p.name.started {
			continue
		}
		other.doubt()
		if s := other.sharing.Load(); s != nil {
			go s.schemaChanged()
		}
	}
}

// hold returns the site of that name. Let go of it once.
func (ps *sites) hold(name siteName) *site {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.known[name]
	if p == nil {
		ps.made++
		p = &site{name: name, generations: catalog.NewGenerations(ps.made << 40)}
		p.ledger = cache.NewLedger(p.bumped)
		p.readers.Store(&[]*queryCache{})
		for _, other := range ps.known {
			if other.name.started != name.started { // perhaps the same server, before
				other.doubt()
			}
		}
		ps.known[name] = p
	}
	p.holds++
	return p
}

// again holds a site once more for somebody who holds it.
func (p *site) again() *site {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	p.holds++
	return p
}

func (p *site) letGo() {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	p.letGoLocked()
}

func (p *site) letGoLocked() {
	p.holds--
	if p.holds == 0 {
		delete(inProcess.known, p.name)
	}
}

func (p *site) bumped() {
	for _, q := range *p.readers.Load() {
		q.sweepIn(sweepBumped, sweepAfter)
	}
}

// enter makes q one of those that the site knows, and returns the commits that nobody
// else asks for.
func (p *site) enter(q *queryCache) []*lostCommit {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	p.askers = append(p.askers, q)
	if q.mode.exact() {
		readers := append(slices.Clone(*p.readers.Load()), q)
		p.readers.Store(&readers)
	}
	lost := p.lost
	p.lost = nil
	return lost
}

func (p *site) exit(q *queryCache) {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	is := func(other *queryCache) bool { return other == q }
	p.askers = slices.DeleteFunc(p.askers, is)
	readers := slices.DeleteFunc(slices.Clone(*p.readers.Load()), is)
	p.readers.Store(&readers)
}

func (p *site) hasAskers() bool {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	return len(p.askers) > 0
}

// orphan finds somebody else who asks for a commit, now or when there is one.
func (p *site) orphan(l *lostCommit) {
	inProcess.mu.Lock()
	if len(p.askers) == 0 {
		p.lost = append(p.lost, l)
		inProcess.mu.Unlock()
		return
	}
	heir := p.askers[0]
	inProcess.mu.Unlock()
	heir.unsettled.adopt([]*lostCommit{l})
}

// leases lists the leases that there are.
func (l *limiter) leases() []earlierLease {
	l.mu.Lock()
	defer l.mu.Unlock()
	var held []earlierLease
	for _, s := range l.all {
		if s.held {
			held = append(held, earlierLease{s, int64(s.acquired)})
		}
	}
	return held
}

// isLease reports whether the slot is still held by who had acquired it then.
func (s *slot) isLease(acquired int64) bool {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return s.held && int64(s.acquired) == acquired
}
