package cdc

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// probe is a cache of one row, filled the instant that the event of a change arrives: the
// worst moment there is.
type probe struct {
	*listener
	reader *pgx.Conn
	table  Relation
	events chan struct{}
}

func newProbe(l *listener) *probe {
	p := &probe{listener: l, reader: connect(l.t, l.dsn), table: l.oid("counter"), events: make(chan struct{}, 1)}
	l.register.mu.Lock()
	l.onChange = func([]Relation) {
		select {
		case p.events <- struct{}{}:
		default:
		}
	}
	l.register.mu.Unlock()
	return p
}

// cached is what was read and kept.
type cached struct {
	version [2]int
	value   int64
}

// fill reads the row as a cache does; kept is false if it must not be kept.
func (p *probe) fill(ctx context.Context) (e cached, kept bool) {
	p.t.Helper()
	version := p.version(p.table)
	doubt := p.Doubt([]Relation{p.table})
	var text string
	batch := &pgx.Batch{} // one round trip
	batch.Queue(SnapshotSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
	batch.Queue("select n from counter").QueryRow(func(row pgx.Row) error { return row.Scan(&e.value) })
	if err := p.reader.SendBatch(ctx, batch).Close(); err != nil {
		p.t.Fatal(err)
	}
	seen, err := ParseSnapshot(text)
	if err != nil {
		p.t.Fatal(err)
	}
	e.version = version
	return e, doubt.ResolvedBy(&seen) && p.version(p.table) == version
}

const counter = "create table counter (id int primary key, n bigint); insert into counter values (1, 0)"

// rounds is how many there are: few, unless LIFEGUARD_CDC_ROUNDS says more.
func rounds(t testing.TB, few int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("LIFEGUARD_CDC_ROUNDS"))
	if err != nil {
		return few
	}
	return n
}

func TestAFillAtTheInstantOfTheEventIsNeverStale(t *testing.T) {
	t.Parallel()
	l := listen(t, counter)
	l.ready()
	p := newProbe(l)
	refused, stale, n := p.race(rounds(t, 400))
	t.Logf("%d rounds, %d fills refused, %d stale", n, refused, stale)
	if stale > 0 {
		t.Errorf("%d stale entries", stale)
	}
	if refused == n {
		t.Error("nothing was ever kept")
	}
}

// race fills in each round, and counts what was refused, and what is stale.
func (p *probe) race(n int) (refused, stale, rounds int) {
	p.t.Helper()
	for round := range n {
		for len(p.events) > 0 {
			<-p.events
		}
		acknowledged := make(chan struct{})
		go func() {
			defer close(acknowledged)
			if _, err := p.conn.Exec(p.t.Context(), "update counter set n = $1", int64(round+1)); err != nil {
				p.t.Error(err)
			}
		}()
		<-p.events
		e, kept := p.fill(p.t.Context())
		<-acknowledged
		if !kept {
			refused++
			continue
		}
		// The only change that there was has been told. So what is kept and of the
		// latest version must be the row.
		if p.version(p.table) == e.version && e.value != int64(round+1) {
			stale++
		}
	}
	return refused, stale, n
}

// On a server whose commits wait for a standby, the event always comes before the commit is
// visible. So this shows that the gate is needed: without it the entry is stale, each time.
func TestAFillBehindAWaitingStandbyIsOnlyRightWithTheGate(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	behindStandby(t, server.DSN(""))
}

func TestAFollowersFillBehindAWaitingStandbyIsOnlyRightWithTheGate(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	url := pgtest.Redis(t)
	listenOn(t, server.DSN(""), "create table counter (id int primary key, n bigint)", relayed(url, 1)).plays(Leader)
	behindStandby(t, server.DSN(""), relayed(url, 1))
}

func behindStandby(t *testing.T, dsn string, change ...func(*Config)) {
	t.Helper()
	for _, gate := range []bool{true, false} {
		l := &listener{register: &register{versions: map[Relation]int{}}, t: t, dsn: dsn, log: &syncBuffer{}, epoch: time.Now()}
		l.conn = connect(t, dsn)
		l.exec("set synchronous_commit = local; create table if not exists counter (id int primary key, n bigint); truncate counter; insert into counter values (1, 0)")
		l.Consumer = start(l.config(change...), !gate)
		defer l.Close()
		l.ready()
		table := []Relation{l.oid("counter")}
		eventually(t, "the table is heard of", func() bool { return l.Covers(table) && l.serves() })
		if follows := l.Stats().Role == Follower; follows != (len(change) > 0) {
			t.Fatal("it is", l.Stats().Role)
		}
		p := newProbe(l)
		l.exec("alter system set synchronous_standby_names = 'nobody'")
		l.exec("select pg_reload_conf()")
		stale, kept := p.behindStandby(20)
		l.exec("alter system reset synchronous_standby_names")
		l.exec("select pg_reload_conf()")
		switch {
		case gate && (stale > 0 || kept > 0):
			t.Errorf("with the gate: %d kept, %d stale", kept, stale)
		case !gate && stale < 10: // the first may come before the server waits
			t.Errorf("without the gate only %d of 20 are stale: this test proves nothing", stale)
		}
	}
}

// behindStandby counts the fills that were kept, and of those the stale ones.
func (p *probe) behindStandby(rounds int) (stale, kept int) {
	p.t.Helper()
	ctx := p.t.Context()
	for range rounds {
		for len(p.events) > 0 {
			<-p.events
		}
		writer := connect(p.t, p.dsn)
		acknowledged := make(chan struct{})
		go func() {
			defer close(acknowledged)
			if _, err := writer.Exec(ctx, "set synchronous_commit = on; update counter set n = n + 1"); err != nil {
				p.t.Error(err)
			}
		}()
		<-p.events
		e, ok := p.fill(ctx)
		p.confirmed() // freshness does not show it: the commit is not visible to anybody
		p.exec("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep' and query like '%update counter%'")
		select {
		case <-acknowledged:
		case <-time.After(5 * time.Millisecond):
			eventually(p.t, "the writer is released", func() bool {
				p.exec("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
				select {
				case <-acknowledged:
					return true
				default:
					return false
				}
			})
		}
		_ = writer.Close(ctx)
		var now int64
		if err := p.conn.QueryRow(ctx, "select n from counter").Scan(&now); err != nil {
			p.t.Fatal(err)
		}
		if ok {
			kept++
		}
		if ok && p.version(p.table) == e.version && e.value != now {
			stale++
		}
	}
	return stale, kept
}
