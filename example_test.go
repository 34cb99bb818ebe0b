package lifeguard_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// startPostgres gives an example a server, and the DSN of a database on it, with settings
// such as pool_max_conns=4. A program has a DSN.
func startPostgres(settings ...string) (dsn string, stop func()) {
	server, err := pgtest.Start(context.Background(), pgtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	dsn, drop, err := server.CreateDatabase(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return withSettings(dsn, settings...), func() {
		if err := errors.Join(drop(context.Background()), server.Stop()); err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	dsn, stop := startPostgres() // "postgres://user@host/database"
	defer stop()

	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var answer int
	if err := db.QueryRow("select 6 * $1::int", 7).Scan(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
	// Output: 42
}

// The cache answers a query from memory if its result depends on tables and arguments
// alone. ExplainCache says whether it does, or what stands against it.
func Example_queryCache() {
	dsn, stop := startPostgres("lifeguard_cache=local")
	defer stop()
	ctx := context.Background()
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "create table pets (id int primary key, name text)"); err != nil {
		log.Fatal(err)
	}
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		log.Fatal(err)
	}

	for _, query := range []string{
		"select name from pets where id = $1",
		"select name from pets order by random() limit 1",
	} {
		x, err := connector.ExplainCache(ctx, query)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("kept: %v %q %q\n", x.Cacheable, x.Reason, x.Culprit)
	}
	// Output:
	// kept: true "" ""
	// kept: false "function" "random"
}

// Open is sql.Open that reports a bad DSN at once.
func ExampleOpen() {
	_, err := lifeguard.Open("postgres://user@host/database?lifeguard_queue=many")
	fmt.Println(err)
	// Output: lifeguard: lifeguard_queue must be an integer of 0 or more, not "many"
}

// A password that changes is fetched for each new connection.
func ExampleNewConnector() {
	dsn, stop := startPostgres()
	defer stop()
	tokenOf := func(context.Context, string) (string, error) { return "fresh", nil }

	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		log.Fatal(err)
	}
	cfg.MaxConns = 4
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) (err error) {
		c.Password, err = tokenOf(ctx, c.User)
		return err
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	fmt.Println(db.Ping(), connector.Stats().Pool.Max)
	// Output: <nil> 4
}

// A connector of pgx/stdlib keeps its options and hooks.
func ExampleWrapConnector() {
	dsn, stop := startPostgres()
	defer stop()

	pgxConfig, err := pgx.ParseConfig(dsn)
	if err != nil {
		log.Fatal(err)
	}
	inner := stdlib.GetConnector(*pgxConfig, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set time zone 'Europe/Lisbon'")
		return err
	}))
	connector, err := lifeguard.WrapConnector(inner, lifeguard.Config{MaxConns: 4})
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	var zone string
	if err := db.QueryRow("show time zone").Scan(&zone); err != nil {
		log.Fatal(err)
	}
	fmt.Println(zone)
	// Output: Europe/Lisbon
}

// The way from any *sql.DB on the driver to its numbers.
func ExampleFromDB() {
	dsn, stop := startPostgres("pool_max_conns=4")
	defer stop()
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var goroutines sync.WaitGroup
	for range 100 {
		goroutines.Go(func() {
			if _, err := db.Exec("select pg_sleep(0.005)"); err != nil {
				log.Print(err)
			}
		})
	}
	goroutines.Wait()

	connector, err := lifeguard.FromDB(db)
	if err != nil {
		log.Fatal(err)
	}
	st := connector.Stats()
	fmt.Printf("%d connections for 100 goroutines, %d queued\n", st.Pool.Opened, st.Limiter.Queued)
	// Output: 4 connections for 100 goroutines, 0 queued
}

// What only pgx can do, here COPY, is done through sql.Conn.Raw.
func ExamplePgxConn() {
	dsn, stop := startPostgres()
	defer stop()
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(driverConn any) error {
		pgxConn, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		if _, err := pgxConn.Exec(ctx, "create temp table pets (name text, legs int)"); err != nil {
			return err
		}
		n, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"pets"}, []string{"name", "legs"},
			pgx.CopyFromRows([][]any{{"Rex", 4}, {"Polly", 2}}))
		fmt.Println(n, "rows")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: 2 rows
}

