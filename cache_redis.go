package lifeguard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// sharing is what this process has of a database together with all others that read and
// write it with lifeguard_redis: results in Redis, and the word of Redis that a result, also
// one in memory, still stands. [rediscache.Space] has the protocol between them. It belongs
// to a site, as the ledger does, and lives as long as a Connector with lifeguard_redis, or
// one of its connections, is there.
//
// Who cannot reach Redis cannot announce there what he writes. PostgreSQL tells the others:
// on a connection beside the pool, the keeper's, each process holds a shared advisory lock
// whose key is the process of Redis that it uses, or 0. Whoever sees another key than his own
// does not let Redis answer.
//
//	         Redis answers                  a write cannot be announced
//	nowhere ───────────────► joined ─────────────────────────────────────► out
//	   ▲     lock of Redis     ▲    lock 0, and rediscache.Watch later writes  │
//	   │                       │    go without being announced                 │ Redis takes
//	   │ the keeper's          │                                               │ intents again
//	   │ connection ends       └──────────────────────────────── returning ◄───┘
//	any                          the last of those writes has       lock 0; writes are
//	                             ended: forget all, lock of Redis   announced again
//
// Invariants, beside those of rediscache.Space:
//
//  1. What is sent to PostgreSQL was announced in the Redis whose lock is held, or was last
//     held; or the lock 0 has been held for rediscache.Watch.
//  2. A lock of another Redis counts for writes only when it has been held for
//     rediscache.Watch, too: until then somebody may be served by who has not seen it.
//  3. Locks are exchanged by taking the new one first. Then what is under way is announced in
//     the new Redis, and only then the old one is let go.
//  4. The lock 0 is let go only when nothing is under way that was not announced, and after
//     everything in Redis was forgotten.
//
// Two goroutines: keep looks at Redis and at the locks, renew renews what was announced.
type sharing struct {
	url     string
	site    *site
	tier    *rediscache.Tier
	space   *rediscache.Space
	connect func(context.Context) (*pgconn.PgConn, error)
	pool    string // of the Connector that came first, for the log
	log     *slog.Logger
	linger  time.Duration

	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{}
	holders int // guarded by sites.mu

	wake chan struct{} // holds one if the keeper should look at once

	mu       sync.Mutex // guards what follows; never held while blocking
	stands   stance
	server   string    // the process of Redis whose lock is held, or was before the connection ended; not if out
	ready    time.Time // from then on the lock counts for writes
	alive    time.Time // the keeper's connection was, then
	demanded bool      // somebody could not announce his write
	bare     int       // writes under way that were not announced
	news     chan struct{}
	live     map[*announcement]struct{}
	owed     []debt

	renewing sync.RWMutex // held to renew; for reading, to end what might be renewed

	noting sync.Mutex // held to change noted
	noted  atomic.Pointer[catalogNote]

	counts sharedCounts
}

// sharedCounts are counted where it happens.
type sharedCounts struct {
	placed, bare, outs atomic.Uint64
	reported           atomic.Pointer[string]
}

// stance says where writes are announced.
type stance uint8

const (
	standsNowhere stance = iota
	standsJoined
	standsOut
	standsReturning
)

func (s stance) String() string {
	return [...]string{"nowhere", "joined", "out", "returning"}[s]
}

// catalogNote says from which generation of this process on the catalog was read when, in
// Redis, it was the one of text.
type catalogNote struct {
	text       string
	generation uint64
}

// errRedisNowhere says that nobody could be told where a write goes.
var errRedisNowhere = errors.New("lifeguard: lifeguard_redis needs a role that may call pg_postmaster_start_time(): " +
	"without it other processes cannot be told which database is written")

// sharedMaxBytes is how large a result in Redis may be.
const sharedMaxBytes = 16 << 20

func newSharing(p *site, cfg *Config) (*sharing, error) {
	linger := cmp.Or(cfg.redisLinger, rediscache.Linger)
	tier, err := rediscache.Open(cfg.Redis, rediscache.Options{Budget: cfg.redisBudget, MaxBytes: sharedMaxBytes, Linger: linger})
	if err != nil {
		return nil, err
	}
	s := &sharing{
		url: cfg.Redis, site: p, tier: tier, space: tier.Space(p.name.started + "/" + p.name.database),
		connect: func(ctx context.Context) (*pgconn.PgConn, error) {
			return cfg.connectBeside(ctx, "lifeguard cache", false)
		},
		pool: cfg.Name, log: cfg.Logger, linger: linger, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		news: make(chan struct{}), live: make(map[*announcement]struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s, nil
}

// run ends with the last who holds the sharing.
func (s *sharing) run() {
	defer close(s.ended)
	var both sync.WaitGroup
	both.Go(s.keep)
	both.Go(s.renew)
	both.Wait()
	_ = s.tier.Close()
}

// share holds the sharing of a site for a Connector, which it is founded by if there is none.
// It is nil without lifeguard_redis, and where the database is not known. Let go of it once.
func (p *site) share(q *queryCache) *sharing {
	cfg := &q.core.cfg
	if !cfg.shares() || p.unnamed() {
		return nil
	}
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	s := p.sharing.Load()
	if s == nil {
		var err error
		if s, err = newSharing(p, cfg); err != nil {
			return nil // validate has opened it before
		}
		p.sharing.Store(s)
	}
	s.holders++
	if s.url != cfg.Redis {
		q.otherTold.Do(func() {
			cfg.Logger.Warn("lifeguard: another pool of this process shares the same database through another lifeguard_redis, so nothing is cached for this one",
				"pool", cfg.Name, "other", s.pool)
		})
	}
	return s
}

func (s *sharing) letGo() {
	if s == nil {
		return
	}
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	s.holders--
	if s.holders == 0 {
		s.site.sharing.CompareAndSwap(s, nil)
		s.cancel()
	}
}

// await waits for the end of a sharing that nobody holds any more.
func (s *sharing) await() {
	if s != nil && s.ctx.Err() != nil {
		<-s.ended
	}
}

// unnamed reports whether the server did not tell which database it is.
func (p *site) unnamed() bool { return p.name == siteName{} }

// note compares the catalog that Redis speaks of with the one that was analysed. When it is
// another, what was analysed is not known any more.
func (s *sharing) note(text string) *catalogNote {
	if n := s.noted.Load(); text == "" || n != nil && n.text == text {
		return n
	}
	s.noting.Lock()
	defer s.noting.Unlock()
	if n := s.noted.Load(); n != nil && n.text == text {
		return n
	}
	s.site.doubt()
	n := &catalogNote{text: text, generation: s.site.generations.Now()}
	s.noted.Store(n)
	return n
}

// catalogOf is what Redis calls the catalog of a generation; empty if that is not known.
func (s *sharing) catalogOf(generation uint64) string {
	n := s.noted.Load()
	if n == nil || generation < n.generation {
		return ""
	}
	return n.text
}

// state is a snapshot, with a channel that is closed when the keeper has looked again.
func (s *sharing) state() (stands stance, server string, ready time.Time, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stands, s.server, s.ready, s.news
}

// hurry has the keeper look at once.
func (s *sharing) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
