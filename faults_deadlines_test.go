package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// deadlineStorm is callers whose deadlines pass in the middle of statements, and others
// beside them who have none and must not notice.
type deadlineStorm struct {
	db       *sql.DB
	answered atomic.Int64
	late     atomic.Int64 // the caller's deadline passed: in the queue or on the server
	refused  atomic.Int64
	patient  atomic.Int64 // answers to those without a deadline
}

// enough is how many deadlines must have passed.
const enough = 60

func (s *deadlineStorm) run(t *testing.T) {
	t.Helper()
	ctx := withinReason(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for s.late.Load() < enough && ctx.Err() == nil && !t.Failed() {
				s.impatient(ctx, t)
			}
		})
	}
	for i := range 2 {
		wg.Go(func() {
			for n := i; s.late.Load() < enough && ctx.Err() == nil && !t.Failed(); n += 2 {
				var got int
				if err := s.db.QueryRowContext(ctx, "select $1::int", n).Scan(&got); err != nil || got != n {
					t.Errorf("without a deadline: %d instead of %d, %v", got, n, err)
				}
				s.patient.Add(1)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Errorf("%d deadlines passed in 15 s", s.late.Load())
	}
}

// impatient asks for what takes a moment, or far longer than it waits.
func (s *deadlineStorm) impatient(ctx context.Context, t *testing.T) {
	t.Helper()
	seconds := 0.001
	if rand.IntN(3) == 0 {
		seconds = 600
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(20+rand.IntN(60))*time.Millisecond)
	defer cancel()
	_, err := s.db.ExecContext(ctx, "select pg_sleep($1)", seconds)
	deadline, _ := ctx.Deadline() // by the clock: on a busy machine the context learns of it later
	switch {
	case err == nil && seconds < 1:
		s.answered.Add(1)
	case errors.Is(err, driver.ErrBadConn):
		t.Errorf("database/sql would try again: %v", err)
	case errors.Is(err, lifeguard.ErrOverloaded) && !errors.Is(err, context.DeadlineExceeded):
		s.refused.Add(1)
		time.Sleep(time.Millisecond) //nolint:forbidigo // a client's pause
	case errors.Is(err, context.DeadlineExceeded) && !time.Now().Before(deadline):
		s.late.Add(1)
	default:
		t.Errorf("a deadline %v ahead is told as %v", time.Until(deadline), err)
	}
}

// activity counts the other sessions in the observer's database, and those of them that
// are at work.
func activity(t *testing.T, out *pgx.Conn) (all, active int) {
	t.Helper()
	err := out.QueryRow(t.Context(), `select count(*), count(*) filter (where state = 'active') from pg_stat_activity
		where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`).Scan(&all, &active)
	if err != nil {
		t.Fatal(err)
	}
	return all, active
}

// sessions is how many the server ever counted in the observer's database.
func sessions(t *testing.T, out *pgx.Conn) (n int64) {
	t.Helper()
	if err := out.QueryRow(t.Context(), "select sessions from pg_stat_database where datname = current_database()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAStormOfDeadlinesCostsWhatItsSettingSays(t *testing.T) {
	t.Parallel()
	const conns = 4
	for _, mode := range []string{"close", "keep"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			out := observer(t, dsn)
			eventually(t, "the server has counted the observer", func() bool { return sessions(t, out) == 1 })
			db, err := sql.Open(lifeguard.DriverName, withSettings(dsn, "pool_max_conns=4", "lifeguard_cancel="+mode))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			c, storm := connectorOf(t, db), &deadlineStorm{db: db}
			over := make(chan struct{})
			go func() { defer close(over); storm.run(t) }()
			most, busiest := 0, 0
			for going := true; going; {
				select {
				case <-over:
					going = false
				case <-time.After(2 * time.Millisecond):
				}
				all, active := activity(t, out)
				most, busiest = max(most, all), max(busiest, active)
			}
			if most > conns || busiest == 0 {
				t.Errorf("%d server processes at once, %d of them active, with a limit of %d", most, busiest, conns)
			}
			eventually(t, "the server works for nobody any more", func() bool { _, active := activity(t, out); return active == 0 })
			eventually(t, "every slot and lease is free", func() bool {
				return c.Stats().Limiter.InFlight == 0 && c.Stats().Pool.InUse == 0
			})

			st := c.Stats().Pool
			late, killed := storm.late.Load(), st.Closed["cancelled"]
			t.Logf("%d answered, %d late, %d refused, %d without a deadline; %d connections opened, %d closed for a deadline; at most %d server processes, %d active",
				storm.answered.Load(), late, storm.refused.Load(), storm.patient.Load(), st.Opened, killed, most, busiest)
			switch {
			case killed > uint64(late):
				t.Errorf("%d deadlines closed %d connections", late, killed)
			case mode == "close" && killed == 0:
				t.Error("no deadline closed its connection: the test tests nothing")
			case mode == "keep" && killed > uint64(late)/10: // a starved server may not answer in time
				t.Errorf("%d of %d deadlines cost their connection", killed, late)
			}
			if st.Opened > killed+conns {
				t.Errorf("%d connections were opened to replace %d", st.Opened, killed)
			}
			_ = db.Close()
			eventually(t, "the server has counted as many sessions", func() bool { return sessions(t, out) == 1+int64(st.Opened) })
		})
	}
}
