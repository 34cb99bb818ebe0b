package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// cutter breaks connections around COMMIT. It knows the end of the rows, CopyDone, or the
// text of the commit that follows an upsert, by the bytes.
type cutter struct {
	armed   atomic.Bool
	before  atomic.Int64 // connections cut before COMMIT reached the server
	after   atomic.Int64 // and after, before its answer was read
	choose  func() cut
	commits func(message []byte) bool
	// meanwhile is called after COMMIT was sent, before the cut; nil to cut at once.
	meanwhile func()
}

type cut int

const (
	cutNot cut = iota
	cutBefore
	cutAfter
)

// copyDone lets the server go on to COMMIT after the rows of a COPY.
func copyDone(b []byte) bool { return bytes.HasSuffix(b, []byte{'c', 0, 0, 0, 4}) }

// pipelinedCommit is the end of an upsert's pipeline: the statement, and Sync.
func pipelinedCommit(b []byte) bool {
	return bytes.Contains(b, []byte("commit\x00")) && bytes.HasSuffix(b, []byte{'S', 0, 0, 0, 4})
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, cutter: c}, nil
}

type cutConn struct {
	net.Conn
	cutter *cutter
	deaf   atomic.Bool // reads find the connection closed
}

func (c *cutConn) Write(b []byte) (int, error) {
	if !c.cutter.armed.Load() || !c.cutter.commits(b) {
		return c.Conn.Write(b)
	}
	switch c.cutter.choose() {
	case cutNot:
	case cutBefore:
		c.cutter.before.Add(1)
		_ = c.Close()
		return 0, net.ErrClosed
	case cutAfter:
		c.cutter.after.Add(1)
		c.deaf.Store(true)
		n, err := c.Conn.Write(b)
		if c.cutter.meanwhile != nil {
			c.cutter.meanwhile()
		} else if rand.N(2) == 0 {
			_ = c.Close() // the server may notice before it commits, or after
		}
		return n, err
	}
	return c.Conn.Write(b)
}

