package lifeguard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"sync"
	"unsafe"

	"github.com/jackc/pgx/v5"
)

// An Execer is what [CopyInto] copies through: a *sql.Tx, a *sql.Conn or a *sql.DB on
// Lifeguard or on pgx/stdlib. GORM's and Bun's transactions hold a *sql.Tx.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

var (
	_ Execer = (*sql.DB)(nil)
	_ Execer = (*sql.Conn)(nil)
	_ Execer = (*sql.Tx)(nil)
)

// CopyInto copies rows into a table as part of the caller's transaction, with one COPY,
// and returns how many. For the types of rows and the names of tables see
// [BatchInserter]; rows of []any have the table's columns in their order, without those
// that the server fills itself. See [slices.Values] for a slice.
//
// Nothing is collected: memory does not grow with the rows. Nothing is tried again either,
// and no row is left out: an error means that none of the rows are in, and that the
// transaction can only be rolled back, perhaps to a savepoint. rows is called in another
// goroutine, and must not use the transaction.
func CopyInto[T any](ctx context.Context, tx Execer, table string, rows iter.Seq[T]) (int64, error) {
	name, err := parseTableName(table)
	if err != nil {
		return 0, err
	}
	shape := &rowShape{typ: reflect.TypeFor[T](), slice: true}
	if shape.typ != reflect.TypeFor[[]any]() {
		if shape, err = shapeOf(shape.typ, nil); err != nil {
			return 0, err
		}
	}
	c := &copyInto{name: name, shape: shape, open: func(plan *rowPlan) *copyStream { return newCopyStream(plan, rows) }}
	_, err = tx.ExecContext(ctx, "copy "+name.String()+" from stdin", c)
	switch {
	case c.err != nil:
		return 0, c.err
	case err != nil:
		return 0, err
	case !c.done:
		return 0, fmt.Errorf("lifeguard: CopyInto needs a connection of Lifeguard or pgx/stdlib, not through a %T on another driver", tx)
	}
	return c.copied, nil
}

// copyInto does the copying when pgx asks it to rewrite the query: database/sql hands a
// *sql.Tx's connection to nobody, but the arguments of a statement come through, and pgx
// calls a QueryRewriter with the connection, before it sends anything.
type copyInto struct {
	name   tableName
	shape  *rowShape
	open   func(*rowPlan) *copyStream
	copied int64
	done   bool
	err    error
}

var _ pgx.QueryRewriter = (*copyInto)(nil)

// doesWhatItsTextSays implements knownRewriter.
func (*copyInto) doesWhatItsTextSays() {}

// RewriteQuery implements pgx.QueryRewriter. What is left to send is nothing.
func (c *copyInto) RewriteQuery(ctx context.Context, conn *pgx.Conn, _ string, _ []any) (string, []any, error) {
	c.copied, c.err = c.copy(ctx, conn)
	c.done = c.err == nil
	return "", nil, c.err
}

func (c *copyInto) copy(ctx context.Context, conn *pgx.Conn) (int64, error) {
	plan, err := c.plan(ctx, conn)
	if err != nil {
		return 0, err
	}
	stream := c.open(plan)
	tag, err := conn.PgConn().CopyFrom(ctx, stream, plan.copySQL(plan.table.name.String()))
	if failure := stream.end(); failure != nil {
		return 0, failure // the server only knows that COPY was broken off
	}
	if err != nil && ctx.Err() != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	return tag.RowsAffected(), err
}

func (c *copyInto) plan(ctx context.Context, conn *pgx.Conn) (*rowPlan, error) {
	if !c.shape.slice {
		return planRows(ctx, conn, c.name, c.shape, nil)
	}
	table, err := lookUpTable(ctx, conn, c.name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, column := range table.columns {
		names = append(names, column.name)
	}
	columns, err := table.chosen(nil, names)
	if err != nil {
		return nil, err
	}
	binary, err := table.loadTypes(ctx, conn, columns)
	if err != nil {
		return nil, err
	}
	return newRowPlan(c.shape, table, columns, binary)
}

// copyStream encodes rows as pgconn reads them. As with chunkReader, a Read may come after
// CopyFrom has returned.
type copyStream struct {
	plan *rowPlan
	next func() ([]byte, error) // encodes rows onto the buffer given; errNoMoreRows with the last

	mu    sync.Mutex // guards the rest, and is held while rows are pulled
	stop  func()
	buf   []byte // encoded
	rest  []byte // of buf, not yet read
	err   error  // that of a row
	ended bool
	last  bool // the trailer is in buf
}

var errNoMoreRows = errors.New("no more rows")

// streamBytes is about how much is encoded at a time: one message of pgconn.
const streamBytes = 60 << 10

func newCopyStream[T any](plan *rowPlan, rows iter.Seq[T]) *copyStream {
	pull, stop := iter.Pull(rows)
	s := &copyStream{plan: plan, stop: stop, buf: append(make([]byte, 0, streamBytes+4<<10), plan.header()...)}
	row := new(T)
	s.next = func() (buf []byte, err error) {
		buf = s.buf
		for len(buf) < streamBytes {
			var ok bool
			if *row, ok = pull(); !ok {
				return append(buf, plan.trailer()...), errNoMoreRows
			}
			if buf, err = plan.encode(buf, unsafe.Pointer(row)); err != nil {
				return nil, err
			}
		}
		return buf, nil
	}
	return s
}

// Read implements io.Reader.
func (s *copyStream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, io.ErrClosedPipe
	}
	if s.err != nil {
		return 0, s.err
	}
	if len(s.rest) == 0 {
		if s.last {
			return 0, io.EOF
		}
		buf, err := s.fill()
		s.last = errors.Is(err, errNoMoreRows)
		if err != nil && !s.last {
			s.err = err
			return 0, errors.New("a row cannot be encoded") // what the server is told
		}
		s.buf, s.rest = buf[:0], buf
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	if n == 0 {
		return 0, io.EOF // no rows, in the text format
	}
	return n, nil
}

// fill is next, with a panic of the caller's iterator as an error: it runs in pgconn's
// goroutine, where nobody could recover it.
func (s *copyStream) fill() (buf []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("lifeguard: the iterator of rows panicked: %v", p)
		}
	}()
	return s.next()
}

// end ends the iterator, and returns the error of a row if that is why there are no more.
func (s *copyStream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.stop()
	}
	return s.err
}
