package thirdparty

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver to compare with
	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	// As long as there is a cache, nobody's leases are older than the first one (earlier_leases).
	first, err := sql.Open(lifeguard.DriverName, "postgres://127.0.0.1:1/nowhere?lifeguard_cache=local")
	if err != nil {
		panic(err)
	}
	code := pgtest.Main(m, pgtest.Options{Settings: map[string]string{"max_connections": "200"}})
	_ = first.Close()
	if code == 0 {
		// GORM never ends the goroutine of a PrepareStmt's cache.
		if err := goleak.Find(goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds what a test waits for on a busy machine.
const patience = 2 * time.Minute

// world is what one run of a test's body has: a database, opened in one way, and what the
// body noted of it.
type world struct {
	db     *sql.DB
	driver string
	dsn    string

	keepsNothing string // why the cache can answer nothing of the body; empty: it has to

	mu    sync.Mutex // guards notes
	notes []string
}

// note keeps what was seen, with the Go types of the values.
func (w *world) note(what string, values ...any) {
	var b strings.Builder
	b.WriteString(what)
	for _, v := range values {
		fmt.Fprintf(&b, " %s", described(v))
	}
	w.mu.Lock()
	w.notes = append(w.notes, b.String())
	w.mu.Unlock()
}

// described writes a value with its type; maps with those of their values, in order.
func described(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for key, value := range v {
			parts = append(parts, key+"="+described(value))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, value := range v {
			parts = append(parts, described(value))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case time.Time:
		return "time " + v.Format(time.RFC3339Nano)
	default:
		return fmt.Sprintf("%T(%v)", v, v)
	}
}

// ways are how a body's database is opened. What is tight has no more connections than
// the body needs at once; what is cached asks what may be kept often enough to be answered
// from memory.
func ways(conns int) map[string]way {
	tight := fmt.Sprintf("&pool_max_conns=%d&lifeguard_queue=200", conns)
	return map[string]way{
		"pgx":           {driver: "pgx"},
		"lifeguard":     {driver: lifeguard.DriverName},
		"tight":         {driver: lifeguard.DriverName, keys: tight},
		"cached":        {driver: insistentName, keys: "&lifeguard_cache=local"},
		"cached, tight": {driver: insistentName, keys: "&lifeguard_cache=local" + tight},
	}
}

type way struct{ driver, keys string }

// compare runs body over plain pgx and over Lifeguard in several ways. Each has a database
// of its own, and what they note must be the same.
func compare(t *testing.T, conns int, body func(*testing.T, *world)) {
	t.Helper()
	var mu sync.Mutex // guards notes
	notes := make(map[string][]string)
	t.Run("over", func(t *testing.T) { // ends when all have
		for name, c := range ways(conns) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := &world{driver: c.driver, dsn: pgtest.DSN(t) + c.keys}
				w.db = openDB(t, w.driver, w.dsn)
				body(t, w)
				w.checkCache(t)
				if strings.HasSuffix(name, "tight") {
					checkWithinLimit(t, w, conns)
				}
				mu.Lock()
				notes[name] = w.notes
				mu.Unlock()
			})
		}
	})
	if len(notes["pgx"]) == 0 && !t.Failed() && !t.Skipped() {
		t.Error("the body noted nothing, so nothing was compared")
	}
	for name := range ways(conns) {
		if !t.Failed() && !slices.Equal(notes[name], notes["pgx"]) {
			t.Errorf("%s:\n%s\nplain pgx:\n%s", name, strings.Join(notes[name], "\n"), strings.Join(notes["pgx"], "\n"))
		}
	}
}

// guarded reports whether the world stands on Lifeguard.
func (w *world) guarded() bool { return w.driver != "pgx" }

// checkCache fails if the cache was on and had no part in it.
func (w *world) checkCache(t *testing.T) {
	t.Helper()
	if w.driver != insistentName {
		return
	}
	connector, err := lifeguard.FromDB(w.db)
	must(t, err)
	st := connector.Stats().Cache
	did := fmt.Sprintf("%d hits, %d misses, %d shared; bypassed for %v", st.Hits, st.Misses, st.Shared, reasonsOf(st.Bypasses))
	t.Log(did)
	if kept := st.Hits > 0; kept != (w.keepsNothing == "") {
		t.Errorf("%s; nothing is to be kept because of %q", did, w.keepsNothing)
	}
}

// openDB opens a database until the end of the test.
func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	must(t, err)
	return closing(t, db)
}

// openConnector is openDB for a connector.
func openConnector(t *testing.T, connector *lifeguard.Connector) *sql.DB {
	t.Helper()
	return closing(t, sql.OpenDB(connector))
}

func closing(t *testing.T, db *sql.DB) *sql.DB {
	t.Helper()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// checkWithinLimit fails if a statement was refused, or more connections opened than there
// may be.
func checkWithinLimit(t *testing.T, w *world, conns int) {
	t.Helper()
	connector, err := lifeguard.FromDB(w.db)
	must(t, err)
	stats := connector.Stats()
	for _, refused := range stats.Limiter.Refusals {
		if refused.Count > 0 {
			t.Errorf("%d statements were refused: %s", refused.Count, refused.Reason)
		}
	}
	if stats.Pool.Opened < 1 || stats.Pool.Max != conns {
		t.Errorf("%d connections were opened, with a maximum of %d; want one or more, and %d", stats.Pool.Opened, stats.Pool.Max, conns)
	}
}

// checkQueued fails if nobody had to wait for one of Lifeguard's connections.
func checkQueued(t *testing.T, w *world) {
	t.Helper()
	if !w.guarded() {
		return
	}
	connector, err := lifeguard.FromDB(w.db)
	must(t, err)
	var waits uint64
	for _, p := range connector.Stats().Limiter.Priorities {
		waits += p.Waits
	}
	if waits == 0 {
		t.Error("nobody waited, so the queue was not tested")
	}
}

// waiting returns how many statements wait for a connection now.
func waiting(t *testing.T, w *world) int {
	t.Helper()
	if !w.guarded() {
		return int(w.db.Stats().WaitCount)
	}
	connector, err := lifeguard.FromDB(w.db)
	must(t, err)
	return connector.Stats().Limiter.Queued
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !so(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// exec runs statements.
func (w *world) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := w.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// must ends the test with an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLISTENThroughRaw(t *testing.T) {
	t.Parallel()
	compare(t, 2, func(t *testing.T, w *world) {
		w.keepsNothing = "pgx is used past database/sql, and no question is asked"
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := w.db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		err = conn.Raw(func(driverConn any) error {
			listener, err := lifeguard.PgxConn(driverConn) // plain pgx's connection is one, too
			if err != nil {
				return err
			}
			if _, err := listener.Exec(ctx, "listen pets"); err != nil {
				return err
			}
			for _, payload := range []string{"Rex", "Polly"} {
				if _, err := w.db.ExecContext(ctx, "select pg_notify('pets', $1)", payload); err != nil {
					return err
				}
				heard, err := listener.WaitForNotification(ctx)
				if err != nil {
					return err
				}
				w.note("heard", heard.Channel, heard.Payload)
			}
			return nil
		})
		must(t, err)
	})
}