// What matters waits in front of what does not.
func ExampleWithPriority() {
	dsn, stop := startPostgres()
	defer stop()
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	checkout := lifeguard.WithPriority(context.Background(), lifeguard.Critical)
	report := lifeguard.WithPriority(context.Background(), lifeguard.Bulk)
	for _, ctx := range []context.Context{checkout, report} {
		if _, err := db.ExecContext(ctx, "select 1"); err != nil {
			log.Fatal(err)
		}
	}

	connector, err := lifeguard.FromDB(db)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range connector.Stats().Limiter.Priorities {
		fmt.Println(p.Priority, p.Admitted)
	}
	// Output:
	// critical 1
	// high 0
	// normal 0
	// low 0
	// bulk 1
}

// Tenants that wait are admitted in turns, so a loud one does not drown the others.
func ExampleWithTenant() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		ctx := lifeguard.WithTenant(r.Context(), r.Header.Get("X-Tenant"))
		_ = ctx // db.QueryContext(ctx, …)
		w.WriteHeader(http.StatusNoContent)
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	fmt.Println(w.Code)
	// Output: 204
}

// In tests, lifeguard_nested=refuse finds requests that hold one connection and ask
// for another, which can block any pool for ever.
func ExampleScope() {
	dsn, stop := startPostgres("lifeguard_nested=refuse")
	defer stop()
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := lifeguard.Scope(context.Background()) // an HTTP middleware is the place for it
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()

	_, err = db.ExecContext(ctx, "select 1") // forgot to use tx
	fmt.Println(errors.Is(err, lifeguard.ErrNestedAcquire))
	// Output: true
}

// An overloaded service says so at once, and when to come back.
func ExampleOverloadError() {
	fail := func(w http.ResponseWriter, err error) {
		var overload *lifeguard.OverloadError
		if errors.As(err, &overload) {
			seconds := max(1, int(math.Ceil(overload.RetryAfter.Seconds())))
			w.Header().Set("Retry-After", strconv.Itoa(seconds))
			http.Error(w, "overloaded, please try again later", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "internal error", http.StatusInternalServerError)
	}

	refusal := &lifeguard.OverloadError{Reason: lifeguard.ReasonQueueFull, Limit: 8, Queued: 800, RetryAfter: 1700 * time.Millisecond}
	w := httptest.NewRecorder()
	fail(w, fmt.Errorf("list orders: %w", refusal))
	fmt.Print(w.Code, " ", http.StatusText(w.Code), ", Retry-After: ", w.Header().Get("Retry-After"), "\n")
	// Output: 503 Service Unavailable, Retry-After: 2
}

// In a gRPC server the code is codes.ResourceExhausted, whose number is 8, and the delay
// goes into an errdetails.RetryInfo:
//
//	st, _ := status.New(codes.ResourceExhausted, overload.Error()).
//		WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(overload.RetryAfter)})
//	return st.Err()
//
// examples/grpc has the whole interceptor, in a service.
func ExampleOverloadError_grpc() {
	const ok, internal, resourceExhausted = 0, 13, 8 // google.golang.org/grpc/codes
	codeOf := func(err error) (code uint32, retryDelay time.Duration) {
		var overload *lifeguard.OverloadError
		switch {
		case err == nil:
			return ok, 0
		case errors.As(err, &overload):
			return resourceExhausted, overload.RetryAfter
		}
		return internal, 0
	}

	fmt.Println(codeOf(&lifeguard.OverloadError{Reason: lifeguard.ReasonDeadline, RetryAfter: 40 * time.Millisecond}))
	fmt.Println(codeOf(errors.New("another")))
	// Output:
	// 8 40ms
	// 13 0s
}

// Every setting, with its key in a DSN, its environment variable and its default.
func ExampleSettings() {
	for _, s := range lifeguard.Settings()[:1] {
		fmt.Println(s.Key, s.Env, cmp.Or(s.Default, "-"))
	}
	// Output: pool_max_conns LIFEGUARD_POOL_MAX_CONNS 10
}