// Read never delivers what came after the cut: a read that is under way when COMMIT is
// written is the one that the answer would end.
func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func openCut(t testing.TB, c *cutter, dsn string) *sql.DB {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DialFunc = c.dial
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// cuts is how many connections a test cuts: LIFEGUARD_BATCH_CUTS, or few.
func cuts(t testing.TB, few int) int64 {
	t.Helper()
	if s := os.Getenv("LIFEGUARD_BATCH_CUTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return int64(n)
	}
	return int64(few)
}

func TestALostAnswerToCommitNeitherLosesNorDoublesARow(t *testing.T) {
	for name, test := range map[string]struct {
		table   string
		cfg     lifeguard.BatchConfig
		commits func([]byte) bool
	}{
		"copy": {"create table item (id bigint, name text)", lifeguard.BatchConfig{}, copyDone},
		"upsert": {
			"create table item (id bigint primary key, name text, times int not null default 0)",
			lifeguard.BatchConfig{OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}},
			pipelinedCommit,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cutter{commits: test.commits, choose: func() cut { return []cut{cutNot, cutBefore, cutAfter, cutAfter, cutAfter}[rand.N(5)] }}
			db := openCut(t, c, withSettings(pgtest.DSN(t), "pool_max_conns=6"))
			mustExec(t, db, test.table)
			if name == "upsert" { // writing a row twice shows
				mustExec(t, db, `create function count_it() returns trigger language plpgsql as $$ begin new.times = old.times + 1; return new; end $$`)
				mustExec(t, db, `create trigger count_it before update on item for each row execute function count_it()`)
			}
			test.cfg.MaxRows, test.cfg.Workers, test.cfg.MaxPendingBytes = 5, 2, 2_000
			test.cfg.Retry = lifeguard.BatchRetry{Attempts: 1000, MinBackoff: time.Microsecond, MaxBackoff: time.Millisecond}
			b := newInserter[batchItem](t, db, "item", test.cfg)
			addAll(t, b, items(1))
			n := int64(1)
			c.armed.Store(true)
			for want := cuts(t, 60); c.after.Load() < want; n++ {
				if err := b.Add(t.Context(), batchItem{n, "x"}); err != nil {
					t.Fatal(err)
				}
			}
			stats := closed(t, b)
			c.armed.Store(false)
			t.Logf("%d rows; cut before COMMIT %d times, after it %d; %d found committed; %d chunks sent again",
				n, c.before.Load(), c.after.Load(), stats.Recovered, stats.Retries)
			if got := one[string](t, db, "select count(*) || ' ' || count(distinct id) || ' ' || max(id) from item"); got != sprintRows(n) {
				t.Errorf("rows, distinct, last: %s, not %s", got, sprintRows(n))
			}
			if name == "upsert" {
				if n := one[int](t, db, "select count(*) from item where times > 0"); n > 0 {
					t.Errorf("%d rows were written twice", n)
				}
			}
			if stats.Written != n || stats.Recovered == 0 || stats.Retries == 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func sprintRows(n int64) string {
	s := strconv.FormatInt(n, 10)
	return s + " " + s + " " + strconv.FormatInt(n-1, 10)
}

func TestTerminatedBackendsNeitherLoseNorDoubleARow(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=6"))
	mustExec(t, db, "create table item (id bigint, name text)")
	out := observer(t, dsn)
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
		MaxRows: 20, Workers: 3, MaxPendingBytes: 4_000,
		Retry: lifeguard.BatchRetry{Attempts: 1000, MinBackoff: time.Microsecond, MaxBackoff: time.Millisecond},
	})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	killed := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			var n int
			err := out.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
				where datname = current_database() and pid <> pg_backend_pid() and query ilike any (array['%copy%', '%begin%'])`).Scan(&n)
			if err != nil {
				t.Error(err)
				return
			}
			killed += n
		}
	})
	const n = 20_000
	addAll(t, b, items(n))
	stats := closed(t, b)
	stop()
	wg.Wait()
	t.Logf("%d backends terminated; %d found committed; %d chunks sent again", killed, stats.Recovered, stats.Retries)
	// Not through db: a backend that was told to end may be idle there for a moment more.
	var got string
	if err := out.QueryRow(t.Context(), "select count(*) || ' ' || count(distinct id) || ' ' || max(id) from item").Scan(&got); err != nil || got != sprintRows(n) {
		t.Errorf("rows, distinct, last: %s, %v", got, err)
	}
	if killed == 0 || stats.Retries == 0 {
		t.Error("nothing was terminated: the test tests nothing")
	}
}

// A crash gives out again the ids of transactions that had not reached the disk, so
// "committed" means nothing then.
func TestAfterACrashACommittedTransactionMayBeSomebodyElses(t *testing.T) {
	server := pgtest.NewServer(t, pgtest.Options{Durable: true})
	if !server.Managed() {
		t.Skip("needs a server that can be killed")
	}
	dsn, _, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		fails func(t *testing.T)
		want  error
	}{
		{"a crash", func(t *testing.T) {
			t.Helper()
			if err := server.Kill(); err != nil {
				t.Error(err)
			}
			if err := server.Restart(context.Background(), pgtest.Fast); err != nil {
				t.Error(err)
			}
		}, lifeguard.ErrBatchUncertain},
		{"a clean restart", func(t *testing.T) {
			t.Helper()
			if err := server.Restart(context.Background(), pgtest.Fast); err != nil {
				t.Error(err)
			}
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var once sync.Once
			c := &cutter{commits: copyDone, choose: func() (choice cut) {
				once.Do(func() { choice = cutAfter })
				return choice
			}}
			// Committed here means visible elsewhere.
			c.meanwhile = func() {
				eventually(t, "the chunk is committed", func() bool {
					conn, err := pgx.Connect(t.Context(), dsn)
					if err != nil {
						return false
					}
					defer conn.Close(context.Background())
					var n int
					return conn.QueryRow(t.Context(), "select count(*) from item").Scan(&n) == nil && n == 10
				})
				test.fails(t)
			}
			db := openCut(t, c, dsn)
			mustExec(t, db, "drop table if exists item")
			mustExec(t, db, "create table item (id bigint, name text)")
			b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{
				Retry: lifeguard.BatchRetry{Attempts: 100, MaxBackoff: 50 * time.Millisecond},
			})
			addAll(t, b, items(10))
			c.armed.Store(true)
			stats, err := b.Close(t.Context())
			c.armed.Store(false)
			if !errors.Is(err, test.want) {
				t.Errorf("Close says %v, %+v", err, stats)
			}
			if n := one[int](t, db, "select count(*) from item"); n != 10 {
				t.Errorf("%d rows", n)
			}
		})
	}
}
