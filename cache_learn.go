package lifeguard

import (
	"cmp"
	"context"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// This file is about what the cache has to know before it may keep or fence anything:
// what a text is, in which session, and what the database has.
//
//	text      first sighting: its words are read (Gate)
//	          second sighting, or a write: the server is asked (Analyze), on the
//	          leased connection before the text is sent
//	session   known ──SET, DDL, anything opaque──► unknown ──before the next statement
//	          outside a transaction──► known

// learnTries is how often something is learnt anew because the catalog has moved on
// meanwhile. Who sent without knowing would have to assume that he moves it, too, and so
// would the next: one change would go on for ever among many who write.
const learnTries = 4

// learn makes sure, as far as it can, that the connection's session is known, and a text
// in it. It returns nil if it is not. An error ends the operation.
func (c *Conn) learn(ctx context.Context, t *cachedText) (v *ruling, err error) {
	q := c.core.keeper()
	for range learnTries {
		generation := q.catalog.Generation()
		v, err = c.learnOnce(ctx, t)
		if v != nil || err != nil || c.ph.pg.TxStatus() != 'I' || generation == q.catalog.Generation() {
			break
		}
	}
	return v, err
}

func (c *Conn) learnOnce(ctx context.Context, t *cachedText) (*ruling, error) {
	q, ph := c.core.keeper(), c.ph
	idle := ph.pg.TxStatus() == 'I'
	if q.blind {
		return nil, c.learnFacts(ctx)
	}
	s := q.sessionWithin(ph)
	if idle {
		s = q.sessionOf(ph)
	}
	if s == nil && idle {
		var err error
		if s, err = q.meet(ctx, ph); err != nil {
			return nil, c.stillLeasedAfter(ctx)
		}
	}
	if s != nil {
		if v := t.in(s); v != nil {
			return v, nil
		}
	}
	first := !t.sighted.Swap(true)
	if s == nil || !q.worthAnalysing(t, first) {
		return nil, nil //nolint:nilnil // not known
	}
	if !idle {
		q.analyseLater(t)
		return nil, nil //nolint:nilnil // as above
	}
	v, err := q.analyse(ctx, ph, s, t)
	if err != nil {
		return nil, c.stillLeasedAfter(ctx)
	}
	return v, nil
}

// learnFacts reads what the database has, where no session is ever known.
func (c *Conn) learnFacts(ctx context.Context) error {
	q, ph := c.core.keeper(), c.ph
	if !q.atHome(ph) || q.catalog.KnownReach() != nil || ph.pg.TxStatus() != 'I' || q.refused() != nil {
		return nil
	}
	if err := q.readFacts(ctx, ph); err != nil && !q.refuse(ctx, ph, err) {
		return c.stillLeasedAfter(ctx)
	}
	return nil
}

// worthAnalysing reports whether more than the words of a text must be known.
func (q *queryCache) worthAnalysing(t *cachedText, first bool) bool {
	switch t.candidate.Effect {
	case catalog.Targets, catalog.Calls:
		return true
	case catalog.Reads:
		return !first && t.gate == "" && q.store != nil || t.gate == catalog.Modifies || q.readsWrite()
	case catalog.Nothing, catalog.Runs, catalog.Anything:
	}
	return false
}

// readsWrite reports whether a query could write though its words do not say so.
func (q *queryCache) readsWrite() bool {
	reach := q.catalog.KnownReach()
	return reach == nil || reach.Writes
}

func (q *queryCache) analyse(ctx context.Context, ph *physical, s *cacheSession, t *cachedText) (*ruling, error) {
	a, err := q.catalog.Analyze(ctx, ph.pg, t.text)
	if err != nil {
		return nil, err
	}
	if a.Generation != s.generation {
		return nil, nil //nolint:nilnil // DDL meanwhile
	}
	v := &ruling{id: q.rulingID.Add(1), text: t, session: s, analysis: a, reason: q.reasonOf(&a), option: t.option}
	if v.reason == "" {
		if v.reason, _, err = q.listed(ctx, ph, s, &a); err != nil {
			return nil, err
		}
	}
	if v.reason == "" {
		v.reads = q.dependencies(ph, a.Reads)
		q.dependOnRows(ph, v)
		v.shareWith(ph.cached.shares)
	}
	t.add(v)
	q.texts.grown(v.bytes())
	return v, nil
}

// reasonOf says why nothing is kept of what was analysed; it is empty if it is kept.
func (q *queryCache) reasonOf(a *catalog.Analysis) string {
	switch {
	case !a.Cacheable:
		return cmp.Or(string(a.Reason), bypassOther)
	case len(a.Unlogged) > 0 && q.mode.exact():
		return bypassUnlogged // a crash empties it
	}
	return q.follower.reasonOf(a)
}

// stillLeasedAfter is stillLeased after an error on the connection: what was sent was
// none of the application's, so that a broken connection may be exchanged.
func (c *Conn) stillLeasedAfter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		c.ph.cancelled = c.ph.dead()
		return err
	}
	return c.stillLeased(ctx)
}

// laterAtOnce is how many texts one BEGIN waits for.
const laterAtOnce = 8

// analyseLater notes a text that was met in a transaction, where it cannot be analysed.
func (q *queryCache) analyseLater(t *cachedText) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.later == nil {
		q.later = make(map[*cachedText]struct{})
	}
	if len(q.later) < maxSessions {
		q.later[t] = struct{}{}
		q.waiting.Store(int64(len(q.later)))
	}
}

// catchUp analyses texts of earlier transactions before the next one begins: it is
// probably of the same kind.
func (c *Conn) catchUp(ctx context.Context) error {
	q, err := c.watch(ctx)
	if q == nil || err != nil || c.ph.pg.TxStatus() != 'I' {
		return err
	}
	c.ph.cached.tx.reset()
	err = c.learnWaiting(ctx)
	c.ph.cached.tx.reach = q.reachFrom(c.ph)
	return err
}

// learnWaiting learns what waits to be learnt, and the connection's session.
func (c *Conn) learnWaiting(ctx context.Context) error {
	q := c.core.keeper()
	if q.blind {
		return c.learnFacts(ctx)
	}
	if q.waiting.Load() == 0 && q.sessionOf(c.ph) != nil {
		return nil
	}
	var texts []*cachedText
	q.mu.Lock()
	for t := range q.later {
		if len(texts) == laterAtOnce {
			break
		}
		texts = append(texts, t)
		delete(q.later, t)
	}
	q.waiting.Store(int64(len(q.later)))
	q.mu.Unlock()
	for _, t := range texts {
		if _, err := c.learn(ctx, t); err != nil {
			return err
		}
	}
	if len(texts) > 0 || q.sessionOf(c.ph) != nil {
		return nil
	}
	if _, err := q.meetAtLast(ctx, c.ph); err != nil {
		return c.stillLeasedAfter(ctx)
	}
	return nil
}
