// Package pgstub is a PostgreSQL that is no process: it answers every statement at
// once, inside the client's Write, with one row of one int8. What is measured over it
// is the client's own cost.
package pgstub

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config reaches the stub.
func Config(t testing.TB) *pgx.ConnConfig {
	t.Helper()
	cfg, err := pgx.ParseConfig("postgres://stub@127.0.0.1:1/stub?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		c := &conn{starting: true}
		c.changed.L = &c.mu
		return c, nil
	}
	return cfg
}

// conn is the server's side and the socket in one.
type conn struct {
	mu       sync.Mutex
	changed  sync.Cond // there is something to read, or closed
	starting bool
	in       []byte // not yet a whole message
	out      []byte // answers not yet read
	closed   bool
	inTx     bool
}

func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.in = append(c.in, b...)
	for {
		head := 5
		if c.starting {
			head = 4
		}
		if len(c.in) < head {
			return len(b), nil
		}
		size := int(binary.BigEndian.Uint32(c.in[head-4:])) + head - 4
		if len(c.in) < size {
			return len(b), nil
		}
		if c.starting {
			c.starting = false
			c.message('R', []byte{0, 0, 0, 0})
			c.message('S', []byte("server_version\x0015.0\x00"))
			c.message('S', []byte("client_encoding\x00UTF8\x00"))
			c.message('S', []byte("standard_conforming_strings\x00on\x00"))
			c.message('K', []byte{0, 0, 0, 1, 0, 0, 0, 1})
			c.ready()
		} else {
			c.answer(c.in[0], c.in[head:size])
		}
		c.in = c.in[:copy(c.in, c.in[size:])]
		c.changed.Signal()
	}
}

//nolint:gochecknoglobals // constant tables
var (
	stubParams = []byte{0, 1, 0, 0, 0, 20}
	stubRow    = []byte{0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 42}
	stubFields = append([]byte{0, 1, 'n', 0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 8, 0xff, 0xff, 0xff, 0xff, 0, 1)
)

func (c *conn) answer(kind byte, body []byte) {
	switch kind {
	case 'P':
		c.message('1', nil)
	case 'B':
		c.message('2', nil)
	case 'C':
		c.message('3', nil)
	case 'D':
		if body[0] == 'S' {
			c.message('t', stubParams)
		}
		c.message('T', stubFields)
	case 'E':
		c.message('D', stubRow)
		c.message('C', []byte("SELECT 1\x00"))
	case 'S':
		c.ready()
	case 'X':
		c.closed = true
	case 'Q':
		switch body[0] {
		case '-':
			c.message('I', nil)
		case 'b':
			c.inTx = true
			c.message('C', []byte("BEGIN\x00"))
		default:
			c.inTx = false
			c.message('C', []byte("COMMIT\x00"))
		}
		c.ready()
	}
}

func (c *conn) ready() {
	if c.inTx {
		c.message('Z', []byte{'T'})
		return
	}
	c.message('Z', []byte{'I'})
}

func (c *conn) message(kind byte, body []byte) {
	c.out = append(c.out, kind)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(body)+4))
	c.out = append(c.out, body...)
}

func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// pgconn reads before it has written when a write takes it long: when the processor
	// was taken from it.
	for len(c.out) == 0 {
		if c.closed {
			return 0, net.ErrClosed
		}
		c.changed.Wait()
	}
	n := copy(b, c.out)
	c.out = c.out[:copy(c.out, c.out[n:])]
	return n, nil
}

func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Broadcast()
	return nil
}

func (*conn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*conn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*conn) SetDeadline(time.Time) error      { return nil }
func (*conn) SetReadDeadline(time.Time) error  { return nil }
func (*conn) SetWriteDeadline(time.Time) error { return nil }
