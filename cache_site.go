package lifeguard

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// siteSQL names the database of a connection; see site. Numbers, for how dates and
// fractions are written is each session's own.
const siteSQL = `SELECT (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text,
  d.oid::pg_catalog.text FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`

// insufficientPrivilege is the SQLSTATE of a function that the role may not call.
const insufficientPrivilege = "42501"

// guarding returns what has to know of statements before they are sent: the Connector's
// cache, or, if it has none, one that only tells others what is written. It is nil if
// nobody in this process keeps anything.
func (co *core) guarding() *queryCache {
	if co.cache != nil {
		return co.cache
	}
	if inProcess.era.Load() == 0 {
		return nil
	}
	if q := co.teller.Load(); q != nil {
		return q
	}
	if q := newTeller(co); co.teller.CompareAndSwap(nil, q) {
		co.pool.cache.Store(q)
		if co.closed.Load() {
			q.close()
		}
	}
	return co.teller.Load()
}

// keeper is guarding for what has begun.
func (co *core) keeper() *queryCache {
	if co.cache != nil {
		return co.cache
	}
	return co.teller.Load()
}

// newTeller makes the queryCache of a Connector without a cache.
func newTeller(co *core) *queryCache {
	q := &queryCache{mode: CacheOff, core: co, catalog: catalog.New(), texts: newTextTable(&co.top), counts: newCacheCounts(), blind: co.wrapped}
	q.unsettled.of = q
	return q
}

// watch is called before anything is sent on the leased connection. It returns what has to
// know of it, or nil, and makes sure that the connection's site is known. With an error
// nothing was sent.
func (c *Conn) watch(ctx context.Context) (*queryCache, error) {
	q := c.core.guarding()
	if q == nil {
		return nil, nil //nolint:nilnil // nobody has to know
	}
	cc := &c.ph.cached
	if !q.mode.exact() {
		era := inProcess.era.Load()
		if q.era.Load() != era && q.era.Swap(era) != era {
			q.catalog.Forget() // nobody has looked since the last era
		}
		if q.mode == CacheOff && cc.era != era {
			if c.ph.pg.TxStatus() != 'I' {
				// The transaction has begun before the era: see sites.earlier.
				return nil, nil //nolint:nilnil // as above
			}
			cc.era = era
			cc.forgetSession()
		}
	}
	if q.blind {
		cc.forgetSession()
	}
	if cc.site == nil && !cc.barred && c.ph.pg.TxStatus() != 'E' {
		if err := q.locate(ctx, c.ph); err != nil {
			return nil, c.stillLeasedAfter(ctx)
		}
	}
	return q, nil
}

// locate asks the server which database the connection is to. An error is one of the
// connection or the context.
func (q *queryCache) locate(ctx context.Context, ph *physical) error {
	result := ph.pg.ExecParams(ctx, siteSQL, nil, nil, nil, nil).Read()
	var refusal *pgconn.PgError
	switch {
	case errors.As(result.Err, &refusal) && !ph.dead():
		// Where the function does not exist, the server is none that others have found.
		if ph.cached.barred = refusal.Code == insufficientPrivilege; ph.cached.barred {
			inProcess.bar(1)
			q.core.cfg.Logger.Warn("lifeguard: the role may not call pg_postmaster_start_time(), so nothing is cached in this process while it is connected",
				"pool", q.core.cfg.Name)
		}
		ph.cached.nowhere = true
	case result.Err != nil:
		return result.Err
	case len(result.Rows) != 1 || len(result.Rows[0]) != 2:
		ph.cached.nowhere = true
	default:
		q.settleAt(ph, siteName{started: string(result.Rows[0][0]), database: string(result.Rows[0][1])})
		return nil
	}
	q.settleAt(ph, siteName{})
	return nil
}

// settleAt notes a connection's site. It becomes the Connector's: after a failover
// that is where the next ones will be. Those that are still elsewhere bypass the cache,
// and fence everything off where they are.
func (q *queryCache) settleAt(ph *physical, name siteName) {
	p := inProcess.hold(name)
	ph.cached.site, ph.cached.shares = p, p.share(q)
	if q.site.Load() == p {
		return
	}
	q.moving.Lock()
	defer q.moving.Unlock()
	old := q.site.Load()
	if old == p || q.gone {
		return
	}
	q.site.Store(p.again())
	q.shares.Swap(p.share(q)).letGo()
	q.catalog.Share(p.generations)
	q.unsettled.adopt(p.enter(q))
	if old != nil {
		old.exit(q)
		old.letGo()
	}
}

// leaveSite is called when the connection has ended.
func (cc *cachedConn) leaveSite() {
	if cc.barred {
		inProcess.bar(-1)
		cc.barred = false
	}
	if cc.site != nil {
		cc.shares.letGo()
		cc.shares = nil
		cc.site.letGo()
		cc.site = nil
	}
}

// atHome reports whether a connection is where its Connector is.
func (q *queryCache) atHome(ph *physical) bool {
	return ph.cached.site != nil && ph.cached.site == q.site.Load()
}

// dependencies are of what is read on a connection. In ttl mode nothing makes them invalid.
func (q *queryCache) dependencies(ph *physical, reads []catalog.Relation) cache.Dependencies {
	if q.mode == CacheTTL {
		return q.ageing.Dependencies(reads)
	}
	return ph.cached.site.ledger.Dependencies(reads)
}

// forgetCatalog says that the catalog of the connection's database may have changed.
func (q *queryCache) forgetCatalog(ph *physical) {
	if p := ph.cached.site; p != nil {
		p.generations.Next()
		return
	}
	q.catalog.Forget()
}

// flush makes all that was read from a site invalid.
func (p *site) flush() {
	if p != nil {
		p.ledger.Flush()
	}
}

// generation is that of the catalog where the connection is.
func (cc *cachedConn) generation() uint64 {
	if cc.site == nil {
		return 0
	}
	return cc.site.generations.Now()
}

// whyUnknown says why a session is not known.
func (q *queryCache) whyUnknown() string {
	if q.mode.exact() && inProcess.waiting.Load() > 0 {
		return bypassEarlier
	}
	if q.refused() != nil {
		return bypassRefused
	}
	return bypassSession
}
