package lifeguard

import (
	"context"

	"github.com/lifeguard-go/lifeguard/cache"
)

// fence keeps everybody from being served what a transaction is about to change: those of
// this process by its ledger, and with lifeguard_redis those of all others by an
// announcement. It is raised in one place, raise, and ends with exactly one call of Bump or
// Lower. A nil fence, of what changes nothing, allows both.
type fence struct {
	local  *cache.Fence
	shared *announcement // nil without lifeguard_redis
}

// Bump ends the fence of a commit that was acknowledged, or may have happened. The others
// hear of it before this process serves again.
func (f *fence) Bump() {
	if f == nil {
		return
	}
	f.shared.settle(true)
	f.local.Bump()
}

// widen has the end of the fence count for everything in the other processes: nobody knows
// any more what it was about.
func (f *fence) widen() {
	if f != nil && f.shared != nil && f.shared.intent != nil {
		f.shared.intent.Catalog = "" // which is no catalog
	}
}

// Lower ends the fence of what was certainly not committed.
func (f *fence) Lower() {
	if f == nil {
		return
	}
	f.shared.settle(false)
	f.local.Lower()
}

// whatIsWritten is what a fence is about.
type whatIsWritten struct {
	rows       *cache.Writes
	schema     bool   // the catalog may change
	generation uint64 // of the catalog in which rows was found out
}

// raise puts a fence up where the connection is, before what it is about is sent. With an
// error there is none, and nothing must be sent.
func (q *queryCache) raise(ctx context.Context, ph *physical, what *whatIsWritten) (*fence, error) {
	p := ph.cached.site
	if p == nil {
		return nil, nil //nolint:nilnil // see watch
	}
	if p.unnamed() && q.core.cfg.shares() {
		return nil, errRedisNowhere
	}
	return p.raise(ctx, what)
}

// raise puts a fence up on a site.
func (p *site) raise(ctx context.Context, what *whatIsWritten) (*fence, error) {
	f := &fence{local: p.ledger.Raise(what.rows)}
	s := p.sharing.Load()
	if s == nil || f.local == nil && !what.schema {
		if f.local == nil {
			return nil, nil //nolint:nilnil // nothing is changed
		}
		return f, nil
	}
	var err error
	if f.shared, err = s.announce(ctx, what); err != nil {
		f.local.Lower()
		return nil, err
	}
	return f, nil
}

func everything() *whatIsWritten {
	w := &cache.Writes{}
	w.AddEverything()
	return &whatIsWritten{rows: w}
}
