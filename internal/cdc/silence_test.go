package cdc

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// hole is a way to a server that may stop to deliver, without a word.
type hole struct {
	listener net.Listener
	server   string
	done     sync.WaitGroup
	closed   chan struct{}

	mu    sync.Mutex    // guards what follows, and server
	flow  chan struct{} // closed while it delivers
	conns map[net.Conn]struct{}
}

// moveTo breaks the connections; new ones lead elsewhere.
func (h *hole) moveTo(server string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = server
	for conn := range h.conns {
		_ = conn.Close()
	}
	clear(h.conns)
}

func newHole(t *testing.T, dsn string) *hole {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return newHoleTo(t, net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)))
}

func newHoleTo(t *testing.T, server string) *hole {
	t.Helper()
	h := &hole{server: server, closed: make(chan struct{}), flow: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(h.flow)
	var err error
	if h.listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h.done.Go(h.accept)
	t.Cleanup(func() {
		_ = h.listener.Close()
		close(h.closed)
		h.done.Wait()
	})
	return h
}

func (h *hole) accept() {
	for {
		client, err := h.listener.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		to := h.server
		h.mu.Unlock()
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
		if err != nil {
			_ = client.Close()
			continue
		}
		h.mu.Lock()
		h.conns[server] = struct{}{}
		h.mu.Unlock()
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			h.done.Go(func() { h.carry(way[0], way[1]) })
		}
	}
}

// carry ends with either side, or the hole.
func (h *hole) carry(from, to net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-h.flows():
		case <-h.closed:
			return
		}
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (h *hole) swallow() {
	h.mu.Lock()
	h.flow = make(chan struct{})
	h.mu.Unlock()
}

func (h *hole) deliver() {
	h.mu.Lock()
	close(h.flow)
	h.mu.Unlock()
}

func (h *hole) flows() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.flow
}

// through leads the replication connection, or both, through the hole.
func (h *hole) through(both bool) func(*Config) {
	return func(c *Config) {
		connect := c.Connect
		c.Connect = func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			if !replication && !both {
				return connect(ctx, replication)
			}
			return connect(context.WithValue(ctx, holeKey{}, h), replication)
		}
	}
}

// holeKey is of the hole, in the context of connectTo.
type holeKey struct{}

// A stream that falls silent says nothing about what others write, and no error either: only
// the bound keeps what is stale from being served.
func TestASilentStreamServesNothingBeyondTheBound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	h := newHole(t, dsn)
	l := listenOn(t, dsn, shop, h.through(false), func(c *Config) { c.Bound = 300 * time.Millisecond })
	l.ready()
	table := l.oid("item")
	l.confirmed()
	before := l.version(table)
	h.swallow()
	l.exec("update item set id = id where id = 1")
	written := l.cfg.Now()
	worst := time.Duration(0)
	for l.cfg.Now()-written < 4*l.cfg.Bound {
		if now := l.cfg.Now(); l.Serves(now) {
			worst = max(worst, now-written)
		}
		<-time.After(time.Millisecond)
	}
	if worst > l.cfg.Bound {
		t.Errorf("it served what it had not heard of for %v; the bound is %v", worst, l.cfg.Bound)
	}
	if l.version(table) != before || l.Stats().Lag == 0 {
		t.Error("the stream was not silent: this shows nothing")
	}
	h.deliver()
	l.ready()
	if l.version(table) == before {
		t.Error("it serves, and has not told")
	}
}

// When nothing comes from the server at all, the stream is given up, and begins anew.
func TestAServerThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	h := newHole(t, dsn)
	l := listenOn(t, dsn, shop, h.through(true))
	l.ready()
	h.swallow()
	l.ended(Unreachable)
	if l.serves() {
		t.Error("it serves")
	}
	h.deliver()
	l.ready()
	eventually(t, "one slot is left", func() bool { return slots(t, l.conn) == 1 })
}
