// Command cache works on a shop twice, without the query cache and with it, and counts what
// reaches PostgreSQL; then it shows that a write is seen at once, and asks why the results
// of a query are not kept.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

const (
	callers  = 8
	requests = 500 // of each caller
	products = 40
)

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	setup, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	defer setup.Close()
	if _, err := setup.ExecContext(ctx, `
		create table makers (id int primary key, name text not null);
		create table products (id int primary key, maker int not null references makers, name text not null, cents int not null);
		insert into makers select n, 'maker ' || n from generate_series(1, 5) n;
		insert into products select n, 1 + n % 5, 'product ' || n, 100 * n from generate_series(1, 40) n`); err != nil {
		return err
	}
	for _, mode := range []lifeguard.CacheMode{lifeguard.CacheOff, lifeguard.CacheLocal} {
		if err := work(ctx, dsn, mode, setup); err != nil {
			return err
		}
	}
	return look(ctx, dsn)
}

// work is the same in each mode: one request in five hundred changes a price, the others read.
func work(ctx context.Context, dsn string, mode lifeguard.CacheMode, server *sql.DB) error {
	before, err := transactions(ctx, server)
	if err != nil {
		return err
	}
	db, err := lifeguard.Open(dsn + "&application_name=shop&pool_max_conns=4&lifeguard_cache=" + string(mode))
	if err != nil {
		return err
	}
	defer db.Close()
	failures := make([]error, callers)
	var all sync.WaitGroup
	for i := range failures {
		all.Go(func() {
			for n := 0; n < requests && failures[i] == nil; n++ {
				id := 1 + rand.IntN(products)
				if n == 50*i {
					_, failures[i] = db.ExecContext(ctx, "update products set cents = cents + 1 where id = $1", id)
					continue
				}
				_, failures[i] = price(ctx, db, id)
			}
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		return err
	}
	st := connector.Stats().Cache
	if err := db.Close(); err != nil { // its backends report what they have done when they end
		return err
	}
	after, err := transactions(ctx, server)
	if err != nil {
		return err
	}
	fmt.Printf("lifeguard_cache=%s: %d requests became %d transactions of PostgreSQL's\n", mode, callers*requests, after-before)
	if st != nil {
		fmt.Printf("the cache answered %d%% of the reads\n", 100*(st.Hits+st.Shared)/(callers*requests))
	}
	return nil
}

func price(ctx context.Context, db *sql.DB, id int) (cents int, err error) {
	var product, maker string
	const query = "select p.name, m.name, p.cents from products p join makers m on m.id = p.maker where p.id = $1"
	err = db.QueryRowContext(ctx, query, id).Scan(&product, &maker, &cents)
	return cents, err
}

// transactions returns how many the server has counted in this database, once every backend
// of the shop is gone and nothing more is reported.
func transactions(ctx context.Context, server *sql.DB) (count int, err error) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for same := 0; same < 3; <-tick.C {
		var now, backends int
		err := server.QueryRowContext(ctx, `select xact_commit + xact_rollback, (select count(*) from pg_stat_activity
			where application_name = 'shop' and datname = current_database()) from pg_stat_database where datname = current_database()`).Scan(&now, &backends)
		if err != nil {
			return 0, err
		}
		if backends == 0 && now-count <= 2 { // this very question is counted, too
			same++
		} else {
			same = 0
		}
		count = now
	}
	return count, nil
}

// look shows what one may rely on, and where to ask.
func look(ctx context.Context, dsn string) error {
	db, err := lifeguard.Open(dsn + "&lifeguard_cache=local")
	if err != nil {
		return err
	}
	defer db.Close()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		return err
	}
	var before int
	for range 5 { // a text is analysed the second time, its result kept the third
		if before, err = price(ctx, db, 7); err != nil {
			return err
		}
	}
	if _, err := db.ExecContext(ctx, "update products set cents = cents + 1000 where id = 7"); err != nil {
		return err
	}
	after, err := price(ctx, db, 7)
	if err != nil {
		return err
	}
	fmt.Printf("%d hits, then a write, and it is seen at once: %v\n", connector.Stats().Cache.Hits, after == before+1000)

	for _, query := range []string{
		"select count(*) from products",
		"select name from products order by random() limit 1",
	} {
		x, err := connector.ExplainCache(ctx, query)
		if err != nil {
			return err
		}
		if x.Cacheable {
			fmt.Printf("%s: kept until its tables are written\n", query)
		} else {
			fmt.Printf("%s: not kept, because of %s %s\n", query, x.Reason, x.Culprit)
		}
	}
	return nil
}
