package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestAnInstanceThatIsIdleStillCounts(t *testing.T) {
	dsn := pgtest.DSN(t) + "&lifeguard_fleet_budget=10&application_name=idle&pool_max_conn_idle_time=20ms&pool_health_check_period=20ms"
	idle, busy := openFleet(t, dsn), openFleet(t, dsn)
	for _, db := range []*sql.DB{idle, busy} {
		waitFor(t, "two instances are seen", func() bool { return fleetStats(t, db).Instances == 2 })
	}
	waitFor(t, "half of the budget", func() bool { return fleetStats(t, busy).Share == 5 })
	if got := limiterOf(t, busy).Limit; got != 5 {
		t.Errorf("the limit is %d and not the share", got)
	}
	for range 4 { // idle connections are closed meanwhile, but for one
		looks := fleetStats(t, busy).Looks
		waitFor(t, "a look", func() bool { return fleetStats(t, busy).Looks > looks })
		if st := fleetStats(t, busy); st.Instances != 2 {
			t.Fatalf("an instance without load was missed: %+v", st)
		}
	}
	_ = idle.Close()
	waitFor(t, "the whole budget", func() bool { return fleetStats(t, busy).Share == 10 })
	if got := limiterOf(t, busy).Limit; got != 10 {
		t.Errorf("the limit is %d and not the share", got)
	}
}

func TestInstancesOfOtherRolesAndDatabasesCount(t *testing.T) {
	admin := watchFleet(t, pgtest.DSN(t), "", 0).conn
	role := fmt.Sprintf("fleet_%d", os.Getpid())
	if _, err := admin.Exec(t.Context(), "create role "+role+" login"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "drop role "+role) })
	settings := "&lifeguard_fleet_budget=10&application_name=roles%C3%A9"
	plain := openFleet(t, strings.Replace(pgtest.DSN(t), "postgres@", role+"@", 1)+settings)
	super := openFleet(t, pgtest.DSN(t)+settings)
	for _, db := range []*sql.DB{plain, super} {
		waitFor(t, "both are seen", func() bool { return fleetStats(t, db).Share == 5 })
	}
	var user string
	if err := plain.QueryRowContext(t.Context(), "select current_user").Scan(&user); err != nil || user != role {
		t.Errorf("the first is %s, %v", user, err)
	}
	other := openFleet(t, pgtest.DSN(t)+"&lifeguard_fleet_budget=10&application_name=others7") // as long as roles??
	waitFor(t, "another service is alone", func() bool { return fleetStats(t, other).Share == 10 })
}

func TestASaturatedInstanceStillLooks(t *testing.T) {
	dsn := pgtest.DSN(t) + "&lifeguard_fleet_budget=6&lifeguard_queue=0&application_name=saturated"
	busy := openFleet(t, dsn)
	waitFor(t, "the budget", func() bool { return fleetStats(t, busy).Share == 6 })
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 30 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := busy.ExecContext(ctx, "select pg_sleep(0.05)"); errors.Is(err, ErrOverloaded) {
					time.Sleep(time.Millisecond) //nolint:forbidigo // a client's pause
				}
			}
		})
	}
	defer load.Wait()
	defer stop()
	waitFor(t, "all slots are taken", func() bool { return limiterOf(t, busy).InFlight == 6 })
	openFleet(t, dsn)
	waitFor(t, "half of the budget", func() bool { return fleetStats(t, busy).Share == 3 })
	waitFor(t, "half of the connections", func() bool {
		connector, _ := FromDB(busy)
		return connector.Stats().Pool.Total == 3
	})
}

func TestACountThatFailsKeepsTheShareAndIsLoggedOnce(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{})
	dsn, _, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cfg, err := ParseConfig(dsn + "&lifeguard_fleet_budget=7")
	if err != nil {
		t.Fatal(err)
	}
	cfg.fleetEvery, cfg.Logger = 100*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	connector, err := NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close()
	db := sql.OpenDB(connector)
	waitFor(t, "the budget", func() bool { return connector.Stats().Fleet.Share == 7 })
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "several failures", func() bool { return connector.Stats().Fleet.Failures >= 5 })
	if got := connector.Stats().Fleet.Share; got != 7 {
		t.Errorf("without a server the share is %d and not the last one", got)
	}
	since := log.String()
	if i := strings.LastIndex(since, "counted again"); i >= 0 {
		since = since[i:] // a machine that is busy may miss a count before
	}
	if n := strings.Count(since, "could not be counted"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	_ = db.Close()
}

