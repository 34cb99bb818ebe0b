package lifeguard_test

import (
	"database/sql"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// overPgxpool opens Lifeguard over a pgxpool of two connections.
func overPgxpool(t testing.TB, mode lifeguard.Mode) (*sql.DB, *pgxpool.Pool) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), withSettings(pgtest.DSN(t), "pool_max_conns=2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	connector, err := lifeguard.WrapConnector(stdlib.GetPoolConnector(pool), lifeguard.Config{MaxConns: 2, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { mustCloseDB(t, db) })
	return db, pool
}

// It also pins the field of stdlib's connector by which Lifeguard knows a pgxpool: if
// that changes, connections stay acquired here.
func TestAPgxpoolHasItsConnectionsBackAfterEachLease(t *testing.T) {
	db, pool := overPgxpool(t, lifeguard.ModeCheckout)
	db.SetMaxIdleConns(8)
	backTo := func(n int32, when string) {
		t.Helper()
		eventually(t, "connections are back "+when, func() bool { return pool.Stat().AcquiredConns() == n })
	}
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	backTo(0, "after a ping")
	rows, err := db.Query("select generate_series(1, 3)") //nolint:rowserrcheck // none is read
	if err != nil {
		t.Fatal(err)
	}
	backTo(1, "but for the one with rows")
	tx := mustBegin(t, db)
	mustExec(t, tx, "create temp table scratch (n int)")
	backTo(2, "but for rows and transaction")
	mustClose(t, rows)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	backTo(0, "after both")
	conn := mustConn(t, db)
	mustExec(t, conn, "select pg_terminate_backend(pg_backend_pid()) where false")
	backTo(1, "but for a sql.Conn")
	mustClose(t, conn)
	backTo(0, "after the sql.Conn")

	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 20 {
				var n int
				if err := db.QueryRow("select $1::int", i).Scan(&n); err != nil || n != i {
					t.Error(n, err)
				}
			}
		})
	}
	for range 50 { // direct users of the pool get their turn
		var n int
		if err := pool.QueryRow(t.Context(), "select 1").Scan(&n); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	backTo(0, "after the load")
	mustCloseDB(t, db)
	if err := pool.Ping(t.Context()); err != nil {
		t.Errorf("closing the database closed the pgxpool: %v", err)
	}
}

func TestStatementsOverAPgxpoolLeaveNothingPrepared(t *testing.T) {
	db, pool := overPgxpool(t, lifeguard.ModeCheckout)
	for range 5 {
		st := mustPrepare(t, db, "select $1::int + 5")
		var n int
		if err := st.QueryRow(1).Scan(&n); err != nil || n != 6 {
			t.Fatal(n, err)
		}
		mustClose(t, st)
	}
	eventually(t, "connections are back", func() bool { return pool.Stat().AcquiredConns() == 0 })
	for _, c := range pool.AcquireAllIdle(t.Context()) {
		var n int
		if err := c.QueryRow(t.Context(), `select count(*) from pg_prepared_statements where name like 'stmt\_%'`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d closed statements are still prepared, %v", n, err)
		}
		c.Release()
	}
}

func TestAPgxpoolInSessionModeIsHeldOnlyByOpenConnections(t *testing.T) {
	db, pool := overPgxpool(t, lifeguard.ModeSession)
	db.SetMaxIdleConns(0)
	for range 5 {
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "connections are back", func() bool { return pool.Stat().AcquiredConns() == 0 })
}
