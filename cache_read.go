package lifeguard

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
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
	over     bool // landed, or somebody else's to land
}

// flying reports whether there is a fill, and nobody has given it up.
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

// looks is how often a query looks for somebody else's result before it asks by itself.
const looks = 2

// fromMemory answers a query from memory, or from what another one brings. Without rows
// and error the query goes to the server, and its result to memory if there is a fill.
func (c *Conn) fromMemory(ctx context.Context, st *sqltext.Statement, query string, args []driver.NamedValue) (driver.Rows, *fill, error) {
	q := c.core.cache
	if q == nil || st.Kind.Op() != sqltext.OpSelect || ended(ctx) {
		return nil, nil, nil // the lease says how the context has ended
	}
	option := cacheOptionOf(ctx)
	if option == NoCache {
		c.bypass(bypassNoCache)
		return nil, nil, nil
	}
	v, reason := c.rulingNow(query)
	var key string
	if reason == "" {
		key, reason = v.question(args)
	}
	if reason == "" {
		for range looks {
			rows, f, err := c.look(ctx, st, v, key, option)
			if rows != nil || err != nil {
				return rows, nil, err
			}
			if f != nil {
				c.asked = cacheAnswer{outcome: cacheMiss}
				return nil, f, nil
			}
			if reason = v.skipped(q.core.limiter.now()); reason != "" {
				break
			}
			reason = bypassFlight
			if !q.canCapture(v) {
				reason = bypassFenced
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

func (q *queryCache) canCapture(v *ruling) bool {
	_, ok := v.reads.Capture()
	return ok
}

// rulingNow returns the ruling on a text in the session that it would meet, or why
// there is none that allows to keep its result.
func (c *Conn) rulingNow(query string) (*ruling, string) {
	q := c.core.cache
	if c.ph != nil {
		return nil, bypassLeased
	}
	t := q.find(query)
	if t == nil {
		return nil, bypassNew
	}
	if t.gate != "" {
		return nil, string(t.gate)
	}
	s := c.sessionNow()
	if s == nil {
		return nil, q.whyUnknown()
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
	return v, v.skipped(q.core.limiter.now())
}

// skipped says why results of a text are not kept for now.
func (v *ruling) skipped(now time.Duration) string {
	switch {
	case v.alien.Load():
		return bypassTypes
	case int64(now) < v.skipUntil.Load():
		return bypassLarge
	}
	return ""
}

// question returns the key, or why there is none.
func (v *ruling) question(args []driver.NamedValue) (key, reason string) {
	var buf [128]byte
	b := v.key(buf[:0])
	for i := range args {
		if isOption(args[i].Value) {
			return "", bypassArguments
		}
	}
	b, ok := cache.AppendArguments(b, args)
	clock := false
	for i := 0; ok && i < len(args); i++ {
		clock = clock || cache.HasText(args[i].Value, catalog.ReadsClock)
		made, computes := computed(args[i].Value)
		if !computes {
			continue
		}
		if b, ok = cache.AppendArguments(b, []driver.NamedValue{{Value: made}}); ok {
			clock = clock || cache.HasText(made, catalog.ReadsClock)
		}
	}
	switch {
	case !ok || len(b) > maxKey:
		return "", bypassArguments
	case clock:
		return "", bypassClock
	}
	return string(b), ""
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

// look answers from memory, or waits for the flight of the same question. It returns a
// fill to the first who asks it, and nothing if the flight brought nothing to share.
func (c *Conn) look(ctx context.Context, st *sqltext.Statement, v *ruling, key string, option CacheOption) (driver.Rows, *fill, error) {
	q := c.core.cache
	option = option.and(v.option)
	if e, ok := q.store.Get(key); ok && q.serves(e) && (option == 0 || option.allows(q.core.limiter.now()-e.Stored)) {
		q.counts.hits.add(c.shard, e, q.core.limiter)
		return c.replay(st, e.Rows), nil, nil
	}
	captured := q.core.limiter.now()
	snapshot, ok := v.reads.Capture()
	if !ok {
		return nil, nil, nil
	}
	flight, leads := q.flights.Join(ctx, option.flight(key, captured), &snapshot, q.core.limiter.urgency(ctx))
	if leads {
		return nil, &fill{ruling: v, key: key, snapshot: snapshot, captured: captured, flight: flight}, nil
	}
	rows, err := flight.Wait(ctx)
	if ctx.Err() != nil && err != nil {
		c.core.metrics.answered(outcomeOf(ctx.Err()))
		return nil, nil, &cancelledError{ctxErr: ctx.Err(), pgErr: ctx.Err()}
	}
	if rows == nil {
		return nil, nil, nil
	}
	q.counts.shared.Add(1)
	c.core.metrics.answered(outcomeOK)
	return c.replay(st, rows), nil, nil
}

// replay gives a result that is in memory to the caller.
func (c *Conn) replay(st *sqltext.Statement, rows cache.Rows) driver.Rows {
	set := rows.(*rowset.Set) //nolint:errcheck,forcetypeassert // nothing else is stored
	c.core.top.hit(c.shard, st)
	return set.Rows(&c.core.cache.maps)
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
