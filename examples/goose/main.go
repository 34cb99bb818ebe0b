// Command goose migrates through Lifeguard, in two instances that start at the same time:
// an advisory lock lets one of them work.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

//go:embed migrations/*.sql
var embedded embed.FS

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	var applied [2]int
	var failures [2]error
	var all sync.WaitGroup
	for instance := range applied {
		all.Go(func() { applied[instance], failures[instance] = up(ctx, dsn) })
	}
	all.Wait()
	if err := errors.Join(failures[:]...); err != nil {
		return err
	}
	fmt.Println(applied[0]+applied[1], "migrations were applied by two instances")
	return nil
}

// up returns how many migrations this instance has applied. It needs two connections: one
// keeps the lock.
func up(ctx context.Context, dsn string) (int, error) {
	db, err := lifeguard.Open(dsn + "&pool_max_conns=2")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60)) // try each second, for a minute
	if err != nil {
		return 0, err
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return 0, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return 0, err
	}
	results, err := provider.Up(ctx)
	return len(results), err
}
