package lifeguard

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// A query that may be answered from memory takes one of these ways:
//
//	      ┌─ entry that may be served ──────────────────────────────► hit
//	look ─┤                   ┌─ somebody asks already: wait ───────► shared, or look again
//	      ├─ miss: join flight┤
//	      │                   └─ nobody does: lead; see cache_fill.go
//	      └─ not known, not cacheable, fenced ──────────────────────► bypass
//
// Neither a hit nor a wait takes a slot or a connection.

// fill is a miss that is to be filled by who found it first.
type fill struct {
	ruling   *ruling
	key      string
	snapshot cache.Snapshot // captured before the query is sent
	captured time.Duration  // when, on the limiter's clock
	flight   *cache.Flight
	doubt    cdc.Doubt // what must be visible when the query is sent, for its result to be kept
	shared   *asked    // of Redis; nil without lifeguard_redis
	over     bool      // landed, or somebody else's to land
}

// flying reports whether there is a fill, and nobody has given it up. Whether it may go on
// is decided twice, and nowhere else: look begins it, and confirm sees the connection that
// it has got.
func (f *fill) flying() bool { return f != nil && !f.over }

// abandon lets those who wait look again.
func (f *fill) abandon() {
	if !f.flying() {
		return
	}
	f.over = true
	f.flight.Land(nil, nil)
	f.flight.Leave()
}

// confirm reports whether a fill's query meets the session that its question is about: then
// it only reads. Otherwise the fill is given up, and the query goes to the server as if
// memory had not been asked.
func (c *Conn) confirm(f *fill, v *ruling) bool {
	if !f.flying() {
		return false
	}
	if v == f.ruling {
		return true
	}
	f.abandon()
	c.bypass(bypassSession)
	return false
}

// looks is how often a query looks for somebody else's result before it asks by itself.
const looks = 2

// fromMemory answers a query from memory, or from what another one brings. Without rows
// and error the query goes to the server, and its result to memory if there is a fill.
func (c *Conn) fromMemory(ctx context.Context, x *call) (driver.Rows, *fill, error) {
	q := c.core.cache
	if q == nil || x.st.Kind.Op() != sqltext.OpSelect || ended(ctx) {
		return nil, nil, nil // the lease says how the context has ended
	}
	option := cacheOptionOf(ctx)
	if option == NoCache {
		c.bypass(bypassNoCache)
		return nil, nil, nil
	}
	v, reason := c.rulingNow(x.known)
	if reason == "" {
		reason = c.question(v, x.args)
	}
	if reason == "" {
		for range looks {
			a, err := c.look(ctx, v, x.args, option)
			if a.rows != nil || err != nil {
				return a.rows, nil, err
			}
			if a.fill != nil {
				c.asked = cacheAnswer{outcome: cacheMiss}
				return nil, a.fill, nil
			}
			if reason = cmp.Or(a.reason, q.skips(v)); reason != "" {
				break
			}
			if reason = q.whyNot(v, x.args); reason != bypassFlight {
				break
			}
		}
	}
	c.bypass(reason)
	return nil, nil, nil
}

// cacheAnswer is what the cache said to a query that goes to the server. The zero value:
// it was not asked.
type cacheAnswer struct {
	outcome string
	reason  string // of a bypass
}

const (
	cacheMiss   = "miss"
	cacheBypass = "bypass"
)

// bypass counts a query that is not answered from memory, and remembers why until it is
// sent.
func (c *Conn) bypass(reason string) {
	c.core.cache.counts.bypass(reason)
	c.asked = cacheAnswer{outcome: cacheBypass, reason: reason}
}

func ended(ctx context.Context) bool { return ctx.Err() != nil }

// whyNot says why nothing can be kept of a text whose results are kept otherwise.
func (q *queryCache) whyNot(v *ruling, args []driver.NamedValue) string {
	if !q.follower.current() {
		return bypassUnconfirmed
	}
	if _, ok := v.capture(args); !ok {
		return q.whyFenced()
	}
	if doubt := q.follower.doubt(v); !doubt.None() {
		return bypassUnsettled
	}
	return bypassFlight
}

// statement returns what a text is, and with a cache what that knows about it. It
// remembers the latest, for a virtual connection is often used for one text only.
func (c *Conn) statement(query string) (*sqltext.Statement, *cachedText) {
	q := c.core.cache
	if q == nil {
		return c.core.known.Analyze(query), nil
	}
	young := q.texts.young.Load().number
	if t := c.text; t != nil && c.textIn == young && t.text == query {
		return t.statement, t
	}
	t := q.find(query)
	if t == nil {
		return c.core.known.Analyze(query), nil
	}
	c.text, c.textIn = t, young
	return t.statement, t
}

