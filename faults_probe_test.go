package lifeguard

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// pgconn's background reader may still sit in Read when a statement has ended: it is
// told to stop, and stops after its current read. A probe that waits for the socket's
// read lock would then wait for the server to say something, under the pool's lock.
func TestTheProbeOfASocketNeverWaitsForAReader(t *testing.T) {
	if !canPeek {
		t.Skip("sockets cannot be looked at here")
	}
	pg, err := pgconn.Connect(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	probe := newSocketProbe(pg.Conn())
	if state := probe.look(pg); state != socketQuiet {
		t.Fatalf("an idle connection is %d", state)
	}
	reading, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		close(reading)
		var b [1]byte
		_, _ = pg.Conn().Read(b[:])
	}()
	<-reading
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for range 10_000 { // gives the reader the time to arrive
			probe.look(pg)
		}
	}()
	limit := time.NewTimer(time.Minute) // a look takes a microsecond, unless others want the processor too
	defer limit.Stop()
	select {
	case <-looked:
	case <-limit.C:
		t.Error("the probe waits for a reader")
	}
	_ = pg.Conn().Close()
	<-looked
	<-read
}
