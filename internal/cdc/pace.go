package cdc

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// pace has the reader wake up once for many commits while they come thick and fast. The server
// sends three or four messages for each commit, and each of them, by itself, wakes the reader:
// a processor time that writers have to share. So it rests before it reads again, and the
// system is told not to wake it meanwhile. What is heard of is heard of that much later, which
// the bound allows for; as long as commits are few it does not rest.
//
// Rejected: to rest alone. Go's poller is woken by what comes in, whoever waits for it.
type pace struct {
	raw     syscall.RawConn // nil: the reader never rests
	resting bool
	seen    uint64    // commits, when it was last asked
	at      time.Time // when that was
	rests   atomic.Uint64
}

const (
	restFor  = 500 * time.Microsecond
	restOver = 4 * time.Millisecond // the time over which commits are counted before a rest
	restFrom = 5                    // commits in a millisecond: then it begins to rest
	restTill = 2                    // commits in one rest: with fewer it ends
	restMost = 64 << 10             // bytes that wake the reader all the same
)

// begin is called with the connection before anything is read.
func (p *pace) begin(conn net.Conn) {
	if secure, wrapped := conn.(interface{ NetConn() net.Conn }); wrapped {
		conn = secure.NetConn()
	}
	if c, ok := conn.(syscall.Conn); ok {
		p.raw, _ = c.SyscallConn() // nil with an error
	}
	p.at = time.Now()
}

// rest returns when the reader shall read. All that was read before has been told.
func (p *pace) rest(commits uint64) {
	if p.raw == nil || !p.due(time.Now(), commits) || !p.wakeFrom(restMost) {
		return
	}
	p.rests.Add(1)
	<-time.After(restFor)
	p.wakeFrom(1) // which fails only on a connection that is closed, and then so does the read
}

// due reports whether so many commits come that the reader should rest.
func (p *pace) due(now time.Time, commits uint64) bool {
	took, n := now.Sub(p.at), commits-p.seen
	switch {
	case p.resting:
		p.resting = n >= restTill
	case took < restOver:
		return false
	default:
		p.resting = n >= restFrom*uint64(took/time.Millisecond) //nolint:gosec // not negative
	}
	p.at, p.seen = now, commits
	return p.resting
}
