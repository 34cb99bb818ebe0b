package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// blocked starts a group of calls of which those that read table b wait for a lock, until
// unlock is called, and returns when a group was sent. start makes the calls; it is called
// again if no group came of them.
func blocked(t *testing.T, db *sql.DB, dsn string, start func() []func()) (unlock func(), done *sync.WaitGroup) {
	t.Helper()
	for range 10 {
		var sent bool
		if unlock, done, sent = blockedOnce(t, db, dsn, start()...); sent {
			return unlock, done
		}
		unlock()
		done.Wait()
	}
	t.Fatal("no group is sent")
	return nil, nil
}

func blockedOnce(t *testing.T, db *sql.DB, dsn string, calls ...func()) (unlock func(), done *sync.WaitGroup, sent bool) {
	t.Helper()
	out, done := observer(t, dsn), new(sync.WaitGroup)
	tx, err := out.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(query string) func() {
		return func() {
			if _, err := resultOf(t.Context(), db, query, 1); err != nil {
				t.Error(err)
			}
		}
	}
	onB, onT := ask("select n from b where id = $1"), ask("select n from t where id = $1")
	for _, each := range []func(){onB, onT} { // until both are prepared for groups
		untilRidden(t, db, func() { together(t, db, 1, each, each, each, each) })
	}
	for range 6 {
		onB()
		onT()
	}
	held := mustBegin(t, db)
	if _, err := tx.Exec(t.Context(), "lock table b in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	for i, call := range calls {
		done.Go(call)
		eventually(t, "it waits", func() bool { return stats(t, db).Limiter.Queued == i+1 })
	}
	before := stats(t, db).Group.Groups
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(2 * time.Second); !sent && time.Now().Before(limit); <-tick.C {
		sent = stats(t, db).Group.Groups > before
	}
	return func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}, done, sent
}

func lockedGroupDB(t *testing.T, settings ...string) (*sql.DB, string) {
	t.Helper()
	db, dsn := groupDB(t, settings...)
	outside(t, dsn, "create table b as select * from t")
	return db, dsn
}

func TestWhoLeavesAGroupDisturbsNobody(t *testing.T) {
	for _, who := range []string{"the leader", "a rider", "a rider with a deadline", "all"} {
		t.Run(who, func(t *testing.T) {
			db, dsn := lockedGroupDB(t, "pool_max_conns=1")
			var leader, rider context.Context
			var cancelLeader, cancelRider context.CancelFunc
			var gone chan error
			asks := func(ctx context.Context, mayLeave bool) func() {
				gone := gone
				return func() {
					got, err := resultOf(ctx, db, "select n from b where id = $1", 3)
					if mayLeave {
						gone <- err
						return
					}
					if err != nil || len(got.rows) != 1 || got.rows[0][0] != int64(9) {
						t.Errorf("who stays gets %v, %v", got, err)
					}
				}
			}
			leads, rides := who == "the leader" || who == "all", who != "the leader"
			unlock, done := blocked(t, db, dsn, func() []func() {
				gone = make(chan error, 3)
				leader, cancelLeader = context.WithCancel(t.Context()) //nolint:fatcontext // one for each attempt
				rider, cancelRider = context.WithCancel(t.Context())
				if who == "a rider with a deadline" {
					rider, cancelRider = context.WithTimeout(t.Context(), 3*time.Second)
				}
				return []func(){asks(leader, leads), asks(t.Context(), false), asks(rider, rides), asks(t.Context(), false)}
			})
			defer cancelLeader()
			defer cancelRider()
			left := 1
			switch who {
			case "the leader":
				cancelLeader()
			case "a rider":
				cancelRider()
			case "all":
				left = 2
				cancelLeader()
				cancelRider()
			}
			for range left {
				select {
				case err := <-gone:
					if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("who leaves gets %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Error("who leaves is kept")
				}
			}
			unlock()
			done.Wait()
		})
	}
}

func TestRidersOfAGroupThatIsStuckAreServedElsewhere(t *testing.T) {
	db, dsn := lockedGroupDB(t, "pool_max_conns=2", "lifeguard_limit=1") // one connection
	served := make(chan error, 8)
	reads := func() {
		got, err := resultOf(t.Context(), db, "select n from t where id = $1", 3)
		if err == nil && (len(got.rows) != 1 || got.rows[0][0] != int64(9)) {
			err = fmt.Errorf("%v", got)
		}
		served <- err
	}
	stuck := func() {
		if got, err := resultOf(t.Context(), db, "select n from b where id = $1", 3); err != nil || len(got.rows) != 1 {
			t.Errorf("%v, %v", got, err)
		}
	}
	unlock, done := blocked(t, db, dsn, func() []func() {
		served = make(chan error, 8)
		return []func(){stuck, reads, reads, reads}
	})
	c, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetLimit(2); err != nil { // now there is another connection
		t.Fatal(err)
	}
	for range 3 {
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("a rider waits behind a lock that it does not need")
		}
	}
	unlock()
	done.Wait()
}

