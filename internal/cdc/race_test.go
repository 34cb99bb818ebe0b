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
	const rounds = 20
	admin := connect(t, dsn)
	for _, sql := range []string{
		"set synchronous_commit = local", "create table if not exists counter (id int primary key, n bigint)",
		"alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	commitsWait(t, admin, dsn)
	for _, gate := range []bool{true, false} {
		l := &listener{register: &register{versions: map[Relation]int{}}, t: t, dsn: dsn, log: &syncBuffer{}, epoch: time.Now()}
		l.conn = connect(t, dsn)
		l.exec("set synchronous_commit = local; truncate counter; insert into counter values (1, 0)")
		l.Consumer = start(l.config(change...), !gate)
		defer l.Close()
		l.ready()
		table := []Relation{l.oid("counter")}
		eventually(t, "the table is heard of", func() bool { return l.Covers(table) && l.serves() })
		if follows := l.Stats().Role == Follower; follows != (len(change) > 0) {
			t.Fatal("it is", l.Stats().Role)
		}
		stale, kept := newProbe(l).behindStandby(rounds)
		switch {
		case gate && (stale > 0 || kept > 0):
			t.Errorf("with the gate: %d kept, %d stale", kept, stale)
		case !gate && stale < rounds:
			t.Errorf("without the gate only %d of %d are stale: this test proves nothing", stale, rounds)
		}
	}
}

// commitsWait returns when every commit waits for a standby. A reload is not enough for that:
// commits look at a flag that the checkpointer sets when it comes to read the settings.
func commitsWait(t *testing.T, admin *pgx.Conn, dsn string) {
	t.Helper()
	eventually(t, "commits wait for a standby", func() bool {
		writer := connect(t, dsn)
		defer func() { _ = writer.Close(t.Context()) }()
		acknowledged := commit(t, writer, "select pg_logical_emit_message(true, 'test', '')")
		return waits(t, admin, acknowledged, writer.PgConn().PID())
	})
}

// commit has a statement commit that waits for a standby if commits do.
func commit(t testing.TB, writer *pgx.Conn, sql string) (acknowledged chan struct{}) {
	t.Helper()
	acknowledged = make(chan struct{})
	go func() {
		defer close(acknowledged)
		if _, err := writer.Exec(t.Context(), "set synchronous_commit = on; "+sql); err != nil {
			t.Error(err)
		}
	}()
	return acknowledged
}

// waits releases a writer, and reports whether its commit had to wait for a standby.
func waits(t testing.TB, admin *pgx.Conn, acknowledged chan struct{}, pid uint32) (did bool) {
	t.Helper()
	eventually(t, "the writer is released", func() bool {
		select {
		case <-acknowledged:
			return true
		default:
		}
		if did {
			return false
		}
		err := admin.QueryRow(t.Context(),
			"select count(pg_cancel_backend(pid)) > 0 from pg_stat_activity where wait_event = 'SyncRep' and pid = $1", pid).Scan(&did)
		if err != nil {
			t.Fatal(err)
		}
		return false
	})
	return did
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
		acknowledged := commit(p.t, writer, "update counter set n = n + 1")
		<-p.events
		e, ok := p.fill(ctx)
		p.confirmed() // freshness does not show it: the commit is not visible to anybody
		if !waits(p.t, p.conn, acknowledged, writer.PgConn().PID()) {
			p.t.Fatal("a commit has not waited")
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
