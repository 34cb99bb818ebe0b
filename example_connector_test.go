package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// pooled opens a database, and what is behind it.
func pooled(dsn string) (*sql.DB, *lifeguard.Connector) {
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		log.Fatal(err)
	}
	return db, connector
}

// A debug handler shows who holds connections, and doing what.
func ExampleConnector_Slots() {
	dsn, stop := startPostgres()
	defer stop()
	db, connector := pooled(dsn)
	defer db.Close()

	tx, err := db.Begin()
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("select 1"); err != nil {
		log.Fatal(err)
	}
	for _, slot := range connector.Slots() { // the transaction's, while it waits for the application
		fmt.Println(slot.State, slot.Tx, slot.Priority, slot.SQL)
	}
	// Output: idle_in_tx true normal SELECT
}

// The limit may be changed while there is traffic, within pool_max_conns.
func ExampleConnector_SetLimit() {
	dsn, stop := startPostgres("pool_max_conns=10")
	defer stop()
	db, connector := pooled(dsn)
	defer db.Close()

	if err := connector.SetLimit(4); err != nil {
		log.Fatal(err)
	}
	fmt.Println(connector.Stats().Limiter.Limit, "of", connector.Config().MaxConns)
	fmt.Println(connector.SetLimit(11) != nil)
	// Output:
	// 4 of 10
	// true
}

// What the server is busy with, by this process.
func ExampleConnector_TopQueries() {
	dsn, stop := startPostgres()
	defer stop()
	db, connector := pooled(dsn)
	defer db.Close()

	for i := range 3 {
		if _, err := db.Exec(fmt.Sprintf("select generate_series(1, %d)", 1000*(i+1))); err != nil {
			log.Fatal(err)
		}
	}
	for _, q := range connector.TopQueries(1) {
		fmt.Printf("%s: %d calls, %d rows, known times %v\n", q.Query, q.Calls, q.Rows, q.P99 > 0)
	}
	// Output: select generate_series(?, ?): 3 calls, 6000 rows, known times true
}

// Why results of a statement are kept, or not.
func ExampleConnector_ExplainCache() {
	dsn, stop := startPostgres("lifeguard_cache=local")
	defer stop()
	db, connector := pooled(dsn)
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "create table pets (id int primary key, name text)"); err != nil {
		log.Fatal(err)
	}

	for _, query := range []string{"select name from pets where id = $1", "select random()", "update pets set name = 'Rex'"} {
		x, err := connector.ExplainCache(ctx, query)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(x.Cacheable, x.Reason, x.Reads, x.Writes)
	}
	// Output:
	// true  [{pets 0 false}] []
	// false function [] []
	// false not_a_read [] [pets]
}

// Done serves in a select.
func ExampleFuture_Done() {
	dsn, stop := startPostgres()
	defer stop()
	db, _ := pooled(dsn)
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	future := lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) (n int, err error) {
		err = q.QueryRowContext(ctx, "select 6 * 7").Scan(&n)
		return n, err
	})
	select {
	case <-future.Done():
		n, err := future.Wait(ctx) // at once
		fmt.Println(n, err)
	case <-ctx.Done():
		fmt.Println("given up")
	}
	// Output: 42 <nil>
}

// A producer that must not wait drops a row, or keeps it elsewhere, while there is no room.
func ExampleBatchInserter_TryAdd() {
	dsn, stop := startPostgres()
	defer stop()
	db, _ := pooled(dsn)
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "create table clicks (page text)"); err != nil {
		log.Fatal(err)
	}
	type click struct{ Page string }
	clicks, err := lifeguard.NewBatchInserter[click](db, "clicks", lifeguard.BatchConfig{})
	if err != nil {
		log.Fatal(err)
	}

	dropped := 0
	for range 100 {
		if err := clicks.TryAdd(ctx, click{"/pets"}); errors.Is(err, lifeguard.ErrBatchFull) {
			dropped++
		} else if err != nil {
			log.Fatal(err)
		}
	}
	if err := clicks.Flush(ctx); err != nil { // what was added is in the table now
		log.Fatal(err)
	}
	st := clicks.Stats()
	fmt.Println(st.Added, "added,", st.Written, "written,", dropped, "dropped")
	if _, err := clicks.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: 100 added, 100 written, 0 dropped
}

// Another program writes; what the cache holds of its table is then dropped by hand. A request
// that must not see anything old asks for no more than it can bear.
func ExampleConnector_InvalidateCache() {
	dsn, stop := startPostgres("lifeguard_cache=local")
	defer stop()
	db, connector := pooled(dsn)
	defer db.Close()
	other, err := sql.Open("pgx", strings.Split(dsn, "?")[0]+"?sslmode=disable") // knows nothing of the cache
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "create table pets (id int primary key, name text); insert into pets values (1, 'Rex')"); err != nil {
		log.Fatal(err)
	}
	read := func(ctx context.Context) (name string) {
		if err := db.QueryRowContext(ctx, "select name from pets where id = $1", 1).Scan(&name); err != nil {
			log.Fatal(err)
		}
		return name
	}
	for late := time.Now().Add(time.Minute); connector.Stats().Cache.Hits == 0 && time.Now().Before(late); { // a text that was seen often enough is kept
		read(ctx)
	}

	if _, err := other.ExecContext(ctx, "update pets set name = 'Max'"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(read(ctx), "from memory")
	fmt.Println(read(lifeguard.WithCache(ctx, lifeguard.MaxAge(0))), "for who insists")
	if err := connector.InvalidateCache("pets"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(read(ctx), "for everybody")
	// Output:
	// Rex from memory
	// Max for who insists
	// Max for everybody
}
