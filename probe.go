package lifeguard

import (
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// socketState is what can be known of a connection without a round trip.
type socketState uint8

const (
	socketQuiet    socketState = iota // nothing has arrived since the last statement
	socketReadable                    // the server sent something nobody asked for
	socketEnded                       // the server, or the network, ended the connection
)

// socketProbe looks at an idle connection's socket without reading from it. Its
// closure is made once, for a probe happens at every lease. The cost is one system
// call, about a microsecond.
type socketProbe struct {
	raw  syscall.RawConn
	peek func(fd uintptr)
	seen socketState
}

// newSocketProbe returns nil for connections whose file descriptor cannot be had:
// those of a custom DialFunc, or any on systems without MSG_DONTWAIT.
func newSocketProbe(conn net.Conn) *socketProbe {
	if tlsConn, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tlsConn.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok || !canPeek {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &socketProbe{raw: raw}
	p.peek = func(fd uintptr) { p.seen = peekSocket(fd) }
	return p
}

// look reports the state of an idle connection. A nil probe sees nothing.
func (p *socketProbe) look(pg *pgconn.PgConn) socketState {
	if pg.IsClosed() {
		return socketEnded
	}
	if pg.Frontend().ReadBufferLen() > 0 {
		return socketReadable
	}
	if p == nil {
		return socketQuiet
	}
	// Control and not Read: pgconn may have left a goroutine reading (it does after a
	// write that took long), and Read would wait for that one.
	if err := p.raw.Control(p.peek); err != nil {
		return socketEnded
	}
	return p.seen
}
