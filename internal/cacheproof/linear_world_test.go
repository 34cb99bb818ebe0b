package cacheproof

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // "pgx"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// worldSchema keeps the registers in three tables. The shadow of a is kept by a trigger,
// that of b by a foreign key, so that only the server knows who writes them.
const worldSchema = `
	create table a (k int primary key, v int not null);
	create table b (k int primary key, v int not null unique);
	create table c (k int primary key, v int not null);
	create table shadow_a (k int primary key, v int not null);
	create table shadow_b (k int primary key, v int not null references b (v) on update cascade);
	insert into a select i, -1 - i from generate_series(0, 2) i;
	insert into b select i, -11 - i from generate_series(0, 2) i;
	insert into c select i, -21 - i from generate_series(0, 2) i;
	insert into shadow_a select * from a;
	insert into shadow_b select * from b;
	create view everything as select 0 as t, k, v from a union all select 1, k, v from b union all select 2, k, v from c;
	create function keep_shadow() returns trigger language plpgsql as $$
		begin update shadow_a set v = new.v where k = new.k; return null; end $$;
	create trigger keep_shadow after update on a for each row execute function keep_shadow();`

// worldFunction lets queries write.
const worldFunction = `create function put(int, int) returns int volatile language sql as
	$$ update c set v = $2 where k = $1; select $2 $$`

// world is a database, a cache before it, and a network in between.
type world struct {
	name  string
	db    *sql.DB // through the cache and the proxy
	plain *sql.DB // through neither
	proxy *proxy
	of    *lifeguard.Connector
	puts  bool // see worldFunction
}

// worldKind is a way to configure one.
type worldKind struct {
	name     string
	settings []string
	puts     bool
}

var worldKinds = []worldKind{
	{"checkout", []string{"lifeguard_cancel=close"}, false},
	{"checkout, cancel on the server", []string{"lifeguard_cancel=keep"}, true},
	{"session", []string{"lifeguard_mode=session"}, false},
	{"a small pool", []string{"pool_max_conns=4"}, true},
}

func newWorld(t testing.TB, kind worldKind) *world {
	t.Helper()
	dsn := pgtest.DSN(t)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	plain.SetMaxOpenConns(6)
	schema := worldSchema
	if kind.puts {
		schema += worldFunction
	}
	if _, err := plain.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	separate := "&"
	for _, s := range append([]string{"lifeguard_cache=local", "application_name=cached"}, kind.settings...) {
		dsn += separate + s
	}
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{name: kind.name, plain: plain, puts: kind.puts}
	w.proxy = newProxy(t, net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port))))
	cfg.ConnConfig.DialFunc = w.proxy.dial
	cfg.Logger = slog.New(slog.DiscardHandler)
	if w.of, err = lifeguard.NewConnector(cfg); err != nil {
		t.Fatal(err)
	}
	w.db = sql.OpenDB(w.of)
	w.db.SetMaxIdleConns(40)
	t.Cleanup(func() { _ = w.db.Close() })
	return w
}

func (w *world) stats() *lifeguard.CacheStats { return w.of.Stats().Cache }

// settle waits until no outcome is unknown, and returns the truth.
func (w *world) settle(t testing.TB) values {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for w.stats().Unsettled > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%s: after a minute %d outcomes are not known", w.name, w.stats().Unsettled)
		}
		sleep(10 * time.Millisecond)
	}
	// A backend whose client is gone may still be about to commit; then its fence is up.
	got, err := readRegisters(t.Context(), w.plain, everything)
	if err != nil {
		t.Fatal(err)
	}
	return values(got)
}

// kill ends one of the backends.
func (w *world) kill(ctx context.Context) error {
	_, err := w.plain.ExecContext(ctx, `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
		where datname = current_database() and application_name = 'cached' order by state = 'idle', random() limit 1) a`)
	return err
}

const everything = "select v from everything order by t, k"

// querier is what can be asked.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// readRegisters returns all numbers of all rows.
func readRegisters(ctx context.Context, q querier, query string, args ...any) (got []int32, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	row, into := make([]int32, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		got = append(got, row...)
	}
	return got, rows.Err()
}

// A question reads registers, in one of the ways to read them.
type question struct {
	text string
	arg  func(k int) []any
	of   func(k int) []int // the registers
}

func byKey(k int) []any { return []any{k} }

func nothing(int) []any { return nil }

func register(table int) func(int) []int { return func(k int) []int { return []int{table*keys + k} } }

func whole(table int) func(int) []int {
	return func(int) []int { return []int{table * keys, table*keys + 1, table*keys + 2} }
}

func all(int) (list []int) {
	for i := range registers {
		list = append(list, i)
	}
	return list
}

var questions = []question{
	{"select v from a where k = $1", byKey, register(0)},
	{"select v from b where k = $1", byKey, register(1)},
	{"select v from c where k = $1", byKey, register(2)},
	{"select v from a where k = $1::text::int", func(k int) []any { return []any{fmt.Sprint(k)} }, register(0)},
	{"select v from shadow_a where k = $1", byKey, register(0)},
	{"select v from shadow_b where k = $1", byKey, register(1)},
	{"select v from everything where t = 2 and k = $1", byKey, register(2)},
	{"select v from a order by k", nothing, whole(0)},
	{"select v from c order by k", nothing, whole(2)},
	{"select a.v, b.v from a join b using (k) where k = $1", byKey, func(k int) []int { return []int{k, keys + k} }},
	{"select s.v, c.v from shadow_b s join c using (k) where k = $1", byKey, func(k int) []int { return []int{keys + k, 2*keys + k} }},
	{"select (select v from shadow_a where k = $1), (select v from a where k = $1)", byKey, func(k int) []int { return []int{k, k} }},
	{everything, nothing, all},
}

// tableOf and keyOf say where a register lies.
func tableOf(register int) string { return []string{"a", "b", "c"}[register/keys] }

func keyOf(register int) int { return register % keys }

// pgxOf returns the connection below.
func pgxOf(driverConn any) *pgx.Conn { return driverConn.(interface{ Conn() *pgx.Conn }).Conn() } //nolint:errcheck // both drivers have it
