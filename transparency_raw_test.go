package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// raw calls do with the pgx connection of conn.
func raw(t testing.TB, conn *sql.Conn, do func(*pgx.Conn) error) {
	t.Helper()
	err := conn.Raw(func(driverConn any) error {
		pgxConn, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		return do(pgxConn)
	})
	if err != nil {
		t.Error(err)
	}
}

func openConfig(t testing.TB, cfg lifeguard.Config) *sql.DB {
	t.Helper()
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func parse(t testing.TB, dsn string) lifeguard.Config {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRawKeepsItsConnectionUntilTheConnIsClosed(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=2", mode)
			conn := mustConn(t, db)
			var first *pgx.Conn
			raw(t, conn, func(c *pgx.Conn) error { // also as the very first operation
				first = c
				_, err := c.Exec(t.Context(), "set application_name = 'raw'")
				return err
			})
			var name string
			if err := conn.QueryRowContext(t.Context(), "show application_name").Scan(&name); err != nil || name != "raw" {
				t.Errorf("%q, %v", name, err)
			}
			if err := db.QueryRowContext(t.Context(), "show application_name").Scan(&name); err != nil || name == "raw" {
				t.Errorf("another caller has the connection: %q, %v", name, err)
			}
			raw(t, conn, func(c *pgx.Conn) error {
				if c != first {
					t.Error("another connection")
				}
				return nil
			})
			err := conn.Raw(func(driverConn any) error {
				c, ok := driverConn.(interface{ Conn() *pgx.Conn })
				if !ok || c.Conn() != first {
					t.Error("Conn() of the driver's connection is not the pgx connection")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			failure := errors.New("from Raw")
			if err := conn.Raw(func(any) error { return failure }); !errors.Is(err, failure) {
				t.Errorf("Raw returns %v", err)
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("a panic in Raw is lost")
					}
				}()
				_ = conn.Raw(func(any) error { panic("in Raw") })
			}()
			mustClose2(t, conn)
			for range 5 {
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// mustClose2 closes what a panic may have closed already.
func mustClose2(t testing.TB, conn *sql.Conn) {
	t.Helper()
	if err := conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		t.Error(err)
	}
}

func TestWhatRawLeavesBehindIsNotHandedOn(t *testing.T) {
	for name, leave := range map[string]func(*pgx.Conn) error{
		"a closed connection": func(c *pgx.Conn) error { return c.Close(context.Background()) },
		"an open transaction": func(c *pgx.Conn) error { _, err := c.Begin(context.Background()); return err },
		"an open result": func(c *pgx.Conn) error {
			_, err := c.Query(context.Background(), "select generate_series(1, 100000)") //nolint:sqlclosecheck // the point
			return err
		},
		"an open copy": func(c *pgx.Conn) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := c.PgConn().CopyTo(ctx, io.Discard, "copy (select generate_series(1, 1000000)) to stdout")
			if err == nil {
				return errors.New("the copy went through")
			}
			return nil
		},
	} {
		for _, mode := range bothModes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				db, out := openDSN(t, withSettings(dsn, "pool_max_conns=1", mode)), observer(t, dsn)
				conn := mustConn(t, db)
				raw(t, conn, leave)
				mustClose(t, conn)
				for range 3 {
					if err := db.PingContext(t.Context()); err != nil {
						t.Error(err)
					}
					var at int
					if err := db.QueryRow("select $1::int", 5).Scan(&at); err != nil || at != 5 {
						t.Error(at, err)
					}
				}
				eventually(t, "one backend is left", func() bool { return backends(t, out) == 1 })
			})
		}
	}
}

func TestListenAndNotifyWorkThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=2")
	conn := mustConn(t, db)
	mustExec(t, conn, "listen news")
	mustExec(t, db, "select pg_notify('news', $1)", "first")
	raw(t, conn, func(c *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := c.WaitForNotification(ctx)
		if err != nil || n.Payload != "first" {
			return fmt.Errorf("heard %v, %w", n, err)
		}
		return nil
	})
	tx := mustBegin(t, db)
	mustExec(t, tx, "notify news, 'second'")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "select 1") // receives it on the way
	raw(t, conn, func(c *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := c.WaitForNotification(ctx)
		if err != nil || n.Payload != "second" {
			return fmt.Errorf("heard %v, %w", n, err)
		}
		return nil
	})
}

func TestNoticesAndNotificationsReachTheHandlersOfConnConfig(t *testing.T) {
	cfg := parse(t, pgtest.DSN(t))
	var mu sync.Mutex
	var heard []string
	hear := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, s)
	}
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { hear("notice " + n.Message) }
	cfg.ConnConfig.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { hear("notification " + n.Payload) }
	db := openConfig(t, cfg)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "do $$ begin raise notice 'hello'; end $$")
	mustExec(t, db, "listen news")
	mustExec(t, db, "notify news, 'now'")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(heard, []string{"notice hello", "notification now"}) {
		t.Errorf("heard %q", heard)
	}
}

func TestCopyWorksThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	mustExec(t, db, "create table copied (n int, t text)")
	conn := mustConn(t, db)
	raw(t, conn, func(c *pgx.Conn) error {
		n, err := c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n", "t"}, pgx.CopyFromSlice(1000, func(i int) ([]any, error) {
			return []any{i, fmt.Sprint("row ", i)}, nil
		}))
		if err != nil || n != 1000 {
			return fmt.Errorf("copied %d: %w", n, err)
		}
		var out bytes.Buffer
		if _, err := c.PgConn().CopyTo(t.Context(), &out, "copy (select * from copied where n < 3 order by n) to stdout"); err != nil {
			return err
		}
		if out.String() != "0\trow 0\n1\trow 1\n2\trow 2\n" {
			return fmt.Errorf("copied out %q", out.String())
		}
		return nil
	})
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, conn, func(c *pgx.Conn) error { // a copy inside the transaction of database/sql
		_, err := c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromRows([][]any{{5000}}))
		return err
	})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRowContext(t.Context(), "select count(*) from copied").Scan(&n); err != nil || n != 1000 {
		t.Errorf("%d rows, %v", n, err)
	}
	// a copy that fails leaves the connection usable
	err = conn.Raw(func(driverConn any) error {
		c, err := lifeguard.PgxConn(driverConn)
		if err != nil {
			return err
		}
		_, err = c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {"not a number"}}))
		return err
	})
	if err == nil {
		t.Error("a bad copy went through")
	}
	mustExec(t, conn, "select 1")
}

func TestLargeObjectsWorkThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	raw(t, mustConn(t, db), func(c *pgx.Conn) error {
		tx, err := c.Begin(t.Context())
		if err != nil {
			return err
		}
		defer tx.Rollback(context.Background()) //nolint:errcheck // committed
		objects := tx.LargeObjects()
		oid, err := objects.Create(t.Context(), 0)
		if err != nil {
			return err
		}
		object, err := objects.Open(t.Context(), oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		if _, err := object.Write(bytes.Repeat([]byte("large"), 20000)); err != nil {
			return err
		}
		if _, err := object.Seek(0, io.SeekStart); err != nil {
			return err
		}
		content, err := io.ReadAll(object)
		if err != nil || len(content) != 100000 {
			return fmt.Errorf("read %d bytes: %w", len(content), err)
		}
		return tx.Commit(t.Context())
	})
}

func TestABatchWorksThroughRaw(t *testing.T) {
	db := open(t, "pool_max_conns=2")
	raw(t, mustConn(t, db), func(c *pgx.Conn) error {
		var b pgx.Batch
		b.Queue("select 1")
		b.Queue("select $1::text", "x")
		results := c.SendBatch(t.Context(), &b)
		var n int
		var s string
		return errors.Join(results.QueryRow().Scan(&n), results.QueryRow().Scan(&s), results.Close())
	})
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}
