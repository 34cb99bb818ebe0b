package lifeguard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A connection goes with its slot only if the pool has no use for it, and nothing that who
// waits may prefer.
func TestWhenAConnectionGoesWithItsSlot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		alone   bool // nobody waits for the slot
		mode    Mode
		prepare func(*pool, *physical)
		want    putting
	}{
		{name: "somebody waits", want: withSlot},
		{name: "nobody waits", alone: true, want: taken},
		{name: "who waits has a session of its own", mode: ModeSession, want: taken},
		{name: "another one is idle", prepare: func(p *pool, _ *physical) { p.idle.pushBack(new(physical), placeIdle) }, want: taken},
		{name: "a holder of a slot waits for one", prepare: func(p *pool, _ *physical) {
			p.waiting = append(p.waiting, make(chan struct{}, 1))
		}, want: taken},
		{name: "the fleet borrows one", prepare: func(p *pool, _ *physical) { p.borrower = make(chan *physical, 1) }, want: taken},
		{name: "somebody waits for this one", prepare: func(_ *pool, ph *physical) { ph.awaited = 1 }, want: taken},
		{name: "it is one too many", prepare: func(p *pool, _ *physical) { p.max = 0 }, want: refused},
		{name: "the pool is closed", prepare: func(p *pool, _ *physical) { p.closed = true }, want: refused},
		{name: "it is too old", prepare: func(_ *pool, ph *physical) { ph.expires = 0 }, want: refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ph := connected(t)
			p := newPool(&Config{MaxConns: 2, Mode: tt.mode}, nil, false, func() time.Duration { return 0 })
			defer p.stop()
			p.total = 1
			if tt.prepare != nil {
				tt.prepare(p, ph)
			}
			if _, where := p.putOrRefuse(ph, time.Hour/2, !tt.alone); where != tt.want {
				t.Errorf("it went to %d, want %d", where, tt.want)
			}
			if inList := ph.place == placeIdle; inList && tt.want != taken {
				t.Error("it is in the pool all the same")
			}
		})
	}
}

// connected is a connection that no pool has.
func connected(t *testing.T) *physical {
	t.Helper()
	cfg, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := stdlib.GetConnector(*cfg).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := conn.(*stdlib.Conn) //nolint:errcheck,forcetypeassert // it is
	return &physical{conn: c, pg: c.Conn().PgConn(), expires: never}
}

// Who waits gets the connection of whoever was served before, though the pool never had it.
// If its own context ends at that moment, the next gets both.
func TestAConnectionGoesFromHandToHand(t *testing.T) {
	t.Parallel()
	db := openFleet(t, pgtest.DSN(t)+"&pool_max_conns=1")
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	co := connector.core
	follows := func(c *Conn) {
		t.Helper()
		if err := c.lease(t.Context(), ping, false); err != nil {
			t.Error(err)
		}
	}
	first, second := &Conn{core: co}, &Conn{core: co}
	follows(first)
	ph := first.ph
	done := make(chan struct{})
	go func() {
		defer close(done)
		follows(second)
	}()
	waitFor(t, "one waits", func() bool { return co.limiter.stats().Queued == 1 })
	first.endLease()
	<-done
	if second.ph != ph || first.ph != nil {
		t.Error("the one who waited has another connection")
	}

	// The one who is granted the slot has left; it passes both on, and nobody else waits.
	waiting := make(chan error, 1)
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		_, err := co.limiter.acquire(ctx, request{})
		waiting <- err
	}()
	waitFor(t, "one waits", func() bool { return co.limiter.stats().Queued == 1 })
	leave()
	second.endLease()
	if err := <-waiting; err == nil {
		t.Fatal("it has a slot though its context had ended before")
	}
	waitFor(t, "it is idle", func() bool { st := connector.Stats().Pool; return st.Idle == 1 && st.Total == 1 })
	follows(first)
	if first.ph != ph {
		t.Error("another connection was opened")
	}
	first.endLease()
}

// What is on its way with a slot when the pool is closed serves nobody any more, and ends.
func TestACloseMeetsConnectionsOnTheirWay(t *testing.T) {
	t.Parallel()
	for range 20 {
		db := openFleet(t, pgtest.DSN(t)+"&pool_max_conns=2")
		connector, err := FromDB(db)
		if err != nil {
			t.Fatal(err)
		}
		pool := connector.core.pool
		var load sync.WaitGroup
		for range 16 {
			load.Go(func() {
				for {
					_, err := db.ExecContext(t.Context(), "select 1")
					if err == nil {
						continue
					}
					if !errors.Is(err, ErrClosed) && err.Error() != "sql: database is closed" {
						t.Errorf("after Close: %v", err)
					}
					return
				}
			})
		}
		waitFor(t, "many wait", func() bool { return connector.core.limiter.crowded() })
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		load.Wait()
		waitFor(t, "no connection is left", func() bool { return pool.stats().Total == 0 })
	}
}

func TestAConnectionFollowsNobodyIntoAClosedPool(t *testing.T) {
	t.Parallel()
	p, ph := newPool(&Config{MaxConns: 2}, nil, false, func() time.Duration { return 0 }), connected(t)
	if got, err := p.follow(t.Context(), ph, 0); got != ph || err != nil {
		t.Errorf("while it is open: %v", err)
	}
	p.close()
	if got, err := p.follow(t.Context(), ph, 0); got != ph || !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
