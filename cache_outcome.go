package lifeguard

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// unsettled are, first, the commits of which nobody knows what has become: the connection was
// lost before the answer came. The server may not even have read the message yet. So
// the fence stays up until the backend that would read it is gone; only then it is
// known that nothing happens any more, and the versions grow.
//
//	lost ──► asked every now and then ──► backend gone ──► bump
//	            │ for longer than patience
//	            └─► terminated, for nobody listens to it any more
//
// Not the state of the backend counts: an idle one may have the message before it. Nor
// does the process number alone, for it may belong to another backend by now: a backend
// is named by its start, too.
//
// What else waits for an answer of the server's stands in cache_server.go.
type unsettled struct {
	of *queryCache

	mu      sync.Mutex // guards what follows; never held while blocking
	waiting []*lostCommit
	asking  bool
	closed  bool
	fresh   chan struct{} // holds one if somebody has come since the latest question; nil while nobody asks
}

type lostCommit struct {
	waits   waitsFor
	pid     int64
	started string // empty if that was never read
	fence   *fence
	ddl     bool
	forever bool            // the process number is not the server's
	opened  time.Duration   // when its connection was there, on the limiter's clock
	hands   <-chan struct{} // of the application's, until it is closed; may be nil
	since   time.Duration
	lsn     uint64 // see waitsForLog
	site    *site  // held
	ended   atomic.Bool
}

const (
	askFirst    = 5 * time.Millisecond
	askAtLeast  = time.Second
	askPatience = time.Second
	askTimeout  = 10 * time.Second
	longAgo     = -1000 * time.Hour * 1000 // before any backend was started
)

//nolint:gochecknoglobals // a constant
var askBackends = &sqltext.Statement{Summary: "lost backends"}

// backendsSQL gives the backends among $1, what names each, and their age.
const backendsSQL = `SELECT a.pid::pg_catalog.int8, EXTRACT(epoch FROM a.backend_start)::pg_catalog.text,
	EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start)::pg_catalog.float8
	FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.int4[])`

const terminateBackendSQL = `SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
	WHERE a.pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4
	AND EXTRACT(epoch FROM a.backend_start)::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text`

func (u *unsettled) size() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, l := range u.waiting {
		if l.waits == waitsForBackend {
			n++
		}
	}
	return n
}

// add takes over a fence whose commit was sent on a connection that is lost.
func (u *unsettled) add(ph *physical, fence *fence, ddl bool) {
	if l := newLost(ph, fence, ddl); l != nil {
		u.adopt([]*lostCommit{l})
	}
}

// newLost names what has to be asked for; it is nil if that is nothing.
func newLost(ph *physical, fence *fence, ddl bool) *lostCommit {
	if fence == nil && !ddl || ph.cached.site == nil { // see watch
		return nil
	}
	return &lostCommit{
		pid: int64(ph.pg.PID()), started: ph.cached.started, fence: fence, ddl: ddl,
		forever: ph.cached.proxied, opened: ph.opened, site: ph.cached.site.again(),
	}
}

// adopt asks for commits from now on.
func (u *unsettled) adopt(lost []*lostCommit) {
	if len(lost) == 0 {
		return
	}
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		orphan(lost)
		return
	}
	for _, l := range lost {
		l.since = u.of.core.limiter.now()
	}
	u.waiting = append(u.waiting, lost...)
	start := !u.asking
	u.asking = true
	if start {
		u.fresh = make(chan struct{}, 1)
	}
	fresh := u.fresh
	u.mu.Unlock()
	if start {
		u.of.core.pool.background(func() { u.ask(fresh) })
		return
	}
	select {
	case fresh <- struct{}{}:
	default:
	}
}

// close leaves the asking to others, who know the same database.
func (u *unsettled) close() {
	u.mu.Lock()
	lost := u.waiting
	u.waiting, u.closed = nil, true
	u.mu.Unlock()
	orphan(lost)
}

func orphan(lost []*lostCommit) {
	for _, l := range lost {
		l.opened = longAgo // on another clock
		if l.waits != waitsForBackend && !l.site.hasAskers() {
			if !l.ended.Swap(true) {
				l.fence.Bump() // nobody is left who has kept anything
				l.site.letGo()
			}
			continue
		}
		l.site.orphan(l)
	}
}