func TestAServerWithoutRoomHalvesTheShareUntilThereIs(t *testing.T) {
	dsn := pgtest.DSN(t)
	admin := watchFleet(t, dsn, "", 0).conn
	role := fmt.Sprintf("crowd_%d", os.Getpid())
	if _, err := admin.Exec(t.Context(), "create role "+role+" login connection limit 8"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "drop role "+role) })
	db := openFleet(t, strings.Replace(dsn, "postgres@", role+"@", 1)+"&lifeguard_fleet_budget=20&pool_max_conns=20")
	waitFor(t, "the budget", func() bool { return fleetStats(t, db).Share == 20 })

	var load sync.WaitGroup
	refused := make(chan error, 20)
	for range 20 {
		load.Go(func() {
			_, err := db.ExecContext(t.Context(), "select pg_sleep(0.3)")
			refused <- err
		})
	}
	load.Wait()
	close(refused)
	full := 0
	for err := range refused {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "53300" {
			full++
		}
	}
	st := fleetStats(t, db)
	if full == 0 || st.Refusals == 0 || st.Share > 10 {
		t.Errorf("%d connections were refused: %+v", full, st)
	}
	if _, err := admin.Exec(t.Context(), "alter role "+role+" connection limit 50"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the share is back", func() bool { return fleetStats(t, db).Share == 20 })
}

func TestAFleetNeedsConnectionsThatCanBeNamedAndTakenBack(t *testing.T) {
	cfg, err := ParseConfig("postgres://u@127.0.0.1:1/d?lifeguard_fleet_budget=5&lifeguard_mode=session")
	if err == nil {
		_, err = NewConnector(cfg)
	}
	if err == nil || !strings.Contains(err.Error(), "lifeguard_mode") {
		t.Errorf("session mode: %v", err)
	}
}

func TestInstanceNamesFitTheServer(t *testing.T) {
	for name, prefix := range map[string]string{
		"": "lifeguard/", "shop": "shop/", "a/b": "a/b/", "caf\u00e9": "caf??/",
		strings.Repeat("x", 100): strings.Repeat("x", 50) + "/",
	} {
		a, b := fleetName(name), fleetName(name)
		if a == b || len(a) > 63 || a[:len(a)-fleetIDLen] != prefix {
			t.Errorf("%q: %q and %q", name, a, b)
		}
	}
}

// lockedBuffer is a log's destination.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func fleetStats(t *testing.T, db *sql.DB) FleetStats {
	t.Helper()
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	return connector.Stats().Fleet
}

func limiterOf(t *testing.T, db *sql.DB) LimiterStats {
	t.Helper()
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	return connector.Stats().Limiter
}

func TestTheShareFollowsTheLooks(t *testing.T) {
	t.Parallel()
	cfg := Config{MaxConns: 40, FleetBudget: 60, instance: fleetName("x"), Logger: slog.New(slog.DiscardHandler)}
	limit := 0
	p := newPool(&cfg, nil, false, func() time.Duration { return 0 })
	defer p.close()
	f := newFleet(&cfg, p, func(n int) { limit = n })
	if limit != fleetCareful {
		t.Errorf("before the first look the limit is %d", limit)
	}
	for i, step := range []struct {
		found peers
		want  int
		soon  bool
	}{
		{peers{0, 0}, 40, false}, // alone: pool_max_conns
		{peers{1, 1}, 30, false}, // less at once
		{peers{2, 40}, 20, false},
		{peers{2, 50}, 10, true}, // others have more than their share: what is free
		{peers{2, 59}, 1, true},
		{peers{2, 80}, 1, true},  // even the only one is too many, and stays
		{peers{2, 40}, 1, true},  // more only if the next look says so too
		{peers{2, 44}, 16, true}, // and then the less of both
		{peers{2, 40}, 16, true},
		{peers{2, 30}, 20, false},
		{peers{0, 0}, 20, true},
		{peers{2, 20}, 20, false}, // the others were only connecting again
		{peers{99, 20}, 1, false}, // more instances than budget
	} {
		f.mu.Lock()
		soon := f.takeLocked(step.found)
		f.mu.Unlock()
		if limit != step.want || p.max != step.want || soon != step.soon {
			t.Errorf("look %d: the limit is %d, the pool's %d, soon %v; not %d, %v", i, limit, p.max, soon, step.want, step.soon)
		}
	}
}