func TestALostConnectionCostsItsLeaderOnly(t *testing.T) {
	db, dsn := lockedGroupDB(t, "pool_max_conns=1")
	errs := make(chan error, 4)
	asks := func() {
		got, err := resultOf(t.Context(), db, "select n from b where id = $1", 3)
		if err == nil && (len(got.rows) != 1 || got.rows[0][0] != int64(9)) {
			err = fmt.Errorf("%v", got)
		}
		errs <- err
	}
	unlock, done := blocked(t, db, dsn, func() []func() {
		errs = make(chan error, 4)
		return []func(){asks, asks, asks, asks}
	})
	killer := observer(t, dsn)
	if _, err := killer.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader knows", func() bool { return len(errs) > 0 })
	if err := <-errs; !isSQLState(err, "57P01") {
		t.Errorf("the leader gets %v", err)
	}
	unlock()
	done.Wait()
	for range 3 {
		if err := <-errs; err != nil {
			t.Errorf("a rider gets %v", err)
		}
	}
}

func isSQLState(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}

// Everything at once; run it with -race.
func TestGroupsUnderEverything(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=3")
	killer := observer(t, dsn)
	limit := time.Now().Add(3 * time.Second)
	var done sync.WaitGroup
	for g := range 24 {
		done.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for time.Now().Before(limit) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if r.IntN(20) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(r.IntN(3000))*time.Microsecond)
				}
				i := 1 + r.IntN(100)
				switch r.IntN(12) {
				case 0:
					if _, err := resultOf(ctx, db, "select 1 / (id - id) from t where id = $1", i); err == nil {
						t.Error("no error")
					}
				case 1:
					if tx, err := db.BeginTx(ctx, nil); err == nil {
						_, _ = tx.ExecContext(ctx, "update t set name = name where id = $1", i)
						_ = tx.Rollback()
					}
				default:
					got, err := resultOf(ctx, db, "select n, name from t where id = $1", i)
					want := [][]any{{int64(i * i), fmt.Sprintf("n%d", i)}}
					if err == nil && !slices.EqualFunc(got.rows, want, func(a, b []any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
						t.Errorf("%d: %v", i, got.rows)
					}
				}
				cancel()
			}
		})
	}
	accidents := time.NewTicker(100 * time.Millisecond)
	defer accidents.Stop()
	for time.Now().Before(limit) {
		if _, err := killer.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() order by random() limit 1"); err != nil {
			t.Fatal(err)
		}
		<-accidents.C
		if n := stats(t, db); n.Limiter.InFlight > 3 || n.Pool.Total > 3 {
			t.Errorf("%d in flight, %d connections", n.Limiter.InFlight, n.Pool.Total)
		}
	}
	done.Wait()
	if stats(t, db).Group.Riders == 0 {
		t.Error("nobody has ridden")
	}
}
