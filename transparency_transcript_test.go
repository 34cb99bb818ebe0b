package lifeguard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// A way is one of the ways that lead from a *sql.DB to the server.
type way struct {
	name       string
	everywhere bool // in every mode and with every argument; the others differ from these in their checkout only
	run        func(ctx context.Context, db *sql.DB, query string, args ...any) string
}

type rowQuerier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

var waysToQuery = []way{
	{"DB.Query", true, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		return queryTranscript(ctx, db, query, args)
	}},
	{"DB.QueryRow", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		var v any
		err := db.QueryRowContext(ctx, query, args...).Scan(&v)
		return show(v) + " " + showError(err)
	}},
	{"DB.Exec", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		return showResult(db.ExecContext(ctx, query, args...))
	}},
	{"DB.Prepare", true, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		st, err := db.PrepareContext(ctx, query)
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		return stmtTranscript(ctx, st, args) + showResult(st.ExecContext(ctx, args...)) + showError(st.Close())
	}},
	{"Tx", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return showError(err)
		}
		defer tx.Rollback()
		return queryTranscript(ctx, tx, query, args) + showResult(tx.ExecContext(ctx, query, args...)) + showError(tx.Commit())
	}},
	{"Conn", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		conn, err := db.Conn(ctx)
		if err != nil {
			return showError(err)
		}
		defer conn.Close()
		return queryTranscript(ctx, conn, query, args) + showResult(conn.ExecContext(ctx, query, args...)) + showError(conn.Close())
	}},
	{"Tx.Stmt", false, func(ctx context.Context, db *sql.DB, query string, args ...any) string {
		st, err := db.PrepareContext(ctx, query)
		if err != nil {
			return showError(err)
		}
		defer st.Close()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return showError(err)
		}
		defer tx.Rollback()
		bound := tx.StmtContext(ctx, st)
		defer bound.Close()
		return stmtTranscript(ctx, bound, args) + showError(tx.Rollback())
	}},
}

func queryTranscript(ctx context.Context, q rowQuerier, query string, args []any) string {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return showError(err)
	}
	return rowsTranscript(rows)
}

func stmtTranscript(ctx context.Context, st *sql.Stmt, args []any) string {
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return showError(err)
	}
	return rowsTranscript(rows)
}

// destinations are what a value is read into. That a megabyte is no number says database/sql,
// in an error that quotes it: those are for short ones.
var destinations = []struct {
	into  func() any
	short bool
}{
	{into: func() any { return new(any) }},
	{into: func() any { return new(string) }},
	{into: func() any { return new([]byte) }},
	{into: func() any { return new(int64) }, short: true},
	{into: func() any { return new(float64) }, short: true},
	{into: func() any { return new(bool) }, short: true},
	{into: func() any { return new(time.Time) }, short: true},
	{into: func() any { return new(sql.NullString) }},
	{into: func() any { return new(*int32) }, short: true},
	{into: func() any { return new([]int64) }, short: true},
	{into: func() any { return new(pgtype.Text) }},
	{into: func() any { return new(sql.RawBytes) }}, // the last: database/sql allows no Scan after it
}

