package oteltest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// cacheAnswers keeps what samplers are told of the cache.
type cacheAnswers struct{ outcomes []string }

func (*cacheAnswers) Description() string { return "cacheAnswers" }

func (a *cacheAnswers) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	for _, attr := range p.Attributes {
		if attr.Key == "lifeguard.cache.outcome" {
			a.outcomes = append(a.outcomes, attr.Value.AsString())
		}
	}
	return sdk.AlwaysSample().ShouldSample(p)
}

// What the cache said is known before a statement is sent, so that samplers see it; and
// what memory answers is not sent.
//
//nolint:paralleltest // leases that are older than the first cache of a process keep it waiting
func TestSpansSayWhatTheCacheSaid(t *testing.T) {
	receiver := newReceiver(t)
	sampler := &cacheAnswers{}
	sampled := receiver.provider(t, sdk.WithSampler(sampler))
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider, c.Cache = sampled, lifeguard.CacheLocal })
	db := open(t, cfg)
	ctx := t.Context()
	for _, query := range []string{"create table orders (id int primary key)", "insert into orders values (1), (2)"} { // several in one text are fenced off for longer
		if _, err := db.ExecContext(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		rows, err := db.QueryContext(ctx, "select id from orders")
		drain(t, rows, err)
	}
	if _, err := db.ExecContext(ctx, "delete from orders where id = 2"); err != nil {
		t.Fatal(err)
	}
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	st := connector.Stats().Cache
	if st.Hits != 5 || st.Misses != 1 {
		t.Fatalf("%d hits and %d misses, not 5 and 1", st.Hits, st.Misses)
	}
	var said []string
	for _, s := range receiver.named(t, sampled, "SELECT orders") {
		attrs := values(s.GetAttributes())
		said = append(said, fmt.Sprint(attrs["lifeguard.cache.outcome"], " ", attrs["lifeguard.cache.reason"]))
	}
	if want := []string{"bypass new", "bypass new", "miss <nil>"}; !slices.Equal(said, want) {
		t.Errorf("spans say %q, not %q: a hit has none", said, want)
	}
	if want := []string{"bypass", "bypass", "miss"}; !slices.Equal(sampler.outcomes, want) {
		t.Errorf("the sampler saw %q, not %q", sampler.outcomes, want)
	}
	if attrs := values(receiver.one(t, sampled, "DELETE orders").GetAttributes()); attrs["lifeguard.cache.outcome"] != nil {
		t.Errorf("the cache was not asked about a write: %v", attrs)
	}
}

// What Redis answers, the database does not do; but it takes the caller's time.
//
//nolint:paralleltest // leases that are older than the first cache of a process keep it waiting
func TestALookUpInRedisIsAnEventOfTheCaller(t *testing.T) {
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	redis := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.Cache, c.Redis = provider, lifeguard.CacheLocal, redis.URL()
	})
	db := open(t, cfg)
	mustExec(t, db, "create table orders (id int primary key)")
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	asked := func() (n uint64) {
		for _, count := range connector.Stats().Cache.Redis.Lookups {
			n += count
		}
		return n
	}
	for begun := time.Now(); asked() == 0; {
		rows, err := db.QueryContext(ctx, "select id from orders where id = 42")
		drain(t, rows, err)
		if time.Since(begun) > time.Minute {
			t.Fatal("Redis was not asked in a minute")
		}
	}
	parent.End()
	events := receiver.one(t, provider, "request").GetEvents()
	if len(events) != 1 || events[0].GetName() != "lifeguard.redis" {
		t.Fatalf("the caller's span has the events %v", events)
	}
	attrs := values(events[0].GetAttributes())
	if took, _ := attrs["lifeguard.redis.seconds"].(float64); took <= 0 || took > 60 {
		t.Errorf("it took %v s", attrs["lifeguard.redis.seconds"])
	}
	if attrs["lifeguard.redis.result"] == nil || attrs["db.query.summary"] != "SELECT orders" {
		t.Errorf("the event says %v", attrs)
	}
}