// rulingNow returns the ruling on a text in the session that it would meet, or why
// there is none that allows to keep its result.
func (c *Conn) rulingNow(t *cachedText) (*ruling, string) {
	if c.ph != nil {
		return nil, bypassLeased
	}
	if t == nil {
		return nil, bypassNew
	}
	if t.gate != "" {
		return nil, string(t.gate)
	}
	s := c.sessionNow()
	if s == nil {
		return nil, c.core.cache.whyUnknown()
	}
	if s.reason != "" {
		return nil, s.reason
	}
	v := t.in(s)
	if v == nil {
		return nil, bypassNew
	}
	if v.reason != "" {
		return nil, v.reason
	}
	return v, c.core.cache.skips(v)
}

// skips says why results of a text are not kept for now.
func (q *queryCache) skips(v *ruling) string {
	if v.alien.Load() {
		return bypassTypes
	}
	if until := v.skipUntil.Load(); until != 0 && int64(q.core.limiter.now()) < until {
		return bypassLarge
	}
	if v.text.worth.off(q.core.limiter) {
		return bypassUnprofitable
	}
	return ""
}

// question puts the key of a query in c.key, or says why there is none.
func (c *Conn) question(v *ruling, args []driver.NamedValue) (reason string) {
	b, clock := v.key(c.key[:0]), false
	for i := range args {
		var plain bool
		if b, plain = cache.AppendPlain(b, args[i].Value); !plain || args[i].Name != "" {
			return c.elaborate(v, args)
		}
		if text, is := args[i].Value.(string); is {
			clock = clock || catalog.ReadsClock(text)
		}
	}
	return c.asks(b, clock, false)
}

// elaborate is question for arguments that are not all plain.
func (c *Conn) elaborate(v *ruling, args []driver.NamedValue) (reason string) {
	for i := range args {
		if !isPlain(args[i].Value) && isOption(args[i].Value) {
			return bypassArguments
		}
	}
	b, ok := cache.AppendArguments(v.key(c.key[:0]), args)
	clock := false
	for i := 0; ok && i < len(args); i++ {
		if text, is := args[i].Value.(string); is {
			clock = clock || catalog.ReadsClock(text)
			continue
		}
		if isPlain(args[i].Value) {
			continue
		}
		clock = clock || cache.HasText(args[i].Value, catalog.ReadsClock)
		made, computes := computed(args[i].Value)
		if !computes {
			continue
		}
		if b, ok = cache.AppendArguments(b, []driver.NamedValue{{Value: made}}); ok {
			clock = clock || cache.HasText(made, catalog.ReadsClock)
		}
	}
	if !ok {
		return bypassArguments
	}
	return c.asks(b, clock, v.shared != nil && !cache.Portable(args))
}

// asks notes the key of a query.
func (c *Conn) asks(key []byte, clock, private bool) (reason string) {
	switch {
	case len(key) > maxKey:
		return bypassArguments
	case clock:
		return bypassClock
	}
	c.key, c.private = key, private
	return ""
}

// isPlain reports whether an argument is of a type that most are: one that is neither an
// option of pgx nor computes anything, and is found out without a look at its methods.
func isPlain(value any) bool {
	switch value.(type) {
	case nil, int64, string, int, int32, bool, float64, time.Time:
		return true
	}
	return false
}

// isOption reports whether pgx takes an argument for an instruction.
func isOption(value any) bool {
	switch value.(type) {
	case pgx.QueryRewriter, pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		return true
	}
	return false
}

// computed is what an argument makes of itself by a method: it may say more than the
// argument's fields, the time of day for instance. What cannot be asked is no argument of
// a key.
func computed(value any) (made any, computes bool) {
	switch v := value.(type) {
	case nil, string, []byte, int64, int, int32, bool, float64, time.Time:
		return nil, false
	case driver.Valuer:
		return madeSafely(v, v.Value), true
	case fmt.Stringer:
		return madeSafely(v, func() (driver.Value, error) { return v.String(), nil }), true
	}
	return nil, false
}

// unknowable is not taken for a part of a key.
type unknowable struct{ _ func() }

