package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Histories are more than one call; each is told as a transcript.
func TestTransparencyOfHistories(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	for _, mode := range execModes {
		t.Run(mode, func(t *testing.T) {
			s := openSides(t, dsn, "default_query_exec_mode="+mode)
			ctx := context.WithValue(t.Context(), lookout{}, observer(t, dsn))
			for name, history := range histories {
				s.same(t, name, func(db *sql.DB) string {
					if _, err := db.ExecContext(ctx, "delete from written"); err != nil {
						return showError(err)
					}
					return history(ctx, db)
				})
			}
		})
	}
}

var histories = map[string]func(context.Context, *sql.DB) string{
	"a transaction commits": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", 1)) + showError(tx.Commit()) + showError(tx.Commit()) + showError(tx.Rollback()) +
				showResult(tx.ExecContext(ctx, "select 1")) + queryTranscript(ctx, tx, "select 1", nil)
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a transaction rolls back": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", 1)) + showError(tx.Rollback()) + showError(tx.Rollback()) + showError(tx.Commit())
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a failed transaction commits": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "insert into written values (1, 'x'), ($1, 'y')", 1)) + showResult(tx.ExecContext(ctx, "select 1")) +
				queryTranscript(ctx, tx, "select $1::int", []any{1}) + showError(tx.Commit()) + showError(tx.Rollback())
		}) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"a savepoint": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "savepoint s")) + showResult(tx.ExecContext(ctx, "select 1/0")) + showResult(tx.ExecContext(ctx, "rollback to s")) +
				queryTranscript(ctx, tx, "select 1", nil) + showError(tx.Commit())
		})
	},
	"isolation": func(ctx context.Context, db *sql.DB) string {
		var b strings.Builder
		for level := sql.LevelDefault; level <= sql.LevelLinearizable+1; level++ {
			for _, readOnly := range []bool{false, true} {
				b.WriteString(inTx(ctx, db, &sql.TxOptions{Isolation: level, ReadOnly: readOnly}, func(tx *sql.Tx) string {
					return queryTranscript(ctx, tx, "show transaction_isolation", nil) + queryTranscript(ctx, tx, "show transaction_read_only", nil) +
						showResult(tx.ExecContext(ctx, "insert into written values ($1, 'x')", level)) + showError(tx.Commit())
				}))
			}
		}
		return b.String()
	},
	"a context ends before": func(ctx context.Context, db *sql.DB) string {
		done, cancel := context.WithCancel(ctx)
		cancel()
		_, prepareErr := db.PrepareContext(done, "select 1")
		_, connErr := db.Conn(done)
		return queryTranscript(done, db, "select 1", nil) + showResult(db.ExecContext(done, "select 1")) + inTx(done, db, nil, func(*sql.Tx) string { return "began" }) +
			showError(db.PingContext(done)) + showError(prepareErr) + showError(connErr)
	},
	"a deadline passes during": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return showResult(db.ExecContext(short, "select pg_sleep(5)")) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a deadline passes during a query": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return queryTranscript(short, db, "select pg_sleep(5), $1::int", []any{1}) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a cancellation arrives during": func(ctx context.Context, db *sql.DB) string {
		short, stop := endingAsleep(ctx, context.Canceled)
		defer stop()
		return showResult(db.ExecContext(short, "select pg_sleep($1)", 5)) + queryTranscript(ctx, db, "select 1", nil)
	},
	"a context ends in a transaction's statement": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			short, stop := endingAsleep(ctx, context.DeadlineExceeded)
			defer stop()
			return showResult(tx.ExecContext(short, "select pg_sleep(5)")) + showResult(tx.ExecContext(ctx, "select 1")) + queryTranscript(ctx, tx, "select 1", nil) + showError(tx.Commit())
		})
	},
	"a context ends in a transaction's statement, rollback": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			short, stop := endingAsleep(ctx, context.DeadlineExceeded)
			defer stop()
			return showResult(tx.ExecContext(short, "select pg_sleep(5)")) + showError(tx.Rollback())
		})
	},
	"a context ends on a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		short, stop := endingAsleep(ctx, context.DeadlineExceeded)
		defer stop()
		return showResult(conn.ExecContext(short, "select pg_sleep(5)")) + showResult(conn.ExecContext(ctx, "select 1")) + showResult(conn.ExecContext(ctx, "select 1")) + showError(conn.Close())
	},
	"the server cancels": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "set local statement_timeout = 20")) + showResult(tx.ExecContext(ctx, "select pg_sleep(5)")) + showError(tx.Rollback())
		})
	},
	"the server ends the session": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return showResult(conn.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid())")) + showResult(conn.ExecContext(ctx, "select 1")) +
			showResult(conn.ExecContext(ctx, "select 1")) + showError(conn.Close()) + queryTranscript(ctx, db, "select 1", nil)
	},
	"the server ends the session in a transaction": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			return showResult(tx.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid())")) + showResult(tx.ExecContext(ctx, "select 1")) + showError(tx.Commit()) + showError(tx.Rollback())
		})
	},
	"the server ends the session under rows": func(ctx context.Context, db *sql.DB) string {
		rows, err := db.QueryContext(ctx, "select case when n = 3000 then pg_terminate_backend(pg_backend_pid()) end from generate_series(1, 1000000) n")
		if err != nil {
			return showError(err)
		}
		defer rows.Close()
		for rows.Next() {
			continue
		}
		return showError(rows.Err()) + showError(rows.Close()) + queryTranscript(ctx, db, "select 1", nil)
	},
	"rows are open in a transaction": func(ctx context.Context, db *sql.DB) string {
		return inTx(ctx, db, nil, func(tx *sql.Tx) string {
			rows, err := tx.QueryContext(ctx, "select generate_series(1, 3)")
			if err != nil {
				return showError(err)
			}
			defer rows.Close()
			rows.Next()
			busy := showResult(tx.ExecContext(ctx, "select 1")) + showResult(tx.ExecContext(ctx, "select $1::int", 1))
			_, prepareErr := tx.PrepareContext(ctx, "select 2")
			n := 1
			for rows.Next() {
				n++
			}
			return busy + fmt.Sprint(n, " rows ") + showError(prepareErr) + showError(rows.Err()) + showError(rows.Close()) + showResult(tx.ExecContext(ctx, "select 1")) + showError(tx.Commit())
		})
	},
	"a statement outlives": func(ctx context.Context, db *sql.DB) string {
		st, err := db.PrepareContext(ctx, "select $1::int")
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		first := stmtTranscript(ctx, st, []any{1}) + stmtTranscript(ctx, st, nil) + stmtTranscript(ctx, st, []any{1, 2}) + stmtTranscript(ctx, st, []any{"x"}) +
			stmtTranscript(ctx, st, []any{pgx.QueryExecModeSimpleProtocol, 1})
		_ = st.Close()
		return first + stmtTranscript(ctx, st, []any{1}) + showError(st.Close())
	},
	"preparing what cannot be": func(ctx context.Context, db *sql.DB) string {
		var b strings.Builder
		for _, query := range []string{"selec 1", "select nope", "select 1; select 2", "", "create table passing (n int); drop table passing", "select $1", "select $3::int"} {
			st, err := db.PrepareContext(ctx, query)
			b.WriteString(showError(err))
			if err == nil {
				b.WriteString(stmtTranscript(ctx, st, nil) + showError(st.Close()))
			}
		}
		return b.String()
	},
	"statements of a transaction end with it": func(ctx context.Context, db *sql.DB) string {
		var st *sql.Stmt
		told := inTx(ctx, db, nil, func(tx *sql.Tx) string {
			var err error
			if st, err = tx.PrepareContext(ctx, "select $1::int"); err != nil {
				return showError(err)
			}
			return stmtTranscript(ctx, st, []any{1}) + showError(tx.Commit()) + stmtTranscript(ctx, st, []any{1})
		})
		return told + showError(st.Close())
	},
	"a statement of a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		st, err := conn.PrepareContext(ctx, "select $1::text")
		if err != nil {
			return showError(err)
		}
		told := stmtTranscript(ctx, st, []any{"x"})
		return told + showError(st.Close()) + showError(conn.Close()) + stmtTranscript(ctx, st, []any{"x"}) + showError(conn.PingContext(ctx)) + showError(conn.Close())
	},
	"a temporary table in a conn": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return showResult(conn.ExecContext(ctx, "create temp table scratch (n int)")) + showResult(conn.ExecContext(ctx, "insert into scratch values ($1)", 1)) +
			queryTranscript(ctx, conn, "select * from scratch", nil) + showResult(conn.ExecContext(ctx, "drop table scratch")) + showError(conn.Close())
	},
	"a transaction on a conn, then more": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			return showError(err)
		}
		return endNested(ctx, conn) + queryTranscript(ctx, tx, "show transaction_isolation", nil) + showError(tx.Commit()) + queryTranscript(ctx, conn, "show transaction_isolation", nil) + showError(conn.Close())
	},
	"a transaction begun by hand": func(ctx context.Context, db *sql.DB) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, "begin")
		told := showError(err) + showResult(conn.ExecContext(ctx, "insert into written values (5, 'x')"))
		return told + endNested(ctx, conn) + showError(conn.Close()) + queryTranscript(ctx, db, "select * from written", nil)
	},
	"many statements in one exec": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "insert into written values (1, 'a'); insert into written values (2, 'b'), (3, 'c'); update written set t = 'z' where id > 1")) +
			showResult(db.ExecContext(ctx, "insert into written values (4, 'a'); insert into written values (1, 'twice')")) + queryTranscript(ctx, db, "select * from written order by id", nil)
	},
	"a query is closed early": func(ctx context.Context, db *sql.DB) string {
		rows, err := db.QueryContext(ctx, "select 1/(n - 50000) from generate_series(1, 100000) n")
		if err != nil {
			return showError(err)
		}
		rows.Next()
		return showError(rows.Close()) + showError(rows.Err()) + showError(rows.Close())
	},
	"a raised notice inside a function": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "create or replace function noisy() returns int language plpgsql as 'begin raise warning ''hm''; return 1; end'")) +
			queryTranscript(ctx, db, "select noisy()", nil)
	},
	"serialization fails": func(ctx context.Context, db *sql.DB) string {
		repeatable := &sql.TxOptions{Isolation: sql.LevelRepeatableRead}
		return showResult(db.ExecContext(ctx, "insert into written values (1, 'a')")) + inTx(ctx, db, repeatable, func(a *sql.Tx) string {
			return queryTranscript(ctx, a, "select t from written", nil) + showResult(db.ExecContext(ctx, "update written set t = 'b'")) +
				showResult(a.ExecContext(ctx, "update written set t = $1", "c")) + showError(a.Commit())
		})
	},
	"errors that name things": func(ctx context.Context, db *sql.DB) string {
		return showResult(db.ExecContext(ctx, "insert into things (id) values ($1)", 1)) + showResult(db.ExecContext(ctx, "insert into things (id, t) values ($1, $2)", nil, "x")) +
			queryTranscript(ctx, db, "select id from things where id = $1", []any{"not a number"})
	},
}

