package cdc

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// eventually polls until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// register is a cache that counts versions, as the ledger of the cache does.
type register struct {
	mu       sync.Mutex
	epoch    int
	schema   int
	versions map[Relation]int
	onChange func([]Relation)
}

func (r *register) Begin(string) {}

func (r *register) Changed(relations []Relation) {
	r.mu.Lock()
	for _, oid := range relations {
		r.versions[oid]++
	}
	f := r.onChange
	r.mu.Unlock()
	if f != nil {
		f(relations)
	}
}

func (r *register) Lost() {
	r.mu.Lock()
	r.epoch++
	r.mu.Unlock()
}

func (r *register) SchemaChanged() {
	r.mu.Lock()
	r.epoch++
	r.schema++
	r.mu.Unlock()
}

// version is what an entry that depends on a relation would note.
func (r *register) version(oid Relation) [2]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return [2]int{r.epoch, r.versions[oid]}
}

// listener is a consumer with its register, and a connection to write with.
type listener struct {
	*Consumer
	*register
	t     testing.TB
	dsn   string
	conn  *pgx.Conn
	log   *syncBuffer
	epoch time.Time
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func connectTo(dsn string) func(context.Context, bool) (*pgconn.PgConn, error) {
	return func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		cfg.RuntimeParams["application_name"] = "cdc"
		if replication {
			cfg.RuntimeParams["replication"] = "database"
		}
		if c, there := ctx.Value(cableKey{}).(*cable.Cable); there {
			address, err := net.ResolveTCPAddr("tcp", c.Addr())
			if err != nil {
				return nil, err
			}
			cfg.Host, cfg.Port = address.IP.String(), uint16(address.Port) //nolint:gosec // a port
		}
		return pgconn.ConnectConfig(ctx, cfg)
	}
}

// listen starts a consumer on a new database with a schema.
func listen(t testing.TB, schema string, change ...func(*Config)) *listener {
	t.Helper()
	return listenOn(t, pgtest.DSN(t), schema, change...)
}

func listenOn(t testing.TB, dsn, schema string, change ...func(*Config)) *listener {
	t.Helper()
	l := &listener{register: &register{versions: map[Relation]int{}}, t: t, dsn: dsn, log: &syncBuffer{}, epoch: time.Now()}
	l.conn = connect(t, dsn)
	l.exec(schema)
	l.Consumer = start(l.config(change...), false)
	t.Cleanup(l.gone)
	return l
}

// gone closes the consumer, and waits until the server has noticed: it drops no database
// with a slot.
func (l *listener) gone() {
	l.Close()
	if l.conn.IsClosed() {
		return
	}
	ctx := context.Background()
	eventually(l.t, "the slots are gone", func() bool {
		var n int
		err := l.conn.QueryRow(ctx, "select count(*) from pg_replication_slots where database = current_database()").Scan(&n)
		return err != nil || n == 0
	})
}

func (l *listener) config(change ...func(*Config)) Config {
	cfg := Config{
		Connect: connectTo(l.dsn), Cache: l.register, Now: func() time.Duration { return time.Since(l.epoch) },
		Bound: 5 * time.Second, MaxLag: 1 << 30, Publication: "lifeguard", PollEvery: time.Hour,
		Logger: slog.New(slog.NewTextHandler(l.log, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// wake has the stream look at once.
func (l *listener) wake() {
	if s := l.life.Load(); s != nil {
		s.wake()
	}
}

func (l *listener) exec(sql string) {
	l.t.Helper()
	if _, err := l.conn.Exec(l.t.Context(), sql); err != nil {
		l.t.Fatalf("%.80s: %v", sql, err)
	}
}

func (l *listener) oid(table string) Relation {
	l.t.Helper()
	return oidOf(l.t, l.conn, table)
}

func oidOf(t testing.TB, conn *pgx.Conn, table string) Relation {
	t.Helper()
	var oid Relation
	if err := conn.QueryRow(t.Context(), "select $1::text::regclass::oid", table).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	return oid
}

func (l *listener) serves() bool { return l.Serves(l.cfg.Now()) }

func (l *listener) ready() {
	l.t.Helper()
	eventually(l.t, "the stream is confirmed; "+l.log.String(), l.serves)
}

// confirmed waits until everything that was written before is known.
func (l *listener) confirmed() {
	l.t.Helper()
	before := l.cfg.Now()
	eventually(l.t, "a confirmation", func() bool {
		l.wake()
		l.Serves(before) // an idle stream confirms nothing
		l.Consumer.mu.Lock()
		defer l.Consumer.mu.Unlock()
		return l.Consumer.confirmed >= before
	})
}

// bumps runs sql and says which of the tables were told of.
func (l *listener) bumps(sql string, tables ...string) string {
	l.t.Helper()
	l.confirmed()
	before := make([][2]int, len(tables))
	for i, table := range tables {
		before[i] = l.version(l.oid(table))
	}
	l.exec(sql)
	l.confirmed()
	var told string
	for i, table := range tables {
		if l.version(l.oid(table)) != before[i] {
			told += table + " "
		}
	}
	return told
}

func slots(t testing.TB, conn *pgx.Conn) (n int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), "select count(*) from pg_replication_slots where database = current_database()").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
