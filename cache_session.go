package lifeguard

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// This file is about sessions: which of them are equal, and what has to be read of a
// connection to know its own. When that is done stands in cache_learn.go.

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
	site    *site    // the database; nil until it was asked for
	shares  *sharing // of site, held; nil without lifeguard_redis
	nowhere bool     // the server does not tell
	barred  bool     // … though it is PostgreSQL
	era     uint64   // of sites, when the connection was last looked at
	simple  bool     // texts are sent without their parameters' types being asked for
	tx      cachedTx // of the open transaction
	raw     *fence   // see guardRaw
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

// noticeOurEnd has the server end what a killed process had begun, within a second: what its
// backend would commit later than four seconds after its end, nobody would announce.
const noticeOurEnd = `SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false)
	WHERE pg_catalog.current_setting('client_connection_check_interval') OPERATOR(pg_catalog.=) '0'`

// backendQuery tells this connection's backend from any other. It fails where the locks,
// of which Analyze and Held learn what is read and written, may not be looked at.
const backendQuery = `
SELECT pg_catalog.pg_backend_pid()::pg_catalog.text,
  (SELECT EXTRACT(epoch FROM a.backend_start) FROM pg_catalog.pg_stat_activity a
    WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())::pg_catalog.text,
  pg_catalog.pg_is_in_recovery()::pg_catalog.text,
  (SELECT l.pid FROM pg_catalog.pg_lock_status() l LIMIT 0)::pg_catalog.text`

// errFacts says that the server answered something else than was asked.
var errFacts = errors.New("lifeguard: the server did not describe the session")

// meet reads the session of an idle connection, and what belongs to it.
func (q *queryCache) meet(ctx context.Context, ph *physical) (*cacheSession, error) {
	if !q.atHome(ph) || q.mode.exact() && inProcess.unclear() || q.refused() != nil {
		return nil, nil //nolint:nilnil // not known
	}
	generation := q.catalog.Generation()
	read, err := q.readState(ctx, ph)
	switch {
	case err == nil:
	case q.refuse(ctx, ph, err):
		return nil, nil //nolint:nilnil // as above
	default:
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

// meetAtLast is meet, and again if the catalog has moved on meanwhile.
func (q *queryCache) meetAtLast(ctx context.Context, ph *physical) (s *cacheSession, err error) {
	for range learnTries {
		generation := q.catalog.Generation()
		s, err = q.meet(ctx, ph)
		if s != nil || err != nil || generation == q.catalog.Generation() {
			break
		}
	}
	return s, err
}

// readState reads a connection's session, and what belongs to it as far as it is not known.
func (q *queryCache) readState(ctx context.Context, ph *physical) (catalog.Session, error) {
	if ph.cached.started == "" && !q.core.cfg.shares() {
		return q.readAtOnce(ctx, ph)
	}
	if ph.cached.started == "" || q.catalog.KnownReach() == nil {
		if err := q.readFacts(ctx, ph); err != nil {
			return catalog.Session{}, err
		}
	}
	return catalog.ReadSession(ctx, ph.pg)
}

// readAtOnce is readState for a connection of which nothing is known: one round trip, and
// another one if nobody knows yet what functions could do.
func (q *queryCache) readAtOnce(ctx context.Context, ph *physical) (catalog.Session, error) {
	answers := askAtOnce(ctx, ph.pg, backendQuery, incarnationSQL, catalog.SessionQuery)
	if err := ph.cached.noteBackend(ph, answers[0]); err != nil {
		return catalog.Session{}, err
	}
	if err := q.sawLife(ctx, ph, noteIncarnation(ph.pg, answers[1])); err != nil {
		return catalog.Session{}, err
	}
	if _, err := q.catalog.Reach(ctx, ph.pg); err != nil {
		return catalog.Session{}, err
	}
	return catalog.SessionOf(ph.pg, answers[2])
}

// askAtOnce sends questions that have nothing to do with each other, and returns the answers.
func askAtOnce(ctx context.Context, pg *pgconn.PgConn, questions ...string) []*pgconn.Result {
	answers := make([]*pgconn.Result, len(questions))
	p := pg.StartPipeline(ctx)
	for _, sql := range questions {
		p.SendQueryParams(sql, nil, nil, nil, nil)
		p.SendPipelineSync() // so that the next one is answered whatever becomes of this
	}
	lost := p.Flush()
	for i := range answers {
		answers[i] = &pgconn.Result{Err: lost}
		if lost != nil {
			continue
		}
		result, err := p.GetResults()
		if reader, ok := result.(*pgconn.ResultReader); ok && err == nil {
			answers[i] = reader.Read()
		} else {
			answers[i].Err = cmp.Or(err, errFacts)
		}
		_, lost = p.GetResults() // Sync
	}
	_ = p.Close() // each answer has its own error
	return answers
}

// noteBackend notes what the connection's backend is, as it has answered backendQuery.
func (cc *cachedConn) noteBackend(ph *physical, answer *pgconn.Result) error {
	if answer.Err != nil {
		return answer.Err
	}
	if len(answer.Rows) != 1 || len(answer.Rows[0]) != 4 {
		return errFacts
	}
	row := answer.Rows[0]
	cc.started, cc.standby = string(row[1]), string(row[2]) == "true"
	cc.proxied = string(row[0]) != strconv.FormatUint(uint64(ph.pg.PID()), 10)
	cc.simple = sendsUnasked(ph.pgxConn().Config())
	return nil
}

// sawLife is sawServer for what a connection has said, or has not.
func (q *queryCache) sawLife(ctx context.Context, ph *physical, life string) error {
	if life == "" && (ph.dead() || ctx.Err() != nil) {
		return errors.Join(errFacts, ctx.Err()) // nobody has said that it is another one
	}
	q.sawServer(life)
	return nil
}

// readFacts reads what the connection's backend is, and what functions could do in its
// database.
func (q *queryCache) readFacts(ctx context.Context, ph *physical) error {
	if err := ph.cached.noteBackend(ph, ph.pg.ExecParams(ctx, backendQuery, nil, nil, nil, nil).Read()); err != nil {
		return err
	}
	if err := q.sawLife(ctx, ph, incarnation(ctx, ph.pg)); err != nil {
		return err
	}
	if q.core.cfg.shares() && ph.pg.TxStatus() == 'I' {
		// Where the server cannot look at its clients, it refuses that, and nothing is lost.
		_ = ph.pg.ExecParams(ctx, noticeOurEnd, nil, nil, nil, nil).Read()
	}
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
