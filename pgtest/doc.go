// Package pgtest gives tests a real PostgreSQL, and a real Redis, with nothing
// to configure and nothing left behind.
//
// It knows nothing about Lifeguard's driver, so it serves the tests of any
// program. A database for a test:
//
//	func TestTransfer(t *testing.T) {
//		db, err := sql.Open("lifeguard", pgtest.DSN(t))
//		if err != nil {
//			t.Fatal(err)
//		}
//		defer db.Close()
//		// … an empty database of this test's own, dropped at its end
//	}
//
// [Open] does that in one line, with tables, and [Insert] puts rows into them:
//
//	db := pgtest.Open(t, "lifeguard", "create table pets (id int primary key, name text)")
//	pgtest.Insert(t, db, "pets", pgtest.Row{"id": 1, "name": "Rex"})
//
// With migrations, run once for all tests of the package, whose databases are
// copies of the result:
//
//	func TestMain(m *testing.M) {
//		os.Exit(pgtest.Main(m, pgtest.Options{
//			Settings: map[string]string{"wal_level": "logical"},
//			Template: func(ctx context.Context, dsn string) error { return migrate(ctx, dsn) },
//		}))
//	}
//
// A test that stops or kills its server takes one of its own with [NewServer];
// a test that needs a Redis calls [Redis],
// [NewRedisSentinel] or [NewRedisCluster]. Outside tests there are [Start] and
// [StartRedis].
//
// # What is found
//
// PostgreSQL is looked for in this order, and the first that is there is used:
//
//  1. the server of LIFEGUARD_TEST_DSN, a URL or a list of keyword=value. Each
//     test has a database of its own there, so its user needs CREATEDB. A test
//     that is killed leaves its databases, named pgtest_…, on that server.
//  2. the binaries in the folder LIFEGUARD_PG_BIN, a wrong value of which is an
//     error; on PATH; or in the folders that Debian, Fedora, Homebrew,
//     Postgres.app, the Windows installer and others use, the newest release
//     first. The server need not run and should not: pgtest starts its own, on
//     a free port of 127.0.0.1. Run by root, it becomes the user postgres, else
//     nobody.
//  3. a Docker engine that answers, by way of testcontainers-go.
//
// Without any, a test is skipped with one line that says what to install. It
// fails instead when CI is set or LIFEGUARD_REQUIRE_PG is 1, and it always fails
// when there is a PostgreSQL that does not start.
//
// # What it costs
//
// The first start on a machine runs initdb, about a second; its result is kept
// (see [Options.CacheDir]), and a later start takes a tenth to half a second. A
// database takes about 20 ms in memory, 60 ms or more on a disk.
//
// # What is left
//
// Nothing but that cache. Each server has a supervising child process, which
// ends it and removes its folder when the process that started it is gone: after
// Stop, os.Exit, a panic, Ctrl-C, or kill -9. On Windows this is a best effort.
//
// # What it is not
//
// A server for data that matter. It trusts everybody who can connect to the
// loopback, as the superuser postgres, and by default it does without fsync.
//
// # Containers and miniredis
//
// testcontainers-go and miniredis need a hundred modules, which are kept out of
// the go.sum of who imports pgtest: they live in the nested module
// pgtest/container, whose programs pgtest runs from source, with go run. It is
// found in a checkout of Lifeguard, or in a module that requires it:
//
//	go get -tool github.com/lifeguard-go/lifeguard/pgtest/container
//
// miniredis is an imitation of Redis, the last resort of [StartRedis]. It cannot
// do CLIENT TRACKING, and has no limit of memory; [RedisServer.Emulated] tells.
package pgtest
