// Package demo gives an example a database, so that it runs with nothing set up.
package demo

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Main runs an example on a new database, of a PostgreSQL that package pgtest finds or
// starts, and ends the program. In your service the DSN comes from its configuration.
func Main(run func(ctx context.Context, dsn string) error) {
	log.SetFlags(0)
	if err := onDatabase(run); err != nil {
		log.Fatal(err)
	}
}

func onDatabase(run func(ctx context.Context, dsn string) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	dsn, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, drop(bounded))
	}()
	return run(ctx, dsn)
}
