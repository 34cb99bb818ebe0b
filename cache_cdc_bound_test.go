package lifeguard_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestNoReadIsOlderThanTheBound has somebody else count a row up, and this process read it. The
// count that was acknowledged a bound before a read began must be there, through large
// transactions, TRUNCATE, DDL, and streams that end.
func TestNoReadIsOlderThanTheBound(t *testing.T) {
	const bound = 200 * time.Millisecond
	c := openCDC(t, logicalServer(t), boundSchema, "lifeguard_cache_bound="+bound.String())
	noReadIsOlder(t, c, bound)
	if c.stats().CDC.Restarts["slot_lost"] == 0 {
		t.Error("no stream has ended: this shows nothing")
	}
}

const boundSchema = `create table counter (id int primary key, n bigint); insert into counter values (1, 0);
	create table bulk (id int primary key, t text)`

func noReadIsOlder(t *testing.T, c *cachedDB, bound time.Duration) {
	t.Helper()
	c.warm("select n from counter where id = 1")
	long, rows := 3*time.Second, 30_000
	if seconds, err := strconv.Atoi(os.Getenv("LIFEGUARD_CDC_SECONDS")); err == nil {
		long, rows = time.Duration(seconds)*time.Second, 500_000
	}
	ctx, stop := context.WithTimeout(t.Context(), long)
	defer stop()

	var acknowledged countLog // of counts
	var others sync.WaitGroup
	others.Go(func() {
		err := pgxDo(t.Context(), c.dsn, func(conn *pgx.Conn) error {
			for n := int64(1); ctx.Err() == nil; n++ {
				if _, err := conn.Exec(t.Context(), "update counter set n = $1", n); err != nil {
					return err
				}
				acknowledged.add(n)
				idle(ctx, time.Duration(n%7)*time.Millisecond)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	others.Go(func() {
		for ctx.Err() == nil {
			for _, text := range []string{
				"insert into bulk select i, repeat('x', 50) from generate_series(1, " + strconv.Itoa(rows) + ") i",
				"truncate bulk",
				"select pg_terminate_backend(active_pid) from pg_replication_slots where active",
				"alter table bulk alter column t set default 'x'",
			} {
				if _, err := c.plain.ExecContext(t.Context(), text); err != nil {
					t.Error(err)
				}
				idle(ctx, long/20)
			}
		}
	})
	var reads, stale atomic.Int64
	var worst atomic.Int64
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				var n int64
				if err := c.QueryRowContext(t.Context(), "select n from counter where id = $1", 1).Scan(&n); err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
				if age := acknowledged.age(n, began); age > bound {
					stale.Add(1)
					worst.Store(max(worst.Load(), int64(age)))
				}
				if reads.Load()%64 == 0 {
					idle(ctx, time.Millisecond)
				}
			}
		})
	}
	others.Wait()
	st := c.stats()
	t.Logf("%d reads, %d hits; %+v", reads.Load(), st.Hits, st.CDC)
	if stale.Load() > 0 {
		t.Errorf("%d reads are older than the bound of %v, by %v", stale.Load(), bound, time.Duration(worst.Load())-bound)
	}
	if st.Hits == 0 {
		t.Error("nothing was served: this shows nothing")
	}
}

func idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// countLog is when each count was acknowledged.
type countLog struct {
	mu   sync.Mutex
	when []time.Time // of 1, 2, …
}

func (l *countLog) add(int64) {
	l.mu.Lock()
	l.when = append(l.when, time.Now())
	l.mu.Unlock()
}

// age is how long before a read the count after the one that it found was acknowledged.
func (l *countLog) age(found int64, began time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(found) >= len(l.when) {
		return 0
	}
	return began.Sub(l.when[found])
}

// TestTheTimeFromACommitOfOthersToItsInvalidation only reports: make probe-cdc.
func TestTheTimeFromACommitOfOthersToItsInvalidation(t *testing.T) {
	if os.Getenv("LIFEGUARD_CDC_SECONDS") == "" {
		t.Skip("it measures; LIFEGUARD_CDC_SECONDS is not set")
	}
	c := openCDC(t, logicalServer(t), "create table counter (id int primary key, n bigint); insert into counter values (1, 0)")
	c.warm("select n from counter where id = 1")
	err := pgxDo(t.Context(), c.dsn, func(conn *pgx.Conn) error {
		var lags []time.Duration
		for n := range 3000 {
			commits := c.stats().CDC.Commits
			if _, err := conn.Exec(t.Context(), "update counter set n = $1", n); err != nil {
				return err
			}
			acknowledged := time.Now()
			for c.stats().CDC.Commits == commits {
			}
			lags = append(lags, time.Since(acknowledged))
		}
		slices.Sort(lags)
		t.Logf("p50 %v, p99 %v, max %v", lags[len(lags)/2], lags[len(lags)*99/100], lags[len(lags)-1])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