func madeSafely(v any, method func() (driver.Value, error)) (made any) {
	if at := reflect.ValueOf(v); at.Kind() == reflect.Pointer && at.IsNil() {
		return nil // NULL, whatever its method says
	}
	defer func() {
		if recover() != nil { // it will panic again, where its caller expects it
			made = unknowable{}
		}
	}()
	value, err := method()
	if err != nil {
		return unknowable{}
	}
	return value
}

// looked is what look has found: rows, a fill to the first who asks, or nothing, perhaps with
// the reason.
type looked struct {
	rows   driver.Rows
	fill   *fill
	reason string
}

// look answers from memory, or waits for the flight of the same question. It returns a
// fill to the first who asks it, and nothing if the flight brought nothing to share.
func (c *Conn) look(ctx context.Context, v *ruling, args []driver.NamedValue, option CacheOption) (looked, error) {
	q := c.core.cache
	option = option.and(v.option)
	e := c.inMemory(option)
	if q.core.cfg.shares() {
		return c.lookShared(ctx, v, option, e)
	}
	if e != nil {
		return looked{rows: c.hit(v, e)}, nil
	}
	if !q.follower.current() {
		return looked{}, nil
	}
	captured := q.core.limiter.now()
	snapshot, ok := v.capture(args)
	if !ok {
		return looked{}, nil
	}
	key := string(c.key)
	return c.join(ctx, option.flight(key, captured), &fill{ruling: v, key: key, snapshot: snapshot, captured: captured})
}

// inMemory is the entry that may be served as far as this process knows; nil if there is none.
func (c *Conn) inMemory(option CacheOption) *cache.Entry {
	q := c.core.cache
	e, ok := q.store.Find(c.key, c.roll()%tellStore == 0)
	if !ok || !q.serves(e) || option != 0 && !option.allows(q.core.limiter.now()-e.Stored) {
		return nil
	}
	return e
}

// tellStore is one in how many look-ups the store's policy hears of.
const tellStore = 4

// roll is a number by chance: Marsaglia's xorshift, for a look-up needs no better one, and
// waits for none.
func (c *Conn) roll() uint32 {
	n := c.dice
	n ^= n << 13
	n ^= n >> 17
	n ^= n << 5
	c.dice = n
	return n
}

// hit serves an entry.
func (c *Conn) hit(v *ruling, e *cache.Entry) driver.Rows {
	q := c.core.cache
	v.text.hits.add(c.shard)
	sampled := q.counts.hits.add(c.shard, e, q.core.limiter)
	set := rowsOf(e.Rows)
	if set.Values() >= readyValues && !set.IsReady() {
		set = q.makeReady(c.key, e, sampled)
	}
	return set.Rows(&q.maps)
}

// join joins the flight of a name. Who leads it has f to fill.
func (c *Conn) join(ctx context.Context, name string, f *fill) (looked, error) {
	q := c.core.cache
	flight, leads := q.flights.Join(ctx, name, &f.snapshot, q.core.limiter.urgency(ctx))
	if leads {
		f.flight, f.doubt = flight, q.follower.doubt(f.ruling) // after Capture
		return looked{fill: f}, nil
	}
	rows, err := flight.Wait(ctx)
	if ctx.Err() != nil && err != nil {
		c.core.metrics.answered(outcomeOf(ctx.Err()))
		return looked{}, &cancelledError{ctxErr: ctx.Err(), pgErr: ctx.Err()}
	}
	if rows == nil {
		return looked{}, nil
	}
	q.counts.shared.Add(1)
	f.ruling.text.hits.add(c.shard)
	c.core.metrics.answered(outcomeOK)
	return looked{rows: rowsOf(rows).Rows(&q.maps)}, nil
}

func rowsOf(r cache.Rows) *rowset.Set { return r.(*rowset.Set) } //nolint:errcheck,forcetypeassert // nothing else is stored

// striped is a count to which many add at once, each in a place of its own as far as
// possible: one place for all would go from processor to processor at each hit.
type striped [topShards]struct {
	n atomic.Uint64
	_ [56]byte
}

func (t *striped) add(shard uint8) { t[shard%topShards].n.Add(1) }

func (t *striped) sum() (n uint64) {
	for i := range t {
		n += t[i].n.Load()
	}
	return n
}

// urgency is how a statement of a context stands in the queue. Nobody who holds a slot of
// the same scope may wait for one who waits for a slot: nobody would notice that they
// stand still.
func (l *limiter) urgency(ctx context.Context) int {
	want := requestFrom(ctx)
	if want.scope != nil {
		if held, _ := want.scope.counts(l); held > 0 {
			return cache.Urgent
		}
	}
	return int(want.class)
}
