// Command redis has three pools share what they have read through Redis, as three processes of
// a service would: each reads the same products, two start later. Then a price is
// changed, and at last Redis is stopped.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const products = 40

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) (err error) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // in a service, read its lines
	redis, err := pgtest.StartRedis(ctx, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Stop()) }()
	dsn += "&pool_max_conns=2&lifeguard_cache=local&lifeguard_redis=" + redis.URL()

	began := time.Now()
	first, err := start(dsn, "process 1")
	if err != nil {
		return err
	}
	defer first.db.Close()
	if _, err := first.db.ExecContext(ctx, "create table products (id int primary key, cents int not null)"); err != nil {
		return err
	}
	if _, err := first.db.ExecContext(ctx, "insert into products select n, 100 * n from generate_series(1, 40) n"); err != nil {
		return err
	}
	if err := first.shares(ctx); err != nil {
		return err
	}
	fmt.Printf("an empty Redis confirms nothing before writers have had time to announce what they do: six seconds, or more: %v\n",
		time.Since(began) > 5*time.Second)
	if err := first.readsAll(ctx); err != nil {
		return err
	}
	second, err := start(dsn, "process 2")
	if err != nil {
		return err
	}
	defer second.db.Close()
	third, err := start(dsn, "process 3")
	if err != nil {
		return err
	}
	defer third.db.Close()
	for _, p := range []*process{second, third} {
		if err := p.readsAll(ctx); err != nil {
			return err
		}
	}

	if _, err := first.db.ExecContext(ctx, "update products set cents = 99 where id = 7"); err != nil {
		return err
	}
	cents, err := second.price(ctx, 7)
	if err != nil {
		return err
	}
	fmt.Printf("process 1 has changed a price, process 2 sees it at once: %v\n", cents == 99)

	return second.goesOnWithout(ctx, redis)
}

// process is what one would have of Lifeguard.
type process struct {
	name string
	db   *sql.DB
	of   *lifeguard.Connector
}

func start(dsn, name string) (*process, error) {
	db, err := lifeguard.Open(dsn)
	if err != nil {
		return nil, err
	}
	of, err := lifeguard.FromDB(db)
	return &process{name, db, of}, err
}

func (p *process) price(ctx context.Context, id int) (cents int, err error) {
	err = p.db.QueryRowContext(ctx, "select cents from products where id = $1", id).Scan(&cents)
	return cents, err
}

// shares returns when Redis has confirmed a result of this process.
func (p *process) shares(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.of.Stats().Cache.Redis.Lookups["same"] == 0 {
		if _, err := p.price(ctx, 1); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// readsAll reads every product, and says who has answered.
func (p *process) readsAll(ctx context.Context) error {
	before := p.of.Stats().Cache
	for id := 1; id <= products; id++ {
		if _, err := p.price(ctx, id); err != nil {
			return err
		}
	}
	after := p.of.Stats().Cache
	memory, redis := after.Hits-before.Hits, after.Redis.Hits-before.Redis.Hits
	fmt.Printf("%s reads %d products: %d are in its memory, Redis has %d, PostgreSQL is asked for %d\n",
		p.name, products, memory, redis, products-memory-redis)
	return nil
}

// goesOnWithout stops Redis, reads and writes.
func (p *process) goesOnWithout(ctx context.Context, redis *pgtest.RedisServer) error {
	if err := redis.Stop(); err != nil {
		return err
	}
	cents, err := p.price(ctx, 7)
	if err != nil {
		return err
	}
	fmt.Printf("Redis is stopped; PostgreSQL says: %d cents\n", cents)
	if _, err := p.db.ExecContext(ctx, "update products set cents = 98 where id = 7"); err != nil {
		return err
	}
	if cents, err = p.price(ctx, 7); err != nil {
		return err
	}
	fmt.Printf("a write goes on, once PostgreSQL has told the others: %d cents; this process is %q\n", cents, p.of.Stats().Cache.Redis.State)
	return nil
}
