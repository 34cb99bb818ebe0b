package cdc

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/cable"
)

func TestTheReaderRestsOnlyWhileCommitsAreMany(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := pace{at: began}
	commits := uint64(0)
	for i, step := range []struct {
		at      time.Duration
		commits uint64
		rests   bool
	}{
		{time.Millisecond, 100, false}, // too early to say
		{4 * time.Millisecond, 0, true},
		{5 * time.Millisecond, restTill, true},
		{6 * time.Millisecond, restTill - 1, false},
		{7 * time.Millisecond, 0, false},
		{10 * time.Millisecond, 4*restFrom - 1, false},
		{14 * time.Millisecond, 4 * restFrom, true},
		{15 * time.Millisecond, 0, false},
		{time.Second, 1000, false}, // in all that time
	} {
		if commits += step.commits; p.due(began.Add(step.at), commits) != step.rests {
			t.Fatalf("step %d: %v after it has begun", i, !step.rests)
		}
	}
}

// Behind a rest a single byte wakes the reader again, also of a connection over TLS.
func TestARestLeavesTheConnectionAsItWas(t *testing.T) {
	t.Parallel()
	h := cable.New(t, nowhere)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, of := range []net.Conn{conn, tls.Client(conn, nil)} {
		var p pace
		p.begin(of)
		p.at = time.Now().Add(-2 * restOver)
		p.rest(1 << 20)
		if p.rests.Load() != 1 {
			t.Fatalf("%T: it has not rested", of)
		}
		var from int
		if err := p.raw.Control(func(fd uintptr) {
			from, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT)
		}); err != nil || from != 1 {
			t.Errorf("%T: it takes %d bytes to wake the reader, %v", of, from, err)
		}
	}
}

// However it has rested, a commit that comes alone is heard of. Nothing else is asked of the
// server meanwhile: its answers would wake the reader too.
func TestAReaderThatHasRestedIsWokenByOneCommit(t *testing.T) {
	t.Parallel()
	l := listen(t, shop)
	l.ready()
	eventually(t, "it rests", func() bool {
		l.exec("do $$ begin for i in 1..2000 loop update item set id = id where id = 1; commit; end loop; end $$")
		return l.life.Load().pace.rests.Load() > 0
	})
	l.confirmed()
	parent := l.oid("parent")
	for range 3 {
		before := l.version(parent)
		l.exec("insert into parent select max(id) + 1 from parent")
		eventually(t, "it is told of a commit", func() bool { return l.version(parent) != before })
	}
	if ends := l.Stats().Ends; len(ends) != 0 { // which tells of everything
		t.Errorf("it has ended for %v", ends)
	}
	if n := l.life.Load().traffic.Load(); l.life.Load().pace.rests.Load() > n/2 {
		t.Errorf("it has rested %d times for %d commits", l.life.Load().pace.rests.Load(), n)
	}
}
