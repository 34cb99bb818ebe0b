package rediscache

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/internal/redisurl"
)

// Options bound what a Tier does. Zero is a good default.
type Options struct {
	// Budget is how long a look-up may take before the query goes to PostgreSQL. Default 50 ms.
	Budget time.Duration
	// ValueTTL is how long Redis keeps a value at most. Default 1 h.
	ValueTTL time.Duration
	// MaxBytes is how long the payload of a value may be. Default 1 MiB.
	MaxBytes int
	// Linger is how long an intent stands that nobody renews; the same in every process.
	// Default [Linger].
	Linger time.Duration
}

// Linger is how long an intent stands that nobody renews, and how long nothing is served
// after knowledge was lost. Living writers renew theirs every third of it. So what a backend
// of PostgreSQL still commits, whose process was killed, is never missed if it does so within
// two thirds of it: four seconds.
const Linger = 6 * time.Second

// Watch is how long look-ups are answered after somebody has seen that every writer is known.
const Watch = time.Second

// Tier is one Redis, or one that stands by for it, or a cluster. It connects when it is used.
// All methods may be called concurrently.
type Tier struct {
	client  redis.UniversalClient
	options Options
	breaker breaker
	counts  counts

	textOnly atomic.Bool // no functions are to be had
	seeds    string
	seeded   atomic.Uint64
}

// Open returns a tier for a URL: see CheckURL. It does not connect.
func Open(url string, o Options) (*Tier, error) {
	open, err := redisurl.Dialer(url)
	if err != nil {
		return nil, err
	}
	o.Budget = cmp.Or(o.Budget, 50*time.Millisecond)
	o.ValueTTL = cmp.Or(o.ValueTTL, time.Hour)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<20)
	o.Linger = cmp.Or(o.Linger, Linger)
	return &Tier{client: open(), options: o, seeds: rand.Text() + "-"}, nil
}

// Close closes the connections. What is under way fails.
func (t *Tier) Close() error { return t.client.Close() }

// ErrResting is returned while look-ups are turned away, since Redis has not answered.
var ErrResting = errors.New("rediscache: Redis has not answered lately")

// The states of the breaker.
const (
	Closed   = "closed"
	HalfOpen = "half_open"
	Opened   = "open"
)

// counts only grow.
type counts struct {
	lookups, hits, fills atomic.Uint64
	read, written        atomic.Uint64 // bytes of values
	nanos                atomic.Uint64
	buckets              [len(tripEdges) + 1]atomic.Uint64
	errors               [kinds]atomic.Uint64
}

//nolint:gochecknoglobals // a constant
var tripEdges = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// Stats is what a tier did. Counters only grow.
type Stats struct {
	Lookups uint64 // answered
	Hits    uint64 // of them: with a value, or that what the caller had still stands
	Fills   uint64 // values that were stored
	Read    uint64 // bytes of values that were found
	Written uint64 // and stored
	Breaker string
	Errors  map[string]uint64 // by kind
	Trips   Trips
}

// Trips says how long round trips took.
type Trips struct {
	Count   uint64
	Sum     time.Duration
	Buckets []Trip // with growing UpTo; what took longer is in Count only
}

// Trip is how many round trips took no longer than UpTo.
type Trip struct {
	UpTo  time.Duration
	Count uint64
}

// Stats is a snapshot.
func (t *Tier) Stats() Stats {
	c := &t.counts
	s := Stats{
		Lookups: c.lookups.Load(), Hits: c.hits.Load(), Fills: c.fills.Load(), Read: c.read.Load(), Written: c.written.Load(),
		Breaker: t.breaker.state(), Errors: make(map[string]uint64, kinds),
		Trips: Trips{Sum: time.Duration(c.nanos.Load()), Buckets: make([]Trip, len(tripEdges))}, //nolint:gosec // a sum of durations
	}
	for k := range kinds {
		s.Errors[k.String()] = c.errors[k].Load()
	}
	for i, edge := range tripEdges {
		s.Trips.Count += c.buckets[i].Load()
		s.Trips.Buckets[i] = Trip{edge, s.Trips.Count}
	}
	s.Trips.Count += c.buckets[len(tripEdges)].Load()
	return s
}

// kind is what went wrong.
type kind uint8

const (
	kindTimeout kind = iota
	kindNetwork
	kindAuth
	kindReadOnly
	kindFull
	kindLoading
	kindDamaged
	kindFormat
	kindOther
	kinds
)

func (k kind) String() string {
	return [...]string{"timeout", "network", "auth", "readonly", "full", "loading", "damaged", "format", "other"}[k]
}

// Kinds are all keys of Stats.Errors.
func Kinds() []string {
	all := make([]string, kinds)
	for k := range kinds {
		all[k] = k.String()
	}
	return all
}

// Kind sorts an error under one of the names in Stats.Errors. Unlike the error's text it
// names neither hosts nor users.
func Kind(err error) string {
	if errors.Is(err, ErrResting) {
		return "resting"
	}
	return kindOf(err).String()
}

// kindOf sorts errors by what Redis answers; see its sources for the words.
func kindOf(err error) kind {
	var netErr net.Error
	text := err.Error()
	word, _, _ := strings.Cut(text, " ")
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return kindTimeout
	case errors.Is(err, errDamaged), errors.Is(err, errOther):
		return kindDamaged
	case errors.Is(err, errFormat):
		return kindFormat
	case word == "NOAUTH" || word == "WRONGPASS" || word == "NOPERM" || strings.HasPrefix(text, "ERR invalid password"),
		strings.Contains(text, "AUTH <password> called without"):
		return kindAuth
	case word == "READONLY" || strings.Contains(text, "READONLY"):
		return kindReadOnly
	case word == "OOM" || strings.Contains(text, "OOM command"):
		return kindFull
	case word == "LOADING" || word == "MASTERDOWN" || word == "CLUSTERDOWN" || word == "BUSY":
		return kindLoading
	case word == "x509:" || word == "tls:", errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, redis.ErrClosed), errors.Is(err, net.ErrClosed):
		return kindNetwork
	}
	return kindOther
}

// run has Redis run a script, and counts that.
func (t *Tier) run(ctx context.Context, s *script, keys []string, args ...any) (any, error) {
	begin := time.Now()
	answer, err := t.do(ctx, s, keys, args)
	took := time.Since(begin)
	t.counts.nanos.Add(uint64(took)) //nolint:gosec // not negative
	i := 0
	for i < len(tripEdges) && took > tripEdges[i] {
		i++
	}
	t.counts.buckets[i].Add(1)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.counts.errors[kindOf(err)].Add(1)
	}
	return answer, err
}

// seed is a text that never comes again, in any process.
func (t *Tier) seed() string { return t.seeds + strconv.FormatUint(t.seeded.Add(1), 36) }
