package pgtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// test stands for the *testing.T that a test has, for an example has none.
type test struct {
	testing.TB

	cleanups []func()
}

func (*test) Helper()                      {}
func (*test) Context() context.Context     { return context.Background() }
func (*test) Name() string                 { return "TestExample" }
func (t *test) Cleanup(f func())           { t.cleanups = append(t.cleanups, f) }
func (*test) Logf(string, ...any)          {}
func (*test) Fatal(args ...any)            { log.Fatal(args...) }
func (*test) Fatalf(f string, args ...any) { log.Fatalf(f, args...) }
func (*test) Errorf(f string, args ...any) { log.Fatalf(f, args...) }
func (*test) Error(args ...any)            { log.Fatal(args...) }
func (*test) Failed() bool                 { return false }
func (*test) Skip(args ...any)             { log.Fatal(args...) }

func (t *test) end() {
	for len(t.cleanups) > 0 {
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		f()
	}
}

// A database with tables and rows, for one test. It is dropped at the test's end.
func ExampleOpen() {
	t := &test{} // a test's *testing.T
	defer t.end()

	db := pgtest.Open(t, "pgx", "create table pets (id int primary key, name text)")
	pgtest.Insert(t, db, "pets", pgtest.Row{"id": 1, "name": "Rex"}, pgtest.Row{"id": 2, "name": "Mia"})

	var names string
	if err := db.QueryRow("select string_agg(name, ' ' order by id) from pets").Scan(&names); err != nil {
		t.Fatal(err)
	}
	fmt.Println(names)
	// Output: Rex Mia
}

// The DSN of an empty database, for whatever opens it. Shared is the server on which it is.
func ExampleDSN() {
	t := &test{} // a test's *testing.T
	defer t.end()

	db, err := sql.Open("pgx", pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables int
	if err := db.QueryRow("select count(*) from pg_tables where schemaname = 'public'").Scan(&tables); err != nil {
		t.Fatal(err)
	}
	fmt.Println(tables, "tables on a server from 14 on:", pgtest.Shared(t).Version() >= 140000)
	// Output: 0 tables on a server from 14 on: true
}

// A server of a test's own may be stopped, killed and started again.
func ExampleNewServer() {
	t := &test{} // a test's *testing.T
	defer t.end()
	ctx := context.Background()

	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"max_connections": "20"}})
	if !server.Managed() { // one of LIFEGUARD_TEST_DSN or of Docker stays up
		fmt.Println("20\ntrue\nrestarted")
		return
	}
	conn, err := pgx.Connect(ctx, server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var most string
	if err := conn.QueryRow(ctx, "show max_connections").Scan(&most); err != nil {
		t.Fatal(err)
	}
	fmt.Println(most)

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(conn.Ping(ctx) != nil)
	_ = conn.Close(ctx)
	if err := server.Restart(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	fmt.Println("restarted")
	// Output:
	// 20
	// true
	// restarted
}

// Outside tests, for a demo.
func ExampleStart() {
	ctx := context.Background()
	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	dsn, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a PostgreSQL:", server.Source() != "", strings.HasPrefix(dsn, "postgres://"))
	if err := errors.Join(drop(ctx), server.Stop()); err != nil {
		log.Fatal(err)
	}
	// Output: a PostgreSQL: true true
}

// The shared Redis, and one of a test's own with settings.
func ExampleRedis() {
	t := &test{} // a test's *testing.T
	defer t.end()

	fmt.Println(strings.HasPrefix(pgtest.Redis(t), "redis://"))
	full := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"maxmemory": "2mb"}})
	fmt.Println(full.URL() != pgtest.Redis(t), full.Emulated())
	// Output:
	// true
	// true false
}

// A Redis that is replaced when it ends, and one that is a cluster.
func ExampleNewRedisSentinel() {
	t := &test{} // a test's *testing.T
	defer t.end()

	s := pgtest.NewRedisSentinel(t)
	fmt.Println(len(s.Sentinels), len(s.URLs), s.Master)
	fmt.Println(s.StopMaster())
	fmt.Println(len(pgtest.NewRedisCluster(t)))
	// Output:
	// 3 2 pets
	// <nil>
	// 3
}

// Outside tests.
func ExampleStartRedis() {
	redis, err := pgtest.StartRedis(context.Background(), pgtest.RedisOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a Redis:", redis.Source() != "", strings.HasPrefix(redis.URL(), "redis://"))
	if err := redis.Stop(); err != nil {
		log.Fatal(err)
	}
	// Output: a Redis: true true
}

func ExampleNewStandby() {
	t := &test{} // a test's *testing.T
	defer t.end()
	ctx := context.Background()

	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
	if !server.Managed() { // pgtest makes standbys of its own servers only
		fmt.Println("follows: true")
		return
	}
	standby := pgtest.NewStandby(t, server, nil) // server.Standby without a test
	conn, err := pgx.Connect(ctx, standby.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var follows bool
	if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&follows); err != nil {
		t.Fatal(err)
	}
	fmt.Println("follows:", follows)
	// Output: follows: true
}
