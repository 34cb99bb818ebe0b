package lifeguard_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestClosingTwiceGivesNothingBackTwice(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, out := openDSN(t, withSettings(dsn, "pool_max_conns=2")), observer(t, dsn)
	for range 20 {
		rows, err := db.Query("select generate_series(1, 3)") //nolint:sqlclosecheck // mustClose closes them
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, rows)
		other := mustBegin(t, db) // takes the connection that the rows had
		mustClose(t, rows)
		_ = rows.Err()
		tx := mustBegin(t, db)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		_ = tx.Rollback()
		_ = tx.Commit()
		conn := mustConn(t, db)
		backendPID(t, conn)
		mustClose(t, conn)
		_ = conn.Close()
		mustExec(t, other, "select 1")
		if err := other.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	// exactly two may be held at once, not three
	a, b := mustBegin(t, db), mustBegin(t, db)
	short, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	if err := db.PingContext(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third holder of two: %v", err)
	}
	_, _ = a, b
	if n := backends(t, out); n != 2 {
		t.Errorf("%d backends", n)
	}
}

// The driver's own contract, below database/sql: what a second Close, or a use in an
// order that database/sql does not promise, must not break.
func TestTheDriversConnectionSurvivesBeingMisused(t *testing.T) {
	dsn := pgtest.DSN(t)
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			connector, err := lifeguard.NewConnector(parse(t, withSettings(dsn, "pool_max_conns=1", mode)))
			if err != nil {
				t.Fatal(err)
			}
			defer connector.Close()
			for range 3 {
				c, err := connector.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				conn := c.(*lifeguard.Conn) //nolint:errcheck // Connect returns no other
				rows, err := conn.QueryContext(t.Context(), "select generate_series(1, 3)", nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = rows.Close()
				_ = rows.Close()
				st, err := conn.PrepareContext(t.Context(), "select 1")
				if err != nil {
					t.Fatal(err)
				}
				conn.IsValid()
				conn.IsValid()
				_ = st.Close()
				_ = st.Close()
				_ = conn.Close()
				_ = conn.Close()
				conn.IsValid()
			}
			c, err := connector.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.(driver.Pinger).Ping(t.Context()); err != nil { //nolint:errcheck // *lifeguard.Conn is one
				t.Error(err)
			}
			_ = c.Close()
		})
	}
}

func TestAConnectionOpenedByTheDriverItselfEndsWithItsClose(t *testing.T) {
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	c, err := lifeguard.Driver{}.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(driver.Pinger).Ping(t.Context()); err != nil { //nolint:errcheck // *lifeguard.Conn is one
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its backend ends", func() bool { return backends(t, out) == 0 })
	_ = c.Close()
}

var _ io.Closer = (*lifeguard.Connector)(nil)
