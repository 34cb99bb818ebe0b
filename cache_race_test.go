package lifeguard_test

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// gate holds back the answer to one message: the server has done what it was asked, and
// nobody here knows.
type gate struct {
	marker  atomic.Pointer[string] // see carries; nil once the message was sent
	reached chan struct{}          // closed: the server has answered
	release chan struct{}          // closed: let the answer through
}

func (g *gate) arm(marker string) {
	g.reached, g.release = make(chan struct{}), make(chan struct{})
	g.marker.Store(&marker)
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &gatedConn{Conn: conn, gate: g}, nil
}

type gatedConn struct {
	net.Conn
	gate *gate
	held atomic.Bool
}

func (c *gatedConn) Write(b []byte) (int, error) {
	marker := c.gate.marker.Load()
	if marker != nil && carries(b, *marker) && c.gate.marker.CompareAndSwap(marker, nil) {
		c.held.Store(true)
	}
	return c.Conn.Write(b)
}

// carries reports whether a message has the marker in it, or with "=" before the marker,
// is a text without arguments that begins so.
func carries(b []byte, marker string) bool {
	if text, plain := strings.CutPrefix(marker, "="); plain {
		return len(b) > 5 && b[0] == 'Q' && bytes.HasPrefix(b[5:], []byte(text))
	}
	return bytes.Contains(b, []byte(marker))
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.held.CompareAndSwap(true, false) {
		close(c.gate.reached)
		<-c.gate.release
	}
	return n, err
}

func openGated(t *testing.T) (*cachedDB, *gate) {
	t.Helper()
	dsn := pgtest.DSN(t)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	mustExec(t, plain, cacheSchema)
	g := &gate{}
	cfg := parse(t, withSettings(dsn, "lifeguard_cache=local", "pool_max_conns=8"))
	cfg.ConnConfig.DialFunc = g.dial
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return openCachedOn(t, db, plain, dsn), g
}

// namesBut has an argument by which a gate knows the message.
const namesBut = "select id, name from item where id = 1 and name <> $1"

func TestAFillThatIsSlowerThanACommitIsNeitherKeptNorShared(t *testing.T) {
	c, g := openGated(t)
	const write = "update item set name = name || '!' where id = 1"
	for range 3 { // so that texts are known, and there are connections
		c.warm(namesBut, "fill-marker")
		mustExec(t, c, write)
	}
	before := c.misses()
	g.arm("fill-marker")
	led := make(chan string, 1)
	go func() { led <- c.read(namesBut, "fill-marker") }()
	<-g.reached // the old row is on its way
	if c.misses() == before {
		t.Error("the read was no fill")
	}
	mustExec(t, c, write)
	for range 3 {
		if got := c.read(namesBut, "fill-marker"); !strings.Contains(got, "!!!!") {
			t.Errorf("after the commit: %q", got)
		}
	}
	mustExec(t, c, "update item set name = name || '?' where id = 1")
	close(g.release)
	if got := <-led; strings.Contains(got, "!!!!") {
		t.Errorf("the slow read was not the old one: %q", got)
	}
	for range 3 {
		c.same("after the slow fill", namesBut, "fill-marker")
	}
}

func (c *cachedDB) misses() uint64 { return c.stats().Misses }

// slowCommits are writes of one item, and the message whose answer makes them known.
var slowCommits = []struct {
	name, marker string
	do           func(ctx context.Context, c *cachedDB) error
}{
	{"autocommit", "slow-commit", func(ctx context.Context, c *cachedDB) error {
		_, err := c.ExecContext(ctx, "update item set name = $1 where id = 1", "slow-commit")
		return err
	}},
	{"autocommit of a text", "=update", func(ctx context.Context, c *cachedDB) error {
		_, err := c.ExecContext(ctx, "update item set name = 'slow-commit' where id = 1")
		return err
	}},
	{"RETURNING", "slow-commit", func(ctx context.Context, c *cachedDB) error {
		_, err := readAll(ctx, c.DB, "update item set name = $1 where id = 1 returning id", "slow-commit")
		return err
	}},
	{"a CTE", "slow-commit", func(ctx context.Context, c *cachedDB) error {
		_, err := readAll(ctx, c.DB, "with u as (update item set name = $1 where id = 1 returning id) select * from u", "slow-commit")
		return err
	}},
	{"Tx.Commit", "=commit", func(ctx context.Context, c *cachedDB) error {
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "update item set name = $1 where id = 1", "slow-commit"); err != nil {
			return err
		}
		return tx.Commit()
	}},
	{"COMMIT by hand", "=COMMIT", func(ctx context.Context, c *cachedDB) error {
		conn, err := c.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, text := range []string{"begin", "update item set name = 'slow-commit' where id = 1", "COMMIT"} {
			if _, err := conn.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		return nil
	}},
	{"several statements", "=select 1; update", func(ctx context.Context, c *cachedDB) error {
		_, err := c.ExecContext(ctx, "select 1; update item set name = 'slow-commit' where id = 1")
		return err
	}},
	{"a trigger", "other-marker", func(ctx context.Context, c *cachedDB) error {
		_, err := c.ExecContext(ctx, "insert into other values (777, $1)", "other-marker")
		return err
	}},
}

func TestACommitThatWasNotAnsweredYetHidesNothing(t *testing.T) {
	for _, w := range slowCommits {
		t.Run(w.name, func(t *testing.T) {
			c, g := openGated(t)
			mustExec(t, c.plain, `create function touch() returns trigger language plpgsql as
				$$ begin update item set name = 'slow-commit' where id = 1; return new; end $$;
				create trigger touch after insert on other for each row execute function touch()`)
			c.warm(oneItem, 1)
			c.warm(allItems)
			g.arm(w.marker)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- w.do(ctx, c) }()
			select {
			case <-g.reached:
			case err := <-done:
				t.Fatalf("it ended before its answer was held back: %v", err)
			}
			if got := c.read("select name from item where id = 1"); got != "slow-commit|\n" {
				t.Errorf("it is not committed: %q", got)
			}
			for range 3 {
				c.same("committed, not answered", oneItem, 1)
				c.same("committed, not answered", allItems)
			}
			close(g.release)
			if err := <-done; err != nil {
				t.Error(err)
			}
			for range 3 {
				c.same("answered", oneItem, 1)
			}
			c.warm(oneItem, 1)
		})
	}
}
