package oteltest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

//nolint:paralleltest // a cache in the process switches groups off
func TestAStatementThatSharedAConnectionHasASpanOfItsOwn(t *testing.T) {
	r := newReceiver(t)
	provider := r.provider(t, sdk.WithSampler(sdk.AlwaysSample()))
	db := open(t, config(t, pgtest.DSN(t), func(cfg *lifeguard.Config) {
		cfg.TracerProvider, cfg.MaxConns, cfg.Group = provider, 1, lifeguard.GroupOn
	}))
	mustExec(t, db, "create table shared (id int, n int)")
	mustExec(t, db, "insert into shared select i, i from generate_series(1, 20) i")
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.Tracer("test")
	asked := 0
	ask := func(ctx context.Context, i int) {
		ctx, span := tracer.Start(ctx, fmt.Sprintf("caller %d", i))
		defer span.End()
		rows, err := db.QueryContext(ctx, "select n from shared where id = $1", 3)
		drain(t, rows, err)
	}
	for limit := time.Now().Add(30 * time.Second); connector.Stats().Group.Riders == 0; {
		if time.Now().After(limit) {
			t.Fatal("no statement has shared a connection")
		}
		for range 6 {
			ask(t.Context(), asked)
			asked++
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		for range 5 {
			i := asked
			asked++
			done.Go(func() { ask(t.Context(), i) })
		}
		for connector.Stats().Limiter.Queued < 5 {
			runtime.Gosched()
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		done.Wait()
	}
	callers := make(map[string]bool)
	spans := r.named(t, provider, "SELECT shared")
	for _, s := range spans {
		callers[string(s.GetParentSpanId())] = true
		if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("a span ends before it begins")
		}
		if got := values(s.GetAttributes())["db.response.returned_rows"]; got != int64(1) {
			t.Errorf("%v rows", got)
		}
	}
	if len(spans) != asked || len(callers) != asked {
		t.Errorf("%d spans below %d callers of %d", len(spans), len(callers), asked)
	}
}
