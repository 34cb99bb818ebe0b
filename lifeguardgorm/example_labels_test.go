package lifeguardgorm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"gorm.io/gorm"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type Cat struct {
	ID   int
	Name string
}

// watcher is a provider of spans that shows each beginning.
type watcher struct {
	noop.TracerProvider

	begins func(ctx context.Context, name string)
}

type watching struct {
	noop.Tracer

	w *watcher
}

func (w *watcher) Tracer(string, ...trace.TracerOption) trace.Tracer { return watching{w: w} }

func (t watching) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.w.begins(ctx, name)
	return t.Tracer.Start(ctx, name, options...)
}

// New takes what a DSN cannot say. A provider of spans, or anything else that has a
// statement's context, learns from Model which one it is about; TracerProvider puts it on spans.
func ExampleNew() {
	ctx := context.Background()
	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	dsn, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}

	spans := &watcher{begins: func(ctx context.Context, name string) {
		if model := lifeguardgorm.Model(ctx); model != "" {
			fmt.Println(name, "is about", model)
		}
	}}
	db, err := gorm.Open(lifeguardgorm.New(lifeguardgorm.Config{DSN: dsn, Configure: func(cfg *lifeguard.Config) error {
		cfg.TracerProvider = lifeguardgorm.TracerProvider(spans)
		return nil
	}}))
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(db.AutoMigrate(&Cat{}), db.Use(lifeguardgorm.Labels{})); err != nil {
		log.Fatal(err)
	}
	var cats []Cat
	if err := db.Find(&cats).Error; err != nil {
		log.Fatal(err)
	}

	pool, err := db.DB()
	if err := errors.Join(err, pool.Close(), drop(ctx), server.Stop()); err != nil {
		log.Fatal(err)
	}
	// Output: SELECT cats is about Cat
}
