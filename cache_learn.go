package lifeguard

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/cache"
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

// maxSessions is how many kinds of sessions are told apart, and how many texts wait to be
// analysed.
const maxSessions = 500

// cacheSession is the state of sessions that are equal, in one generation of the catalog.
// It is compared by its address.
type cacheSession struct {
	generation uint64
	key        string
	reason     string // why nothing may be kept in it
	lists      atomic.Pointer[listedTables]
}

// cachedConn is what the cache knows of a physical connection.
type cachedConn struct {
	session atomic.Pointer[cacheSession] // nil if unknown; read by those who had the connection last
	ended   atomic.Bool                  // the pool has closed it
	touched bool                         // its session may have been changed
	started string                       // when the backend was, on the server's clock; empty if unknown
	standby bool
	async   bool // commits do not wait for their log
	proxied bool
	site    *site        // the database; nil until it was asked for
	nowhere bool         // the server does not tell
	barred  bool         // … though it is PostgreSQL
	era     uint64       // of sites, when the connection was last looked at
	simple  bool         // texts are sent without their parameters' types being asked for
	tx      cachedTx     // of the open transaction
	raw     *cache.Fence // see guardRaw
	inRaw   bool
	rawLong *time.Timer // see tellOfRaw
}

// sessionOf returns the connection's session if it is known.
func (q *queryCache) sessionOf(ph *physical) *cacheSession {
	s := ph.cached.session.Load()
	if s == nil || s.generation != q.catalog.Generation() {
		return nil
	}
	return s
}

// sessionNow is the session that the next statement of an idle virtual connection would
// meet, or nil if it is not known: that of the connection that it had last, and else that
// of a new one.
func (c *Conn) sessionNow() *cacheSession {
	q := c.core.cache
	last := c.last
	if c.core.cfg.Mode == ModeSession {
		last = c.session
		if last == nil || c.parked || last.pg.TxStatus() != 'I' {
			return nil
		}
	}
	if last != nil && !last.cached.ended.Load() {
		return q.sessionOf(last)
	}
	home := q.home.Load()
	if home == nil || home.generation != q.catalog.Generation() {
		return nil
	}
	return home
}

// backendQuery tells this connection's backend from any other.
const backendQuery = `
SELECT pg_catalog.pg_backend_pid()::pg_catalog.text,
  (SELECT EXTRACT(epoch FROM a.backend_start) FROM pg_catalog.pg_stat_activity a
    WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())::pg_catalog.text,
  pg_catalog.pg_is_in_recovery()::pg_catalog.text`

// errFacts says that the server answered something else than was asked.
var errFacts = errors.New("lifeguard: the server did not describe the session")

// meet reads the session of an idle connection, and what belongs to it.
func (q *queryCache) meet(ctx context.Context, ph *physical) (*cacheSession, error) {
	if !q.atHome(ph) || q.mode.exact() && inProcess.unclear() {
		return nil, nil //nolint:nilnil // not known
	}
	generation := q.catalog.Generation()
	if ph.cached.started == "" || q.catalog.KnownReach() == nil {
		if err := q.readFacts(ctx, ph); err != nil {
			return nil, err
		}
	}
	read, err := catalog.ReadSession(ctx, ph.pg)
	if err != nil {
		return nil, err
	}
	reason := string(read.Reason)
	switch {
	case ph.cached.nowhere:
		reason = bypassNowhere
	case ph.cached.proxied:
		reason = bypassProxied
	case ph.cached.standby:
		reason = bypassStandby
	case ph.cached.simple:
		reason = bypassExecMode
	}
	s := q.intern(generation, read.Key+"\n"+reason, reason, !ph.cached.touched)
	if s.generation != q.catalog.Generation() {
		return nil, nil //nolint:nilnil // DDL meanwhile: still unknown
	}
	ph.cached.session.Store(s)
	ph.cached.async = read.Async
	return s, nil
}

// readFacts reads what the connection's backend is, and what functions could do in its
// database.
func (q *queryCache) readFacts(ctx context.Context, ph *physical) error {
	result := ph.pg.ExecParams(ctx, backendQuery, nil, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	if len(result.Rows) != 1 || len(result.Rows[0]) != 3 {
		return errFacts
	}
	row := result.Rows[0]
	ph.cached.started, ph.cached.standby = string(row[1]), string(row[2]) == "true"
	ph.cached.proxied = string(row[0]) != strconv.FormatUint(uint64(ph.pg.PID()), 10)
	ph.cached.simple = sendsUnasked(ph.pgxConn().Config())
	q.sawServer(incarnation(ctx, ph.pg))
	_, err := q.catalog.Reach(ctx, ph.pg)
	return err
}

// sendsUnasked reports whether pgx sends texts without asking for their parameters' types,
// or nothing at all: a mode that needs a cache of pgx's own fails without it, and what comes
// from memory must not hide that.
func sendsUnasked(cfg *pgx.ConnConfig) bool {
	switch cfg.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheStatement:
		return cfg.StatementCacheCapacity <= 0
	case pgx.QueryExecModeCacheDescribe:
		return cfg.DescriptionCacheCapacity <= 0
	case pgx.QueryExecModeDescribeExec:
		return false
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
	}
	return true
}

// sawServer compares this life of the server with the one seen before: a crash may have
// undone commits that nobody waited to be written.
func (q *queryCache) sawServer(incarnation string) {
	q.mu.Lock()
	changed := q.incarnation != "" && q.incarnation != incarnation
	q.incarnation = incarnation
	q.mu.Unlock()
	if p := q.site.Load(); changed && p != nil {
		q.counts.invalidated[causeLost].Add(1)
		p.doubt()
	}
}

// intern returns the one cacheSession of its kind. home says that the connection is as
// it was opened.
func (q *queryCache) intern(generation uint64, key, reason string, home bool) *cacheSession {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sessionsIn != generation || len(q.sessions) >= maxSessions {
		q.sessions, q.sessionsIn = make(map[string]*cacheSession), generation
	}
	s := q.sessions[key]
	if s == nil {
		s = &cacheSession{generation: generation, key: key, reason: reason}
		q.sessions[key] = s
	}
	if home {
		q.homeKey = key
	}
	if key == q.homeKey {
		q.home.Store(s)
	}
	return s
}

// learn makes sure, as far as it can, that the connection's session is known, and a text
// in it. It returns nil if it is not. An error ends the operation.
func (c *Conn) learn(ctx context.Context, t *cachedText) (*ruling, error) {
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
	if !q.atHome(ph) || q.catalog.KnownReach() != nil || ph.pg.TxStatus() != 'I' {
		return nil
	}
	if err := q.readFacts(ctx, ph); err != nil {
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
	if _, err := q.meet(ctx, c.ph); err != nil {
		return c.stillLeasedAfter(ctx)
	}
	return nil
}
