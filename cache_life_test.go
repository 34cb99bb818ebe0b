package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard"
)

// TestACachedPoolLeavesNoGoroutine looks at the whole life of pools with a cache: opened,
// filled, with flights that are joined, left and cancelled, lost backends, a ttl, and closed
// while they are at work.
func TestACachedPoolLeavesNoGoroutine(t *testing.T) {
	for _, settings := range [][]string{
		{"lifeguard_cache=local"},
		{"lifeguard_cache=local", "lifeguard_mode=session"},
		{"lifeguard_cache=local", "lifeguard_cancel=keep", "lifeguard_cache_ttl=20ms"},
		{"lifeguard_cache=ttl", "lifeguard_cache_ttl=10ms"},
	} {
		t.Run(fmt.Sprint(settings), func(t *testing.T) {
			c := openCached(t, cacheSchema)
			_ = c.Close()
			if _, err := c.plain.ExecContext(t.Context(), "select 1"); err != nil {
				t.Fatal(err)
			}
			c.plain.SetMaxOpenConns(1)
			before := goleak.IgnoreCurrent()
			for life := range 3 {
				c.live(t, life, settings)
			}
			if err := goleak.Find(before); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNothingOutlivesAQueryThatNobodyWaitsFor: its caller may go before the server has
// answered, but Close waits for the flight, and after a Close who left it last does.
func TestNothingOutlivesAQueryThatNobodyWaitsFor(t *testing.T) {
	for _, closedFirst := range []bool{false, true} {
		t.Run(fmt.Sprint("closed first: ", closedFirst), func(t *testing.T) {
			c, g := openGated(t)
			for range 3 { // so that texts are known, and there are connections
				c.warm(namesBut, "fill-marker")
				mustExec(t, c, "update item set name = name")
			}
			g.arm("fill-marker")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			misses, left := c.misses(), make(chan error, 1)
			go func() { _, err := readAll(ctx, c.DB, namesBut, "fill-marker"); left <- err }()
			<-g.reached
			if c.misses() == misses {
				t.Fatal("it is no flight")
			}
			if closedFirst {
				_ = c.Close()
			}
			var released atomic.Bool
			timer := time.AfterFunc(200*time.Millisecond, func() { released.Store(true); close(g.release) })
			defer timer.Stop()
			leave()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("the query says %v", err)
			}
			_ = c.Close()
			if !released.Load() {
				t.Error("closed, and the flight is still at work")
			}
		})
	}
}

// live is one life of a pool. In the last it is closed while others use it.
func (c *cachedDB) live(t *testing.T, life int, settings []string) {
	t.Helper()
	db, err := sql.Open(lifeguard.DriverName, withSettings(c.dsn, append(settings, "pool_max_conns=6", "application_name=living")...))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(24)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var users sync.WaitGroup
	for i := range 12 {
		users.Go(func() { useBriefly(ctx, db, rand.New(rand.NewPCG(uint64(life), uint64(i)))) })
	}
	for range 4 {
		pause(ctx, 20*time.Millisecond)
		_, err := c.plain.ExecContext(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'living' and datname = current_database() and pid % 2 = 0")
		if err != nil {
			t.Error(err)
		}
	}
	if life < 2 {
		users.Wait()
	}
	if err := db.Close(); err != nil && life < 2 {
		t.Error(err)
	}
	users.Wait()
}

// useBriefly reads and writes, sometimes without patience, and leaves nothing open.
func useBriefly(ctx context.Context, db *sql.DB, r *rand.Rand) {
	for range 60 {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(1+r.IntN(30))*time.Millisecond)
		switch r.IntN(8) {
		case 0:
			_, _ = db.ExecContext(ctx, "update item set name = name || '.' where id = $1", r.IntN(50))
		case 1:
			if tx, err := db.BeginTx(ctx, nil); err == nil {
				_, _ = tx.ExecContext(ctx, "update other set name = 'x' where id = $1", r.IntN(50))
				if r.IntN(2) == 0 {
					_ = tx.Commit()
				}
				_ = tx.Rollback()
			}
		case 2:
			leaveEarly(ctx, db, allItems)
		case 3:
			_, _ = readAll(ctx, db, "select count(*) from item a, item b, item c where a.name < b.name")
		default:
			_, _ = readAll(ctx, db, oneItem, r.IntN(6))
		}
		cancel()
	}
}

// leaveEarly closes its rows before their end.
func leaveEarly(ctx context.Context, db *sql.DB, query string) {
	if rows, err := db.QueryContext(ctx, query); err == nil {
		defer rows.Close()
		_ = rows.Next() || rows.Err() == nil
	}
}
