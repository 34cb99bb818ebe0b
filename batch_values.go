package lifeguard

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// maxParams is how many parameters PostgreSQL's protocol can count.
const maxParams = 65535

// valuesSender writes a part by INSERT … VALUES with many rows, over database/sql alone:
// what is left on a *sql.DB of another driver, a test's double among them. The parameters
// are numbered: $1, $2 and so on.
type valuesSender struct {
	db      *sql.DB
	columns int
	insert  string // up to VALUES
	clause  string // after them
}

// newValuesTarget takes the columns from the rows' type, as the catalog may not be one.
func newValuesTarget(b *batch) (*batchTarget, error) {
	t := &batchTarget{names: b.cfg.Columns}
	if len(t.names) == 0 {
		t.names = b.shape.offered()
	}
	if err := checkColumns(slices.Concat(t.names, b.cfg.OnConflict.Keys, b.cfg.OnConflict.Update)); err != nil {
		return nil, err
	}
	if len(t.names) == 0 || len(t.names) > maxParams {
		return nil, fmt.Errorf("lifeguard: %d columns cannot be inserted", len(t.names))
	}
	if !b.shape.slice {
		for _, name := range t.names {
			field, err := b.shape.field(name)
			if err != nil {
				return nil, err
			}
			t.fields = append(t.fields, field)
		}
	}
	t.sender = &valuesSender{
		db: b.db, columns: len(t.names),
		insert: "insert into " + b.table.String() + " (" + quoteColumns(t.names) + ") values ",
		clause: b.cfg.OnConflict.clause(t.names),
	}
	return t, nil
}

// args takes a row apart into parameters that no later change of the row reaches, and
// says about how large they are.
func (t *batchTarget) args(shape *rowShape, p unsafe.Pointer) (args []any, size int, err error) {
	if shape.slice {
		args = slices.Clone(*(*[]any)(p))
		if len(args) != len(t.names) {
			return nil, 0, fmt.Errorf("lifeguard: the row has %d values for %d columns", len(args), len(t.names))
		}
	} else {
		if p, err = shape.structAt(p); err != nil {
			return nil, 0, err
		}
		for _, f := range t.fields {
			args = append(args, reflect.NewAt(f.typ, unsafe.Add(p, f.offset)).Elem().Interface())
		}
	}
	for i, arg := range args {
		size += 32
		v, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			if _, ok := arg.(driver.Valuer); ok {
				return nil, 0, &ColumnError{Column: t.names[i], PgType: "unknown", GoType: fmt.Sprintf("%T", arg), Err: err}
			}
			continue // the driver may know it
		}
		switch v := v.(type) {
		case []byte:
			args[i] = slices.Clone(v)
			size += len(v)
		case string:
			args[i] = v
			size += len(v)
		default:
			args[i] = v
		}
	}
	return args, size, nil
}

func (s *valuesSender) send(ctx context.Context, ch *chunk, p part) (recovered bool, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // after Commit it does nothing
	var rows []int
	p.all(func(i int) { rows = append(rows, i) })
	for some := range slices.Chunk(rows, maxParams/s.columns) {
		args := make([]any, 0, len(some)*s.columns)
		for _, i := range some {
			args = append(args, ch.args[i]...)
		}
		if _, err := tx.ExecContext(ctx, s.query(len(some)), args...); err != nil {
			return false, refusedUnlessLost(ctx, err)
		}
	}
	if err := tx.Commit(); err != nil {
		var state interface{ SQLState() string }
		if errors.As(err, &state) {
			return false, err // the server answered
		}
		return false, fmt.Errorf("%w: %w", ErrBatchUncertain, err)
	}
	return false, nil
}

func (s *valuesSender) query(rows int) string {
	var sb strings.Builder
	sb.WriteString(s.insert)
	for i := range rows * s.columns {
		switch {
		case i == 0:
			sb.WriteString("($")
		case i%s.columns == 0:
			sb.WriteString("), ($")
		default:
			sb.WriteString(", $")
		}
		sb.WriteString(strconv.Itoa(i + 1))
	}
	sb.WriteString(")")
	sb.WriteString(s.clause)
	return sb.String()
}

// refusedUnlessLost marks what seems to be the rows' fault: drivers without SQLSTATEs do
// not say more.
func refusedUnlessLost(ctx context.Context, err error) error {
	var state interface{ SQLState() string }
	var netErr net.Error
	if ctx.Err() != nil || errors.As(err, &state) || errors.As(err, &netErr) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return &refusedError{err}
}
