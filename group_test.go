package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// None of these runs in parallel with others: a Connector with a cache elsewhere in the
// process switches groups off.

const groupsOn = "lifeguard_group=on"

// groupDB opens a database with groups on few connections, and one to look at it.
func groupDB(t *testing.T, settings ...string) (db *sql.DB, dsn string) {
	t.Helper()
	dsn = pgtest.DSN(t)
	db = openDSN(t, withSettings(dsn, append([]string{groupsOn}, settings...)...))
	db.SetMaxIdleConns(100)
	outside(t, dsn, "create table t (id int8 primary key, n int8, name text)")
	outside(t, dsn, "insert into t select i, i * i, 'n' || i from generate_series(1, 200) i")
	t.Cleanup(func() {
		eventually(t, "no slot is in use", func() bool { return stats(t, db).Limiter.InFlight == 0 })
	})
	return db, dsn
}

// outside does something on a connection of its own: one that does DDL is not the first to
// lead.
func outside(t *testing.T, dsn, query string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func stats(t testing.TB, db *sql.DB) lifeguard.Stats {
	t.Helper()
	c, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	return c.Stats()
}

// together makes the pool's n connections busy until all of the calls wait, and returns
// when they are done; the first of them leads. known runs a statement until what it takes is known.
func together(t *testing.T, db *sql.DB, n int, known func(), calls ...func()) {
	t.Helper()
	for range 6 {
		known()
	}
	held := make([]*sql.Tx, n)
	for i := range held {
		held[i] = mustBegin(t, db)
	}
	var done sync.WaitGroup
	for i, call := range calls {
		done.Go(call)
		eventually(t, "it waits", func() bool { return stats(t, db).Limiter.Queued == i+1 })
	}
	for _, tx := range held {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
	done.Wait()
}

// untilRidden repeats an attempt until statements have shared a connection: on a machine
// that stands still for a second what was known is forgotten.
func untilRidden(t *testing.T, db *sql.DB, attempt func()) {
	t.Helper()
	before := stats(t, db).Group.Riders
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		attempt()
		if stats(t, db).Group.Riders > before {
			return
		}
	}
	t.Fatalf("no statement has shared a connection: %+v", stats(t, db).Group)
}

// result is all that a query returns: columns and their types, values and their Go types.
type result struct {
	columns []string
	types   []string
	rows    [][]any
}

func resultOf(ctx context.Context, db *sql.DB, query string, args ...any) (r result, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	if r.columns, err = rows.Columns(); err != nil {
		return r, err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return r, err
	}
	for _, ct := range types {
		length, hasLength := ct.Length()
		r.types = append(r.types, fmt.Sprint(ct.DatabaseTypeName(), ct.ScanType(), length, hasLength))
	}
	for rows.Next() {
		row, places := make([]any, len(r.columns)), make([]any, len(r.columns))
		for i := range row {
			places[i] = &row[i]
		}
		if err := rows.Scan(places...); err != nil {
			return r, err
		}
		r.rows = append(r.rows, row)
	}
	return r, rows.Err()
}

func TestAGroupReturnsWhatTheServerReturns(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=1")
	outside(t, dsn, `create table kinds (id int8, b bool, i2 int2, i4 int4, f4 float4, f8 float8, num numeric(10,3), tx text, vc varchar(20), ch char(4),
		by bytea, d date, ts timestamp, tz timestamptz, u uuid, j jsonb, arr int4[], iv interval)`)
	outside(t, dsn, `insert into kinds values (1, true, 1, 2, 3.5, 4.25, 5.125, 'six', 'seven', 'ei', '\x0102', '2020-02-03', '2020-02-03 04:05:06.7', '2020-02-03 04:05:06.7+02',
		'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}', '{1,2,null}', '1 day 2 hours')`)
	outside(t, dsn, `insert into kinds (id) values (2)`)
	outside(t, dsn, `insert into kinds (id, b, f4, f8, tx, ch, by, d, ts, tz) values (3, false, 'nan', '-inf', '', '', '', '1970-01-01', 'infinity', '-infinity')`)
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, c := range []struct {
		query string
		args  func(i int) []any
	}{
		{"select n, name from t where id = $1", func(i int) []any { return []any{i} }},
		{"select id from t where name = $1 or id = $2 order by id", func(i int) []any { return []any{fmt.Sprintf("n%d", i), int64(i + 1)} }},
		{"select * from t where id < $1 order by id", func(i int) []any { return []any{int32(10 * i)} }},
		{"select count(*), max(n) from t where n > $1", func(i int) []any { return []any{float64(i)} }},
		{"select * from kinds order by id limit $1", func(i int) []any { return []any{i % 4} }},
		{"select * from kinds where b = $1 order by id", func(i int) []any { return []any{[]any{true, false, nil}[i%3]} }},
		{"select id from kinds where d < $1 order by id", func(i int) []any { return []any{time.Date(1970+i*20, 1, 1, 0, 0, 0, 0, time.UTC)} }},
		{"select name from t order by id limit 3", func(int) []any { return nil }},
	} {
		t.Run(c.query, func(t *testing.T) {
			untilRidden(t, db, func() {
				var calls []func()
				for i := range 8 {
					calls = append(calls, func() {
						want, err := resultOf(t.Context(), plain, c.query, c.args(i)...)
						if err != nil {
							t.Error(err)
						}
						got, err := resultOf(t.Context(), db, c.query, c.args(i)...)
						if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || !reflect.DeepEqual(got.types, want.types) {
							t.Errorf("%d: %v (%v)\nis not %v", i, got, err, want)
						}
					})
				}
				together(t, db, 1, func() { _, _ = resultOf(t.Context(), db, c.query, c.args(1)...) }, calls...)
			})
		})
	}
}

func TestAPreparedStatementMayShareAConnection(t *testing.T) {
	db, _ := groupDB(t, "pool_max_conns=1")
	for range 3 { // and is prepared again after it was closed
		st, err := db.Prepare("select n from t where id = $1")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(i int) {
			var n int
			if err := st.QueryRow(i).Scan(&n); err != nil || n != i*i {
				t.Errorf("%d: %d, %v", i, n, err)
			}
		}
		untilRidden(t, db, func() {
			together(t, db, 1, func() { ask(1) }, func() { ask(2) }, func() { ask(3) }, func() { ask(4) })
		})
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnErrorInAGroupIsItsStatementsAlone(t *testing.T) {
	db, _ := groupDB(t, "pool_max_conns=1")
	const query = "select 100 / (id - 5) from t where id between $1 and $1 + 1 order by id"
	untilRidden(t, db, func() {
		var calls []func()
		for i := range 9 {
			calls = append(calls, func() {
				got, err := resultOf(t.Context(), db, query, i+1)
				if i+1 == 4 || i+1 == 5 {
					if pgErr, ok := err.(*pgconn.PgError); !ok || pgErr.Code != "22012" { //nolint:errorlint // it must not be wrapped
						t.Errorf("%d: %T %v", i+1, err, err)
					}
					return
				}
				if err != nil || len(got.rows) != 2 {
					t.Errorf("%d: %v, %v", i+1, got, err)
				}
			})
		}
		together(t, db, 1, func() { _, _ = resultOf(t.Context(), db, query, 20) }, calls...)
	})
	for i := range 3 {
		if err := db.Ping(); err != nil {
			t.Error(i, err)
		}
	}
}

func TestAChangedTableBreaksNoGroup(t *testing.T) {
	db, _ := groupDB(t, "pool_max_conns=1")
	const query = "select * from t where id = $1"
	ask := func() {
		if got, err := resultOf(t.Context(), db, query, 3); err != nil || len(got.rows) != 1 {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, change := range []string{
		"select 1", "alter table t add column y int", "alter table t alter column y type text", "drop table t; create table t as select 3::int4 as id",
	} {
		attempts := 0
		untilRidden(t, db, func() {
			for range 6 {
				ask()
			}
			tx := mustBegin(t, db)
			if attempts++; attempts == 1 {
				mustExec(t, tx, change)
			}
			var done sync.WaitGroup
			for range 4 {
				done.Go(ask)
			}
			eventually(t, "all wait", func() bool { return stats(t, db).Limiter.Queued == 4 })
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			done.Wait()
		})
	}
	// What is prepared for groups is gone, and for pgx too, which does not notice at once.
	mustExec(t, db, "deallocate all")
	eventually(t, "pgx has prepared its own again", func() bool {
		_, err := resultOf(t.Context(), db, query, 3)
		return err == nil
	})
	untilRidden(t, db, func() { together(t, db, 1, ask, ask, ask, ask, ask) })
}

func TestALargeResultDoesNotStayInMemory(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=1")
	outside(t, dsn, "insert into t select i, i * i, repeat('x', 100) from generate_series(1000, 1999) i")
	const query = "select id, name from t where id < $1"
	rows := func(limit, want int) func() {
		return func() {
			if got, err := resultOf(t.Context(), db, query, limit); err != nil || len(got.rows) != want {
				t.Errorf("%d rows, not %d: %v", len(got.rows), want, err)
			}
		}
	}
	before := stats(t, db).Group
	untilRidden(t, db, func() {
		together(t, db, 1, rows(2, 1), rows(11, 10), rows(11, 10), rows(5000, 1200), rows(11, 10))
	})
	if now := stats(t, db).Group; now.Alone == before.Alone {
		t.Errorf("%+v", now)
	}
}

func TestTheResultsOfOneGroupHaveABoundTogether(t *testing.T) {
	db, dsn := groupDB(t, "pool_max_conns=1")
	outside(t, dsn, "update t set name = repeat('x', 60000)") // four of them fit
	read := func() {
		if got, err := resultOf(t.Context(), db, "select name from t where id = $1", 3); err != nil || len(got.rows) != 1 {
			t.Errorf("%v", err)
		}
	}
	before := stats(t, db).Group
	for limit := time.Now().Add(30 * time.Second); stats(t, db).Group.Alone == before.Alone; {
		if time.Now().After(limit) {
			t.Fatalf("%+v", stats(t, db).Group)
		}
		together(t, db, 1, read, read, read, read, read, read, read)
	}
}

func TestNothingIsPreparedForNobody(t *testing.T) {
	db, _ := groupDB(t, "pool_max_conns=1")
	read := func() {
		if _, err := resultOf(t.Context(), db, "select n from t where id = $1", 3); err != nil {
			t.Error(err)
		}
	}
	inTx := func() {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		_ = tx.Rollback()
	}
	prepared := func() (n int) {
		if err := db.QueryRowContext(t.Context(), "select count(*) from pg_prepared_statements where name like 'lifeguard%'").Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	for range 5 { // the reader leads, with a transaction next
		together(t, db, 1, read, read, inTx, inTx)
	}
	if n := prepared(); n != 0 {
		t.Errorf("%d statements are prepared", n)
	}
	untilRidden(t, db, func() { together(t, db, 1, read, read, read, read) })
	if n := prepared(); n != 1 {
		t.Errorf("%d statements are prepared", n)
	}
}