// ask goes on until nothing is waiting or the pool is closed, at longer and longer
// intervals; but who has just come is asked for soon.
func (u *unsettled) ask(fresh <-chan struct{}) {
	ctx := u.of.core.pool.ctx
	pause := askFirst
	for {
		u.round(ctx)
		u.mu.Lock()
		u.waiting = slices.DeleteFunc(u.waiting, func(l *lostCommit) bool { return l.ended.Load() })
		if len(u.waiting) == 0 {
			u.asking = false
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		slept := rest(ctx, askFirst, nil) // at least, however many come
		if slept == sleptEnough {
			slept = rest(ctx, pause-askFirst, fresh)
		}
		switch slept {
		case sleptEnough:
			pause = min(2*pause, askAtLeast)
		case sleptTillWoken:
			pause = askFirst
		case sleptTillTheEnd:
			return
		}
	}
}

// slept says why a sleep is over.
type slept uint8

const (
	sleptEnough slept = iota
	sleptTillWoken
	sleptTillTheEnd // of the context
)

func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) slept {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return sleptEnough
	case <-wake:
		return sleptTillWoken
	case <-ctx.Done():
		return sleptTillTheEnd
	}
}

// round asks once after all that are waiting.
func (u *unsettled) round(ctx context.Context) {
	u.mu.Lock()
	waiting := slices.Clone(u.waiting)
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(WithPriority(ctx, Critical), askTimeout)
	defer cancel()
	c := &Conn{core: u.of.core}
	if err := c.leaseForAsking(ctx); err != nil {
		return // the server is away; the fences stay
	}
	defer c.endLease()
	c.slot.begin(SlotExecuting, askBackends.Summary, 0)
	if err := u.askBackends(ctx, c.ph.pgxConn(), waiting); err != nil {
		return
	}
	u.askServer(ctx, c.ph.pg, waiting)
}

func (u *unsettled) askBackends(ctx context.Context, conn *pgx.Conn, waiting []*lostCommit) error {
	waiting = slices.DeleteFunc(slices.Clone(waiting), func(l *lostCommit) bool { return l.waits != waitsForBackend })
	if len(waiting) == 0 {
		return nil
	}
	alive, err := backendsOf(ctx, conn, waiting)
	if err != nil {
		return err
	}
	now := u.of.core.limiter.now()
	for _, l := range waiting {
		b, there := alive[l.pid]
		if there && l.started == "" && b.age >= now-l.opened {
			l.started = b.started // nobody else has had the number since
		}
		switch {
		case l.forever:
		case !there, l.started != "" && b.started != "" && b.started != l.started:
			u.settle(l)
		case now-l.since > askPatience && l.started != "" && !l.inHands():
			// It may not be ours to end; then it ends when it notices that we are gone.
			_, _ = conn.Exec(ctx, terminateBackendSQL, int32(l.pid), l.started) //nolint:gosec // a process number
		}
	}
	return nil
}

// inHands reports whether the application may have taken the connection for itself
// (pgconn's Hijack): then it goes on there, and only its end says that nothing is written
// any more. One that broke is cleaned up within seconds.
func (l *lostCommit) inHands() bool {
	if l.hands == nil {
		return false
	}
	select {
	case <-l.hands:
		return false
	default:
		return true
	}
}

type backend struct {
	started string // empty if the role may not know
	age     time.Duration
}

func backendsOf(ctx context.Context, conn *pgx.Conn, waiting []*lostCommit) (map[int64]backend, error) {
	pids := make([]int32, len(waiting))
	for i, l := range waiting {
		pids[i] = int32(l.pid) //nolint:gosec // a process number
	}
	rows, err := conn.Query(ctx, backendsSQL, pids)
	if err != nil {
		return nil, err
	}
	alive := make(map[int64]backend)
	var pid int64
	var started *string
	var age *float64
	_, err = pgx.ForEachRow(rows, []any{&pid, &started, &age}, func() error {
		b := backend{}
		if started != nil && age != nil {
			b = backend{*started, time.Duration(*age * float64(time.Second))}
		}
		alive[pid] = b
		return nil
	})
	return alive, err
}

func (u *unsettled) settle(l *lostCommit) {
	if l.ended.Swap(true) {
		return // by who asked before
	}
	if l.ddl {
		l.site.generations.Next()
		l.site.doubtOthers()
	}
	if cause, counts := l.waits.cause(); counts {
		u.of.counts.invalidated[cause].Add(1)
	}
	l.fence.Bump()
	l.site.letGo()
}

// leaseForAsking leases outside of session mode's pairs: any connection will do.
func (c *Conn) leaseForAsking(ctx context.Context) error {
	s, err := c.core.limiter.acquire(ctx, requestFrom(ctx))
	if err != nil {
		return err
	}
	if s.warm != nil {
		c.core.pool.put(s.warm)
		s.warm = nil
	}
	ph, err := c.core.pool.errand(ctx, s.acquired)
	if err != nil {
		c.core.giveBack(ph, s, false)
		return err
	}
	c.ph, c.slot = ph, s
	return nil
}
