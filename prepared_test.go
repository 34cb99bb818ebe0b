package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// preparedTexts lists the explicitly prepared statements of the session that q leads to.
// pgx names those stmt_…, and those of its own cache stmtcache_….
func preparedTexts(t testing.TB, q interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
},
) []string {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), `select statement from pg_prepared_statements where name like 'stmt\_%' order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var texts []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}

func mustPrepare(t testing.TB, p interface {
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}, query string,
) *sql.Stmt {
	t.Helper()
	st, err := p.PrepareContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func mustClose(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustConn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func mustBegin(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(withinReason(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

var bothModes = []string{"lifeguard_mode=checkout", "lifeguard_mode=session"}

func TestAClosedStatementIsGoneFromItsConnectionsAtTheirNextLease(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=3", mode)
			db.SetMaxIdleConns(3)
			st := mustPrepare(t, db, "select $1::int + 1")
			conns := []*sql.Conn{mustConn(t, db), mustConn(t, db), mustConn(t, db)}
			for _, conn := range conns { // three sessions, each of which prepares
				tx, err := conn.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				var n int
				if err := tx.StmtContext(t.Context(), st).QueryRow(1).Scan(&n); err != nil || n != 2 { //nolint:sqlclosecheck // the transaction's end closes it
					t.Fatal(n, err)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				if texts := preparedTexts(t, conn); len(texts) != 1 {
					t.Fatalf("the test does not prepare: %q", texts)
				}
			}
			for _, conn := range conns {
				mustClose(t, conn)
			}
			mustClose(t, st)
			seen := map[int]bool{}
			for range 3 {
				conn := mustConn(t, db)
				seen[backendPID(t, conn)] = true
				if texts := preparedTexts(t, conn); len(texts) != 0 {
					t.Errorf("still prepared: %q", texts)
				}
			}
			if len(seen) != 3 {
				t.Errorf("looked at %d sessions, not 3", len(seen))
			}
		})
	}
}

func TestStatementsOfOneTextAreCounted(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=1", mode)
			db.SetMaxOpenConns(1)
			const query = "select $1::text || '!'"
			a, b := mustPrepare(t, db, query), mustPrepare(t, db, query)
			mustClose(t, a)
			if texts := preparedTexts(t, db); len(texts) != 1 {
				t.Errorf("after one of two was closed: %q", texts)
			}
			var s string
			if err := b.QueryRow("x").Scan(&s); err != nil || s != "x!" {
				t.Error(s, err)
			}
			mustClose(t, a) // twice: must not count for b
			if texts := preparedTexts(t, db); len(texts) != 1 {
				t.Errorf("after a second Close of the first: %q", texts)
			}
			mustClose(t, b)
			if texts := preparedTexts(t, db); len(texts) != 0 {
				t.Errorf("after both were closed: %q", texts)
			}
			c := mustPrepare(t, db, query)
			if err := c.QueryRow("y").Scan(&s); err != nil || s != "y!" {
				t.Error(s, err)
			}
			mustClose(t, c)
		})
	}
}

func TestAStatementThatFailsToPrepareIsNotCounted(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	for range 3 {
		if _, err := db.PrepareContext(t.Context(), "select * from later"); err == nil { //nolint:sqlclosecheck // it fails
			t.Fatal("prepared without its table")
		}
	}
	mustExec(t, db, "create table later (n int)")
	mustClose(t, mustPrepare(t, db, "select * from later"))
	if texts := preparedTexts(t, db); len(texts) != 0 {
		t.Errorf("still prepared: %q", texts)
	}
}

// A long-lived sql.Conn or Tx has no next lease, so what is closed on it must be
// deallocated without one, or a worker's session grows without bound.
func TestALongLivedConnDoesNotGatherClosedStatements(t *testing.T) {
	db := open(t)
	conn := mustConn(t, db)
	for i := range 100 {
		mustClose(t, mustPrepare(t, conn, fmt.Sprintf("select %d", i)))
	}
	if texts := preparedTexts(t, conn); len(texts) > 10 {
		t.Errorf("%d closed statements are still prepared", len(texts))
	}
}

// When the last statement of a text is closed and the text is prepared again, that is
// a new statement: types, tables and transactions may have changed in between.
func TestAClosedTextPreparedAgainIsNew(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	s := openSides(t, dsn)
	for name, history := range map[string]func(context.Context, *sql.DB) string{
		"on a pool of one, with another column type": func(ctx context.Context, db *sql.DB) string {
			db.SetMaxOpenConns(1)
			var b strings.Builder
			for _, kind := range []string{"int", "text"} {
				_, err := db.ExecContext(ctx, "drop table if exists anew; create table anew (v "+kind+")")
				b.WriteString(showError(err))
				st, err := db.PrepareContext(ctx, "insert into anew values ($1)")
				if err != nil {
					return b.String() + showError(err)
				}
				b.WriteString(showResult(st.ExecContext(ctx, "17")) + showResult(st.ExecContext(ctx, "word")) + showError(st.Close())) //nolint:sqlclosecheck // what Close says is compared
			}
			return b.String()
		},
		"a statement whose table was made anew": func(ctx context.Context, db *sql.DB) string {
			conn, err := db.Conn(ctx)
			if err != nil {
				return showError(err)
			}
			defer conn.Close()
			var b strings.Builder
			for _, kind := range []string{"int", "text"} {
				_, err := conn.ExecContext(ctx, "drop table if exists anew; create table anew (v "+kind+")")
				b.WriteString(showError(err))
				st, err := conn.PrepareContext(ctx, "insert into anew values ($1)")
				if err != nil {
					return b.String() + showError(err)
				}
				b.WriteString(showResult(st.ExecContext(ctx, "17")) + showResult(st.ExecContext(ctx, "word")) + showError(st.Close())) //nolint:sqlclosecheck // what Close says is compared
			}
			return b.String()
		},
		"a statement prepared again after deallocate all": func(ctx context.Context, db *sql.DB) string {
			conn, err := db.Conn(ctx)
			if err != nil {
				return showError(err)
			}
			defer conn.Close()
			st, err := conn.PrepareContext(ctx, "select 'deallocated'")
			if err != nil {
				return showError(err)
			}
			told := showResult(conn.ExecContext(ctx, "deallocate all")) + stmtTranscript(ctx, st, nil) + showError(st.Close()) //nolint:sqlclosecheck // what Close says is compared
			if st, err = conn.PrepareContext(ctx, "select 'deallocated'"); err != nil {
				return told + showError(err)
			}
			return told + stmtTranscript(ctx, st, nil) + showError(st.Close()) //nolint:sqlclosecheck // what Close says is compared
		},
		"preparing again in a failed transaction": func(ctx context.Context, db *sql.DB) string {
			return inTx(ctx, db, nil, func(tx *sql.Tx) string {
				st, err := tx.PrepareContext(ctx, "select 'in a failed transaction'")
				if err != nil {
					return showError(err)
				}
				_ = st.Close() //nolint:sqlclosecheck // it is prepared again
				told := showResult(tx.ExecContext(ctx, "select 1/0"))
				_, err = tx.PrepareContext(ctx, "select 'in a failed transaction'") //nolint:sqlclosecheck // it fails
				return told + showError(err) + showError(tx.Rollback())
			})
		},
	} {
		s.same(t, name, func(db *sql.DB) string { return history(t.Context(), db) })
	}
}

func TestAStatementServesManyGoroutinesOverManyConnections(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode, func(t *testing.T) {
			db := open(t, "pool_max_conns=4", mode)
			db.SetMaxIdleConns(16)
			st := mustPrepare(t, db, "select $1::int * 2")
			var wg sync.WaitGroup
			for g := range 16 {
				wg.Go(func() {
					for i := range 50 {
						var n int
						if err := st.QueryRow(i).Scan(&n); err != nil || n != 2*i {
							t.Errorf("%d × 2 is %d, %v", i, n, err)
							return
						}
						if i%10 != g%10 {
							continue
						}
						own, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d", i%5)) // comes and goes in others' hands too
						if err != nil {
							t.Error(err)
							return
						}
						if err := own.QueryRow().Scan(&n); err != nil || n != i%5 {
							t.Errorf("%d, %v", n, err)
						}
						if err := own.Close(); err != nil { //nolint:sqlclosecheck // within the loop
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for range 20 {
				for _, text := range preparedTexts(t, db) {
					if text != "select $1::int * 2" {
						t.Fatalf("%q is still prepared", text)
					}
				}
			}
		})
	}
}

// The following tests change a table under a cached plan. Each counts with a sequence
// how often its statement ran: nextval is not undone by an error.

const stalePlanSchema = `
	create table stale (id int, a text);
	insert into stale values (1, 'x');
	create sequence runs;`

// runs returns how often nextval('runs') was called since the last time.
func runs(t testing.TB, db *sql.DB) int {
	t.Helper()
	var n int
	// setval with false: the next nextval gives 1 again
	err := db.QueryRowContext(t.Context(), "select case when is_called then last_value else 0 end from runs").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "select setval('runs', 1, false)")
	return n
}

func alterStale(t testing.TB, db *sql.DB, i int) {
	t.Helper()
	mustExec(t, db, fmt.Sprintf("alter table stale add column more%d int", i))
}

func TestAStalePlanOutsideATransactionIsMadeAnewOnce(t *testing.T) {
	const query = "select *, nextval('runs') from stale where id = $1"
	const insert = "insert into stale values ($1, 'y') returning *, nextval('runs')"
	for _, mode := range bothModes {
		for _, execMode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
			t.Run(mode+"/"+execMode, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				db := openDSN(t, withSettings(dsn, "pool_max_conns=2", mode, "default_query_exec_mode="+execMode))
				other := openDSN(t, dsn)
				mustExec(t, db, stalePlanSchema)
				conn := mustConn(t, db)
				st, onConn := mustPrepare(t, db, query), mustPrepare(t, conn, query)
				insertSt := mustPrepare(t, db, insert)

				scan := func(rows *sql.Rows, err error) error {
					if err != nil {
						return err
					}
					defer rows.Close()
					for rows.Next() {
						continue
					}
					return rows.Err()
				}
				ctx := t.Context()
				//nolint:rowserrcheck // scan checks it
				calls := map[string]func() error{
					"DB.Query":       func() error { return scan(db.QueryContext(ctx, query, 1)) },
					"Conn.Query":     func() error { return scan(conn.QueryContext(ctx, query, 1)) },
					"Stmt.Query":     func() error { return scan(st.QueryContext(ctx, 1)) },
					"Conn's Stmt":    func() error { return scan(onConn.QueryContext(ctx, 1)) },
					"DB.Exec":        func() error { _, err := db.ExecContext(ctx, query, 1); return err },
					"Conn.Exec":      func() error { _, err := conn.ExecContext(ctx, query, 1); return err },
					"Stmt.Exec":      func() error { _, err := st.ExecContext(ctx, 1); return err },
					"Insert by Exec": func() error { _, err := db.ExecContext(ctx, insert, 2); return err },
					"Insert by Stmt": func() error { return scan(insertSt.QueryContext(ctx, 2)) },
				}
				changes := 0
				for name, call := range calls {
					mustExec(t, other, "delete from stale where id <> 1")
					for range 3 { // cached on whichever connection
						if err := call(); err != nil && execMode != "cache_describe" {
							t.Fatalf("%s: %v", name, err)
						}
					}
					runs(t, other)
					changes++
					alterStale(t, other, changes)
					err := call()
					if execMode == "cache_describe" && err != nil && !isStale(err) {
						t.Logf("%s: %v", name, err) // pgx itself cannot tell there; nothing to retry
						continue
					}
					if err != nil {
						t.Errorf("%s after ALTER TABLE: %v", name, err)
					}
					if n := runs(t, other); n != 1 {
						t.Errorf("%s ran %d times", name, n)
					}
				}
			})
		}
	}
}

func isStale(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "0A000"
}

func TestAStalePlanInATransactionIsReportedAsPgxDoes(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, other := openDSN(t, withSettings(dsn, "pool_max_conns=1")), openDSN(t, dsn)
	mustExec(t, db, stalePlanSchema)
	const query = "select *, nextval('runs') from stale where id = $1"
	st := mustPrepare(t, db, query)
	calls := map[string]func(*sql.Tx) error{
		"Query": func(tx *sql.Tx) error { return tx.QueryRow(query, 1).Scan(new(any)) },
		"Exec":  func(tx *sql.Tx) error { _, err := tx.Exec(query, 1); return err },
		"Stmt":  func(tx *sql.Tx) error { _, err := tx.Stmt(st).Exec(1); return err }, //nolint:sqlclosecheck // the transaction's end closes it
	}
	changes := 0
	for name, call := range calls {
		if _, err := db.Exec(query, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Exec(1); err != nil {
			t.Fatal(err)
		}
		runs(t, other)
		changes++
		alterStale(t, other, changes)
		tx := mustBegin(t, db)
		if err := call(tx); !isStale(err) {
			t.Errorf("%s in a transaction: %v", name, err)
		}
		var pgErr *pgconn.PgError
		if _, err := tx.Exec("select 1"); !errors.As(err, &pgErr) || pgErr.Code != "25P02" {
			t.Errorf("%s: the transaction goes on: %v", name, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if n := runs(t, other); n != 0 {
			t.Errorf("%s ran %d times", name, n)
		}
		if _, err := db.Exec(query, 1); err != nil {
			t.Errorf("%s: after the transaction: %v", name, err)
		}
		runs(t, other)
	}
}

func TestAStalePlanInsideAFunctionIsNotSentAgain(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	mustExec(t, db, stalePlanSchema+`
		prepare inner_plan as select * from stale;
		create function runs_a_stale_plan() returns int language plpgsql as
		$$ begin perform nextval('runs'); execute 'execute inner_plan'; return 1; end $$;`)
	mustExec(t, db, "execute inner_plan")
	alterStale(t, db, 1)
	if err := db.QueryRow("select runs_a_stale_plan(), $1::int", 1).Scan(new(any), new(any)); !isStale(err) {
		t.Errorf("error is %v", err)
	}
	if n := runs(t, db); n != 1 {
		t.Errorf("the function ran %d times", n)
	}
}

// Exec without arguments may hold several statements, some of which have run and been
// committed when a later one says 0A000. Nothing of it may be sent again.
func TestSeveralStatementsOfWhichOneIsStaleAreNotSentAgain(t *testing.T) {
	for _, execMode := range []string{"cache_statement", "simple_protocol"} {
		t.Run(execMode, func(t *testing.T) {
			db := open(t, "pool_max_conns=1", "default_query_exec_mode="+execMode)
			mustExec(t, db, stalePlanSchema+"prepare inner_plan as select * from stale")
			const several = "begin; select nextval('runs'); insert into stale (id) values (99); commit; execute inner_plan"
			for i, send := range []func() error{
				func() error { _, err := db.Exec(several); return err },
				func() error {
					rows, err := db.Query(several)
					if err != nil {
						return err
					}
					defer rows.Close()
					for rows.Next() {
						continue
					}
					return errors.Join(rows.Err(), rows.Close())
				},
			} {
				mustExec(t, db, "delete from stale where id = 99")
				mustExec(t, db, "deallocate inner_plan; prepare inner_plan as select * from stale; execute inner_plan")
				runs(t, db)
				alterStale(t, db, i)
				err := send()
				if i == 0 && !isStale(err) {
					t.Errorf("error is %v", err)
				}
				var n int
				if err := db.QueryRow("select count(*) from stale where id = 99").Scan(&n); err != nil || n > 1 {
					t.Errorf("%d rows were inserted, %v", n, err)
				}
				if n := runs(t, db); n > 1 {
					t.Errorf("it ran %d times", n)
				}
			}
		})
	}
}
