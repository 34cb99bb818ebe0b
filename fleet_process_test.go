package lifeguard

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// fleetChild makes the test binary an instance of the fleet: a process of its own
// that wants as many connections as it can get. Its value is the instance's DSN.
const fleetChild = "LIFEGUARD_TEST_FLEET_CHILD"

// fleetTestEvery is the time between two looks here; in production it is fleetEvery.
// LIFEGUARD_FLEET_REAL makes it that.
var fleetTestEvery = cmp.Or(fleetReal(), 500*time.Millisecond)

func fleetReal() time.Duration {
	if os.Getenv("LIFEGUARD_FLEET_REAL") == "" {
		return 0
	}
	return fleetEvery
}

// TestMain's package has no place for this, so the instance is a test.
func TestFleetChild(t *testing.T) {
	dsn := os.Getenv(fleetChild)
	if dsn == "" {
		t.Skip("it is an instance that the other tests start")
	}
	db := openFleet(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 30 {
		load.Go(func() {
			for ctx.Err() == nil {
				_, _ = db.ExecContext(ctx, "select pg_sleep(0.02)")
			}
		})
	}
	connector, err := FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stdout, "instance", connector.Stats().Fleet.Instance)
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); { // until the parent closes it
		fmt.Fprintln(os.Stdout, "looks", connector.Stats().Fleet.Looks)
	}
	stop()
	load.Wait()
}

func openFleet(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	cfg, err := ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.fleetEvery, cfg.Logger = fleetTestEvery, slog.New(slog.DiscardHandler)
	connector, err := NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// instance is a process of the fleet.
type instance struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Scanner
	name   string
}

func startInstance(t *testing.T, dsn string) *instance {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFleetChild$", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), fleetChild+"="+dsn)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	i := &instance{cmd: cmd, stdin: stdin, stdout: bufio.NewScanner(stdout)}
	i.name = i.line(t, "instance ")
	return i
}

// line waits for what the instance says.
func (i *instance) line(t *testing.T, prefix string) string {
	t.Helper()
	for i.stdout.Scan() {
		if text, ok := strings.CutPrefix(i.stdout.Text(), prefix); ok {
			return text
		}
	}
	t.Fatalf("the instance said nothing with %q: %v", prefix, i.stdout.Err())
	return ""
}

// looks is how often the instance has counted the others.
func (i *instance) looks(t *testing.T) int {
	t.Helper()
	fmt.Fprintln(i.stdin)
	n, err := strconv.Atoi(i.line(t, "looks "))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (i *instance) stop(t *testing.T) {
	t.Helper()
	_ = i.stdin.Close()
	if err := i.cmd.Wait(); err != nil {
		t.Errorf("the instance ended with %v", err)
	}
}

func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	_ = i.cmd.Wait()
}

// fleetWatch looks at the server from outside, at all connections of the fleet.
type fleetWatch struct {
	conn   *pgx.Conn
	prefix string
	budget int

	overSince time.Time // zero: not over the budget
	worst     time.Duration
	slowest   time.Duration // of the looks: how busy the machine is
	most      int
}

func watchFleet(t *testing.T, dsn, prefix string, budget int) *fleetWatch {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &fleetWatch{conn: conn, prefix: prefix, budget: budget}
}

// look returns the connections of each instance.
func (w *fleetWatch) look(t *testing.T) map[string]int {
	t.Helper()
	began := time.Now()
	defer func() { w.slowest = max(w.slowest, time.Since(began)) }()
	rows, err := w.conn.Query(t.Context(), `select application_name, count(*) from pg_stat_activity
		where starts_with(application_name, $1) and backend_type = 'client backend' group by 1`, w.prefix)
	if err != nil {
		t.Fatal(err)
	}
	found, sum, name, n := map[string]int{}, 0, "", 0
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		found[name] = n
		sum += n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.most = max(w.most, sum)
	switch {
	case sum <= w.budget:
		w.overSince = time.Time{}
	case w.overSince.IsZero():
		w.overSince = time.Now()
	default:
		w.worst = max(w.worst, time.Since(w.overSince))
	}
	return found
}

// moved lets something happen to the fleet, and waits until every instance that is there
// then has so many connections. Those that stay may look as often for that as fits into 15 s
// with fleetEvery.
func (w *fleetWatch) moved(t *testing.T, what string, each int, event func() []*instance, stay ...*instance) {
	t.Helper()
	before := make([]int, len(stay))
	for n, i := range stay {
		before[n] = i.looks(t)
	}
	took := w.until(t, what, each, event()...)
	most := 0
	for n, i := range stay {
		most = max(most, i.looks(t)-before[n])
	}
	t.Logf("%s: it took %d looks", what, most)
	if most > 4 { // one within 11 s, and three more within 4.2 s
		t.Errorf("%s: it took %d looks", what, most)
	}
	if fleetReal() > 0 && took > 15*time.Second {
		t.Errorf("%s: it took %v", what, took)
	}
}

// until samples until every instance has so many connections.
func (w *fleetWatch) until(t *testing.T, what string, each int, instances ...*instance) time.Duration {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for {
		found := w.look(t)
		good := len(found) == len(instances)
		for _, i := range instances {
			good = good && found[i.name] == each
		}
		if good {
			t.Logf("%s: %d instances with %d each after %v", what, len(instances), each, time.Since(start).Round(time.Millisecond))
			return time.Since(start)
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not %d instances with %d connections each, but %v", what, len(instances), each, found)
			return 0
		}
	}
}

// during samples for a while.
func (w *fleetWatch) during(t *testing.T, d time.Duration) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		w.look(t)
	}
}

func TestInstancesShareTheBudget(t *testing.T) {
	dsn := pgtest.DSN(t)
	const budget = 24
	prefix := fmt.Sprintf("shop %d/", os.Getpid())
	url := dsn + "&application_name=" + strings.ReplaceAll(strings.TrimSuffix(prefix, "/"), " ", "%20") +
		fmt.Sprintf("&lifeguard_fleet_budget=%d&pool_max_conns=20", budget)
	w := watchFleet(t, dsn, prefix, budget)

	a := startInstance(t, url)
	w.until(t, "alone: pool_max_conns", 20, a)
	var b, c, d *instance
	w.moved(t, "a second one", 12, func() []*instance {
		b = startInstance(t, url)
		return []*instance{a, b}
	}, a)
	w.moved(t, "two more at once", 6, func() []*instance {
		c, d = startInstance(t, url), startInstance(t, url)
		return []*instance{a, b, c, d}
	}, a, b)
	w.during(t, time.Second)
	w.moved(t, "one killed", 8, func() []*instance {
		b.kill()
		return []*instance{a, c, d}
	}, a, c, d)
	w.moved(t, "one stopped", 12, func() []*instance {
		c.stop(t)
		return []*instance{a, d}
	}, a, d)
	w.during(t, time.Second)
	// An instance looks, and then closes what is too much: on a busy machine later.
	if limit := fleetTestEvery*11/10 + 200*time.Millisecond + 5*w.slowest; w.worst > limit {
		t.Errorf("the fleet had up to %d connections, and more than %d for %v; the slowest look took %v", w.most, budget, w.worst, w.slowest)
	}
	t.Logf("at most %d connections; above the budget for %v at most", w.most, w.worst.Round(time.Millisecond))
	d.stop(t)
	a.stop(t)
	if left := w.look(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
