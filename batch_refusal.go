package lifeguard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// A RowError says that the server refused a row. Its text holds no value of the row; the
// messages of the wrapped [*pgconn.PgError] may.
type RowError struct {
	Index   int64    // which Add the row came with, counted from 0 over the accepted ones
	Columns []string // that the error is about, as far as the server tells
	Err     error    // a *pgconn.PgError; on another driver's *sql.DB, that driver's error
}

func (e *RowError) Error() string {
	text := fmt.Sprintf("lifeguard: row %d refused", e.Index)
	if len(e.Columns) > 0 {
		text += ": column " + strings.Join(e.Columns, ", ")
	}
	var pgErr *pgconn.PgError
	if errors.As(e.Err, &pgErr) {
		if pgErr.ConstraintName != "" {
			text += ": constraint " + pgErr.ConstraintName
		}
		text += " (SQLSTATE " + pgErr.Code + ")"
	}
	return text
}

func (e *RowError) Unwrap() error { return e.Err }

// verdict says what becomes of a part that was not written.
type verdict uint8

const (
	verdictStop    verdict = iota // nothing further can be written
	verdictRetry                  // the same again
	verdictRefused                // a row of it is at fault
)

// judge tells what an error means for the part that it prevented. line is the refused
// row's, counted from 1, or 0 if the server does not tell it.
func judge(err error, table string, rows int) (v verdict, line int) {
	var state interface{ SQLState() string }
	if errors.Is(err, ErrBatchUncertain) {
		return verdictStop, 0
	}
	if !errors.As(err, &state) {
		return judgeConnection(err), 0
	}
	code := state.SQLState()
	switch {
	case passes(code):
		return verdictRetry, 0
	case strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57"), strings.HasPrefix(code, "58"):
		return verdictStop, 0 // no room, cancelled, broken disk: nothing a row can help
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		if line = copyLine(pgErr.Where, table); line > 0 && line <= rows {
			return verdictRefused, line
		}
	}
	// A row-level policy's refusal has the code of a missing permission.
	if aboutRows(code) || pgErr != nil && pgErr.Routine == "ExecWithCheckOptions" {
		return verdictRefused, 0
	}
	return verdictStop, 0
}

// passes reports whether the same statement may succeed later.
func passes(code string) bool {
	switch code {
	case "40001", "40P01", // serialisation failure, deadlock
		"53300",                   // too many connections
		"57P01", "57P02", "57P03", // shut down, crashed, starting
		"57P05", "25P03", // a time-out of an idle session
		"25006", // read only: a standby that may be promoted
		"55P03": // lock not available
		return true
	}
	return strings.HasPrefix(code, "08") // connection exceptions
}

// aboutRows reports whether an error without a line can be a row's fault: a foreign key,
// a deferred constraint, a trigger. What is not among these (no such table, no right to
// it) would come with any row.
func aboutRows(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "22", "23", "44", "54", "P0", "38", "39", "2F", "21", "09", "27":
		return true
	}
	// Codes beginning with 5 to 9 and I to Z are not the standard's; those that are not
	// PostgreSQL's either come from somebody's RAISE.
	switch code[0] {
	case '6', '7', '8', '9', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'Y', 'Z':
		return true
	}
	return false
}

// judgeConnection is judge for errors that did not come from the server: the sender
// reports them only if nothing was committed.
func judgeConnection(err error) verdict {
	var stop *stopError
	if errors.As(err, &stop) || errors.Is(err, ErrClosed) || err.Error() == "sql: database is closed" {
		return verdictStop
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return verdictRefused
	}
	return verdictRetry // overload, a socket's error, an unexpected EOF, ErrBadConn
}

// stopError marks an error that is no failure of the connection.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// refusedError marks an error of another driver that is no failure of the connection.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// bare returns the server's own error, or the other driver's.
func bare(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.err
	}
	return err
}

// copyLine reads "COPY events, line 17, column price" in PgError.Where. Only the word
// COPY and the name are the same in every language that PostgreSQL speaks. A trigger's
// context lines may stand before it.
func copyLine(where, table string) int {
	for line := range strings.Lines(where) {
		rest, ok := strings.CutPrefix(line, "COPY "+table+",")
		if !ok {
			continue
		}
		digits := strings.IndexAny(rest, "0123456789")
		if digits < 0 {
			return 0
		}
		rest = rest[digits:]
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(rest)
		}
		n, err := strconv.Atoi(rest[:end])
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}

// refusedColumns are the columns that err is about: its own, or those of its constraint.
func (b *batch) refusedColumns(err error) []string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return nil
	}
	if pgErr.ColumnName != "" {
		return []string{pgErr.ColumnName}
	}
	if b.target.plan == nil {
		return nil
	}
	if columns := b.target.plan.table.constraints[pgErr.ConstraintName]; columns != nil {
		return columns
	}
	for _, name := range b.target.names { // "COPY t, line 3, column a: …"
		if copyColumn(pgErr.Where, name) {
			return []string{name}
		}
	}
	return nil
}

// copyColumn reports whether where ends its COPY line with this column.
func copyColumn(where, name string) bool {
	for line := range strings.Lines(where) {
		parts := strings.SplitN(strings.TrimSpace(line), ", ", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[0], "COPY ") {
			continue
		}
		_, column, _ := strings.Cut(parts[2], " ")
		return column == name || strings.HasPrefix(column, name+":")
	}
	return false
}