// rowsTranscript reads everything that database/sql offers about a result.
func rowsTranscript(rows *sql.Rows) string {
	defer rows.Close()
	var b strings.Builder
	columns, err := rows.Columns()
	fmt.Fprintf(&b, "columns %q %s", columns, showError(err))
	types, err := rows.ColumnTypes()
	fmt.Fprint(&b, showError(err))
	for _, ct := range types {
		length, hasLength := ct.Length()
		nullable, knowsNullable := ct.Nullable()
		precision, scale, isDecimal := ct.DecimalSize()
		fmt.Fprintf(&b, "[%s %s length %d,%t nullable %t,%t decimal %d,%d,%t scan %v]", ct.Name(), ct.DatabaseTypeName(),
			length, hasLength, nullable, knowsNullable, precision, scale, isDecimal, ct.ScanType())
	}
	for n := 0; rows.Next(); n++ {
		b.WriteString("\n  ")
		if n >= 3 || len(columns) > 100 { // enough of every destination
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			fmt.Fprint(&b, showError(rows.Scan(values...)))
			for _, v := range values {
				fmt.Fprintf(&b, "(%s)", show(v))
			}
			continue
		}
		long := false
		for _, d := range destinations {
			if long && d.short {
				continue
			}
			values := make([]any, len(columns))
			for i := range values {
				values[i] = d.into()
			}
			err := rows.Scan(values...)
			if err != nil {
				fmt.Fprintf(&b, "(%T: %s)", d.into(), showError(err))
				continue
			}
			for _, v := range values {
				if s, ok := v.(*string); ok && len(*s) > 100_000 {
					long = true
				}
				fmt.Fprintf(&b, "(%s)", show(v))
			}
		}
	}
	fmt.Fprintf(&b, "\n  next result %t %s %s", rows.NextResultSet(), showError(rows.Err()), showError(rows.Close()))
	return b.String()
}

func showResult(result sql.Result, err error) string {
	if err != nil {
		return showError(err)
	}
	n, err := result.RowsAffected()
	_, noID := result.LastInsertId()
	return fmt.Sprintf("{%d rows %s id %s}", n, showError(err), showError(noID))
}

// brief stands for a long text by its length and checksum.
func brief[T string | []byte](text T) string {
	if len(text) > 500 {
		return fmt.Sprintf("%d bytes, %x", len(text), crc32.ChecksumIEEE([]byte(text)))
	}
	return strconv.Quote(string(text))
}

// show prints a value with its Go type; a pointer is followed.
func show(v any) string {
	switch v := v.(type) {
	case *any:
		return show(*v)
	case *[]byte:
		return fmt.Sprintf("[]byte %t %s", *v == nil, brief(*v))
	case []byte:
		return fmt.Sprintf("[]byte %t %s", v == nil, brief(v))
	case *sql.RawBytes:
		return "RawBytes " + brief([]byte(*v))
	case **int32:
		if *v == nil {
			return "*int32 nil"
		}
		return fmt.Sprintf("*int32 %d", **v)
	case *time.Time:
		return show(*v)
	case time.Time:
		return fmt.Sprintf("time %s in %s", v.Format(time.RFC3339Nano), v.Location())
	case float64:
		return fmt.Sprintf("float64 %x", math.Float64bits(v))
	case *float64:
		return show(*v)
	case *string:
		return "string " + brief(*v)
	case string:
		return "string " + brief(v)
	case *sql.NullString:
		return fmt.Sprintf("NullString %t %s", v.Valid, brief(v.String))
	case *pgtype.Text:
		return fmt.Sprintf("Text %t %s", v.Valid, brief(v.String))
	case *bool:
		return fmt.Sprintf("bool %t", *v)
	case *int64:
		return fmt.Sprintf("int64 %d", *v)
	}
	return fmt.Sprintf("%T %v", v, v)
}

// showError prints everything by which an application can tell errors apart.
func showError(err error) string {
	if err == nil {
		return "ok;"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "error %s is", brief(err.Error()))
	for _, target := range []error{
		driver.ErrBadConn, sql.ErrTxDone, sql.ErrConnDone, sql.ErrNoRows, context.Canceled, context.DeadlineExceeded,
		pgx.ErrTxCommitRollback, pgx.ErrTxClosed, io.EOF,
	} {
		if errors.Is(err, target) {
			fmt.Fprintf(&b, "<%v>", target)
		}
	}
	fmt.Fprintf(&b, " timeout %t retry %t", pgconn.Timeout(err), pgconn.SafeToRetry(err))
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&b, " %T", e)
	}
	if pgErr, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // GORM and golang-migrate assert like this
		fmt.Fprintf(&b, " bare %+v", *pgErr)
	}
	return b.String() + ";"
}
