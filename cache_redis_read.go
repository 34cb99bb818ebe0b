package lifeguard

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// With lifeguard_redis a query asks Redis first, in one round trip, whatever memory has:
//
//	same    what is in memory still stands: served
//	value   somebody has filled it: served, and kept in memory
//	miss    nobody has: the query goes to PostgreSQL, by whoever leads the flight, and its
//	        result to memory and to Redis, with the proof of this answer
//	else    a write is under way, it is not known what others write, or Redis has not
//	        answered in time: to PostgreSQL, and nothing is kept
//
// The name of a flight has the proof in it, so that nobody who has asked after a commit waits
// for one who asked before it.
//
// What comes from Redis is served only after a fill by this process, in this ruling: only a
// connection says whether it decodes the columns, and encodes the arguments, by codecs of its
// own. And only if the columns are those of the fill.

// asked is what Redis was asked for a fill, and has answered.
type asked struct {
	question rediscache.Question
	answer   rediscache.Answer
}

// Why a query bypassed the cache with lifeguard_redis.
const (
	bypassRedis      = "redis_unreachable" // Redis did not answer in time
	bypassApart      = "redis_unconfirmed" // it is not known what other processes write
	bypassOtherRedis = "redis_differs"     // another pool of this process uses another one
)

// lookShared is look with lifeguard_redis. e is what memory has; nil for nothing.
func (c *Conn) lookShared(ctx context.Context, v *ruling, option CacheOption, e *cache.Entry) (looked, error) {
	q, s := c.core.cache, v.shared
	if s == nil || s.url != c.core.cfg.Redis {
		return looked{reason: bypassOtherRedis}, nil
	}
	captured := q.core.limiter.now()
	snapshot, ok := v.reads.Capture()
	if !ok {
		return looked{}, nil
	}
	ask := c.sharedQuestion(v)
	ask.Value = ask.Value && option == 0 && v.sharable.Load()
	if e != nil {
		ask.Have = e.Proof
	}
	a, err := s.space.Look(ctx, ask)
	found := lookOf(a.State, err)
	q.counts.redis[found].Add(1)
	if t := c.core.tracing; t != nil {
		t.lookedUp(ctx, v.text.statement, lookNames[found], q.core.limiter.now()-captured)
	}
	switch {
	case err != nil:
		return looked{reason: bypassRedis}, nil //nolint:nilerr // to PostgreSQL
	case a.State == rediscache.Unconfirmed:
		return looked{reason: bypassApart}, nil
	case a.State == rediscache.Fenced:
		return looked{reason: bypassFenced}, nil
	case s.note(a.Catalog).generation > v.session.generation:
		return looked{reason: bypassSession}, nil
	case a.State == rediscache.Same && q.serves(e):
		return looked{rows: c.hit(v, e)}, nil
	case a.State == rediscache.Same:
		return looked{}, nil // this process has a reason of its own
	case a.State == rediscache.Found:
		if set := c.fromRedis(v, &a, snapshot, captured); set != nil {
			q.counts.fromRedis.Add(1)
			v.text.hits.add(c.shard)
			return looked{rows: set.Rows(&q.maps)}, nil
		}
	}
	key := string(c.key)
	f := &fill{ruling: v, key: key, snapshot: snapshot, captured: captured, shared: &asked{ask, a}}
	return c.join(ctx, option.flight(key, captured)+"\x00"+a.Proof, f)
}

// sharedQuestion is what c.key stands for in every process: the number of the ruling, with
// which it begins, is this one's.
func (c *Conn) sharedQuestion(v *ruling) rediscache.Question {
	ask := rediscache.Question{Relations: v.relations, Value: !c.private}
	if !c.private {
		ask.Key = append(append(ask.Key, v.sharedKey[:]...), c.key[rulingKeyLen:]...)
	}
	return ask
}

// rulingKeyLen is how long the ruling's part of a key is.
const rulingKeyLen = 8

// shareWith prepares a ruling for a sharing. Every process that meets the same text in an
// equal session has the same sharedKey.
func (v *ruling) shareWith(s *sharing) {
	if s == nil {
		return
	}
	v.shared = s
	v.relations = slices.Compact(slices.Sorted(slices.Values(v.analysis.Reads)))
	b := binary.AppendUvarint(nil, uint64(len(v.session.key)))
	b = append(append(b, v.session.key...), v.text.text...)
	v.sharedKey = sha256.Sum256(b)
}

// fromRedis makes a set of what was found, and keeps it in memory; nil if it is of no use here.
func (c *Conn) fromRedis(v *ruling, a *rediscache.Answer, snapshot cache.Snapshot, captured time.Duration) *rowset.Set {
	q := c.core.cache
	set, err := rowset.Parse(a.Value)
	if err != nil {
		v.shared.space.Damaged()
		return nil
	}
	set = set.Under(v.columns.Load())
	if set == nil || q.ttl > 0 && a.Age > q.ttl {
		return nil
	}
	if set.Len() <= q.maxRows && set.Size() <= q.maxBytes {
		q.store.Set(string(c.key), &cache.Entry{Rows: set, Snapshot: snapshot, Stored: captured - a.Age, Proof: a.Proof})
	}
	return set
}

// mayShare notes that a fill has met columns, and parameters, that every connection treats
// alike.
func (r *fetch) mayShare(types *pgtype.Map) {
	v := r.ruling
	if v.shared == nil || v.sharable.Load() {
		return
	}
	params := make([]pgconn.FieldDescription, len(v.analysis.Params))
	for i, oid := range v.analysis.Params {
		params[i].DataTypeOID = oid
	}
	if rowset.Known(types, params) {
		v.sharable.Store(true)
	}
}

// share stores what a fill has brought for the other processes. It takes a round trip, for
// which nobody waits.
func (r *fetch) share(set *rowset.Set) {
	if r.shared == nil || set == nil || r.alone || r.shared.question.Key == nil || !r.ruling.sharable.Load() {
		return
	}
	s, asked := r.ruling.shared, r.shared
	r.q.core.pool.background(func() {
		_ = s.space.Fill(s.ctx, asked.question, asked.answer, set.AppendBinary(nil)) // counted by the tier
	})
}

// proof is by which Redis will know what a fill has brought.
func (f *fill) proof() string {
	if f.shared == nil {
		return ""
	}
	return f.shared.answer.Proof
}

// What look-ups in Redis come to: the values of a metrics label.
const (
	lookSame = iota
	lookValue
	lookMiss
	lookFenced
	lookApart
	lookFailed
	lookResults
)

//nolint:gochecknoglobals // a constant
var lookNames = [lookResults]string{"same", "value", "miss", "fenced", "unconfirmed", "error"}

func lookOf(s rediscache.State, err error) int {
	if err != nil {
		return lookFailed
	}
	switch s {
	case rediscache.Same:
		return lookSame
	case rediscache.Found:
		return lookValue
	case rediscache.Fenced:
		return lookFenced
	case rediscache.Unconfirmed:
		return lookApart
	case rediscache.Miss:
	}
	return lookMiss
}

// lookCounts are counted by look-up, which costs a round trip.
type lookCounts [lookResults]atomic.Uint64
