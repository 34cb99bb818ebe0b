package oteltest

import (
	"context"
	"database/sql"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// seenAtStart is a sampler that keeps the names of attributes that samplers can see, and
// keeps every trace.
type seenAtStart struct {
	mu   sync.Mutex // guards keys
	keys map[string]bool
}

func (s *seenAtStart) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range p.Attributes {
		s.keys[string(a.Key)] = true
	}
	return sdk.AlwaysSample().ShouldSample(p)
}
func (*seenAtStart) Description() string { return "seenAtStart" }

// documented returns the names of attributes that the page says are given then.
func documented(t *testing.T, when string) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| (.*) \| `+when+` \|`).FindAllStringSubmatch(string(page), -1) {
		for _, name := range regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(row[1], -1) {
			names[name[1]] = true
		}
	}
	if len(names) == 0 {
		t.Fatalf("the page lists nothing that is given %s", when)
	}
	return names
}

// A sampler decides when a span starts. What the page says it sees it has to see, and
// nothing else may be in a span but what the page says comes later.
func TestSamplersSeeWhatThePageSaysIsGivenAtTheStart(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	sampler := &seenAtStart{keys: map[string]bool{}}
	provider := receiver.provider(t, sdk.WithSampler(sampler))
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider, c.Cache = provider, lifeguard.CacheLocal })
	socket := strings.HasPrefix(cfg.ConnConfig.Host, "/")
	db := open(t, cfg)
	mustExec(t, db, "create table item (id bigint, name text)")
	rows, err := db.QueryContext(t.Context(), "select id from item")
	drain(t, rows, err)
	if _, err := db.ExecContext(t.Context(), "select 1/0"); err == nil {
		t.Fatal("no error")
	}
	st, err := db.PrepareContext(t.Context(), "select name from item")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := lifeguard.InsertMany(t.Context(), db, "item", slices.Values([]item{{1, "x"}}), lifeguard.BatchConfig{}); err != nil {
		t.Fatal(err)
	}

	atStart, atEnd := documented(t, "at the start"), documented(t, "at the end")
	if socket {
		delete(atStart, "server.port") // a socket has none
	}
	sampler.mu.Lock()
	defer sampler.mu.Unlock()
	for name := range atStart {
		if !sampler.keys[name] {
			t.Errorf("no sampler has seen %s", name)
		}
	}
	for name := range sampler.keys {
		if !atStart[name] {
			t.Errorf("samplers see %s, which the page does not say", name)
		}
	}
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	came := make(map[string]bool)
	for _, s := range receiver.spans {
		for name := range values(s.GetAttributes()) {
			came[name] = came[name] || !sampler.keys[name]
			if !atStart[name] && !atEnd[name] {
				t.Errorf("the span %q has %s, which the page does not know", s.GetName(), name)
			}
		}
	}
	for name := range atEnd {
		if !came[name] {
			t.Errorf("no span was given %s at its end", name)
		}
	}
}

// What database/sql has done between two checkouts, and what closes a statement, reaches
// the server, but is nobody's statement.
func TestWhatIsDoneBetweenStatementsHasNoSpan(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	var pings, resets atomic.Int32
	cfg := config(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.TracerProvider, c.MaxConns = provider, 1 })
	inner := stdlib.GetConnector(*cfg.ConnConfig,
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { pings.Add(1); return true }),
		stdlib.OptionResetSession(func(context.Context, *pgx.Conn) error { resets.Add(1); return nil }))
	cfg.ConnConfig = nil
	connector, err := lifeguard.WrapConnector(inner, cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	st, err := db.PrepareContext(ctx, "select 1") // one span
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.ExecContext(ctx); err != nil { // one
		t.Fatal(err)
	}
	if err := st.Close(); err != nil { //nolint:sqlclosecheck // deallocated at the next lease
		t.Fatal(err)
	}
	for range 3 { // three
		if _, err := db.ExecContext(ctx, "select 2"); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.PingContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	request.End()
	if pings.Load() < 4 || resets.Load() < 4 {
		t.Fatalf("%d pings and %d resets: this tests nothing", pings.Load(), resets.Load())
	}
	onlyThese(t, receiver, provider, map[string]int{"request": 1, "PREPARE SELECT": 1, "SELECT": 4})
}

// What Lifeguard asks the server for itself is not the application's either: who else is
// there, what the cache has to know of a text, how many connections there should be.
//
//nolint:paralleltest // leases that are older than the first cache of a process keep it waiting
func TestWhatLifeguardAsksForItselfHasNoSpan(t *testing.T) {
	receiver := newReceiver(t)
	provider := receiver.provider(t)
	db := open(t, config(t, pgtest.DSN(t), func(c *lifeguard.Config) {
		c.TracerProvider, c.Cache, c.FleetBudget, c.MinIdleConns = provider, lifeguard.CacheLocal, 8, 2
	}))
	mustExec(t, db, "create table orders (id int)")
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	statements := 0
	for deadline := time.Now().Add(time.Minute); ; {
		rows, err := db.QueryContext(t.Context(), "select id from orders")
		drain(t, rows, err)
		statements++
		st := connector.Stats()
		if st.Cache.Hits > 0 && st.Fleet.Looks > 0 && st.Pool.Idle >= 2 {
			statements -= int(st.Cache.Hits)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d hits, %d looks, %d idle connections: this tests nothing", st.Cache.Hits, st.Fleet.Looks, st.Pool.Idle)
		}
	}
	if x, err := connector.ExplainCache(t.Context(), "select max(id) from orders"); err != nil || !x.Cacheable {
		t.Fatalf("%+v, %v", x, err)
	}
	onlyThese(t, receiver, provider, map[string]int{"CREATE TABLE orders": 1, "SELECT orders": statements})
}

// onlyThese fails if other spans came in, or not so many of each name.
func onlyThese(t *testing.T, receiver *receiver, provider *sdk.TracerProvider, want map[string]int) {
	t.Helper()
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	have := make(map[string]int)
	for _, s := range receiver.spans {
		have[s.GetName()]++
	}
	for name, n := range have {
		if n != want[name] {
			t.Errorf("%d spans are named %q, not %d", n, name, want[name])
		}
	}
	for name, n := range want {
		if have[name] == 0 {
			t.Errorf("no span is named %q, and there should be %d", name, n)
		}
	}
}
