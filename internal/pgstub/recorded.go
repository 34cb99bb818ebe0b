package pgstub

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// Recorded stands between clients and a real server, and remembers what the server answers.
// Once Stop is called, whatever was asked before is answered from memory, inside the client's
// Write, and the server hears no more of it: then what is measured is the client's own cost,
// with whatever it has learnt of a real database. What was not asked before still goes to
// the server. A request is what the client writes at once.
type Recorded struct {
	answers sync.Map // from string to []byte
	stopped atomic.Bool
	missed  atomic.Int64
}

// Stop has everything answered from memory that was asked before.
func (r *Recorded) Stop() { r.stopped.Store(true) }

// Missed is how often the server had to be asked since Stop.
func (r *Recorded) Missed() int64 { return r.missed.Load() }

// Dial makes connections to the server that dial reaches, without TLS.
func (r *Recorded) Dial(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		server, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &recordedConn{Conn: server, of: r}
		c.changed.L = &c.mu
		return c, nil
	}
}

type recordedConn struct {
	net.Conn
	of *Recorded

	mu      sync.Mutex
	changed sync.Cond
	closed  bool
	begun   bool   // the session's start is over
	asked   int    // answers to request that are awaited of the server, each with a ReadyForQuery
	request []byte // of the server, as far as it is written; nil when it is answered
	answer  []byte // that of the server, as far as it has come; or what is left of one from memory
	told    int    // how often the server was ready in it
	read    int    // bytes of whole messages in it
}

func (c *recordedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Signal()
	if c.of.stopped.Load() && c.begun && c.request == nil {
		if known, ok := c.of.answers.Load(string(b)); ok {
			c.answer = known.([]byte) //nolint:errcheck,forcetypeassert // nothing else is in there
			return len(b), nil
		}
		c.of.missed.Add(1)
	}
	if c.request == nil {
		c.answer = nil
	}
	c.request = append(c.request, b...)
	c.asked = answersTo(c.request) - c.told
	if !c.begun || c.request[0] == 'X' { // nobody will be ready after a farewell
		c.asked = 1
	}
	return c.Conn.Write(b)
}

func (c *recordedConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	// pgconn reads before it has written when a write takes it long: when the processor was
	// taken from it.
	for c.asked == 0 && len(c.answer) == 0 && !c.closed {
		c.changed.Wait()
	}
	if c.asked == 0 {
		defer c.mu.Unlock()
		if c.closed {
			return 0, net.ErrClosed
		}
		n := copy(b, c.answer)
		c.answer = c.answer[n:]
		return n, nil
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(b[:n])
	return n, err
}

// answersTo counts the messages of a request after which the server says that it is ready: a
// pipeline has several.
func answersTo(request []byte) (n int) {
	for len(request) >= head {
		if request[0] == 'S' || request[0] == 'Q' {
			n++
		}
		size := messageSize(request)
		if size > len(request) {
			break
		}
		request = request[size:]
	}
	return n
}

// head is what a message begins with: its kind, and its size without that.
const head = 5

func messageSize(b []byte) int { return 1 + int(binary.BigEndian.Uint32(b[1:])) }

// note remembers an answer of the server's when it has come to its end.
func (c *recordedConn) note(piece []byte) {
	c.answer = append(c.answer, piece...)
	for len(c.answer) >= c.read+head && len(c.answer) >= c.read+messageSize(c.answer[c.read:]) {
		if c.answer[c.read] == 'Z' {
			c.told, c.asked = c.told+1, c.asked-1
		}
		c.read += messageSize(c.answer[c.read:])
	}
	if c.asked > 0 {
		return
	}
	if c.begun {
		c.of.answers.Store(string(c.request), c.answer)
	}
	c.begun, c.asked, c.told, c.read, c.request, c.answer = true, 0, 0, 0, nil, nil
}

func (c *recordedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return c.Conn.Close()
}