// lookout is the key of the connection that sees what the server does for a history.
type lookout struct{}

// endingAsleep returns a context that ends with err when the server executes pg_sleep.
// A timer could be faster than the statement on its way there, and that is another
// history.
func endingAsleep(ctx context.Context, err error) (asleep context.Context, stop func()) {
	out := ctx.Value(lookout{}).(*pgx.Conn) //nolint:errcheck // TestTransparencyOfHistories puts it there
	watching, cancel := context.WithCancel(ctx)
	await := func(sleepers int) error {
		for n := -1; n != sleepers; {
			const count = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
			if err := out.QueryRow(watching, count).Scan(&n); err != nil {
				return err // stopped
			}
		}
		return nil
	}
	e := &endingContext{Context: ctx, err: err, done: make(chan struct{})}
	if await(0) != nil { // an earlier history's is cancelled, but not yet gone
		return e, cancel
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if await(1) == nil {
			close(e.done)
		}
	}()
	return e, func() { cancel(); <-watched }
}

// endingContext has a deadline that passes when done is closed.
type endingContext struct {
	context.Context
	err  error
	done chan struct{}
}

func (e *endingContext) Done() <-chan struct{} { return e.done }

func (e *endingContext) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return e.Context.Err()
	}
}

// endNested begins a transaction inside a transaction, which PostgreSQL only warns of.
func endNested(ctx context.Context, conn *sql.Conn) string {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return showError(err)
	}
	return showError(tx.Rollback())
}

func inTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, do func(*sql.Tx) string) string {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return showError(err)
	}
	defer tx.Rollback()
	return do(tx)
}
