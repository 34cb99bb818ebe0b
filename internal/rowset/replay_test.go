package rowset_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// recordingConn is a driver.Conn whose results are recorded, encoded, parsed, and
// replayed. What it does not intercept is plain stdlib.
type recordingConn struct {
	*stdlib.Conn

	replay func(context.Context, *pgx.Conn, string, []any) (driver.Rows, error)
}

func (c recordingConn) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	args := []any{pgx.QueryResultFormatsByOID(rowset.Formats())}
	for _, arg := range named {
		args = append(args, arg.Value)
	}
	return c.replay(ctx, c.Conn.Conn(), query, args)
}

func (c recordingConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, errors.New("not part of these tests")
}

type connector struct {
	driver.Connector

	replay func(context.Context, *pgx.Conn, string, []any) (driver.Rows, error)
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	std, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T", conn)
	}
	return recordingConn{std, c.replay}, nil
}

// A replayer is a way from a result to driver.Rows.
type replayer func(context.Context, *pgx.Conn, string, []any) (driver.Rows, error)

// record reads the result as far as the limits allow. live is nil if that was the end.
func record(ctx context.Context, conn *pgx.Conn, query string, args []any, maxRows int) (prefix *rowset.Set, live pgx.Rows, err error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, nil, err
	}
	b := rowset.NewBuilder(rowset.NewColumns(rows.FieldDescriptions()), maxRows, 1<<30)
	first := true
	for rows.Next() {
		if first { // before that, the columns are not known with every protocol
			b = rowset.NewBuilder(rowset.NewColumns(rows.FieldDescriptions()), maxRows, 1<<30)
			first = false
		}
		if !b.Add(rows.RawValues()) {
			return b.Set(pgconn.CommandTag{}), rows, nil
		}
	}
	rows.Close()
	if first {
		b = rowset.NewBuilder(rowset.NewColumns(rows.FieldDescriptions()), maxRows, 1<<30)
	}
	return b.Set(rows.CommandTag()), nil, rows.Err()
}

// replayed gives the result from memory, after a trip through the encoding.
func replayed(maps *rowset.Maps) replayer {
	return func(ctx context.Context, conn *pgx.Conn, query string, args []any) (driver.Rows, error) {
		set, _, err := record(ctx, conn, query, args, 1<<30) //nolint:sqlclosecheck // read to its end
		if err != nil && set != nil && set.Len() > 0 {       // what the leader of a failed fetch reads
			return rowset.NewReader(set, ended{err}, conn.TypeMap(), false), nil
		}
		if err != nil {
			return nil, err
		}
		if set, err = rowset.Parse(set.AppendBinary(nil)); err != nil {
			return nil, err
		}
		return set.Rows(maps), nil
	}
}

// madeReady gives the result from memory with its values made.
func madeReady(maps *rowset.Maps) replayer {
	return func(ctx context.Context, conn *pgx.Conn, query string, args []any) (driver.Rows, error) {
		rows, err := replayed(maps)(ctx, conn, query, args)
		plain, ok := rows.(*rowset.Rows)
		if !ok {
			return rows, err
		}
		made := new(rowset.Set)
		if !plain.Of().Ready(made, maps) {
			return rows, nil // its error is each replay's
		}
		return made.Rows(maps), nil
	}
}

// readOn records n rows, and reads on over the connection.
func readOn(n int) replayer {
	return func(ctx context.Context, conn *pgx.Conn, query string, args []any) (driver.Rows, error) {
		prefix, live, err := record(ctx, conn, query, args, n) //nolint:sqlclosecheck // the Reader closes it
		if err != nil && (prefix == nil || prefix.Len() == 0) {
			return nil, err
		}
		if live == nil {
			return rowset.NewReader(prefix, ended{err}, conn.TypeMap(), false), nil
		}
		return rowset.NewReader(prefix, live, conn.TypeMap(), true), nil
	}
}

// ended is a live result that gives no more rows, and err.
type ended struct{ err error }

func (ended) Next() bool          { return false }
func (ended) RawValues() [][]byte { return nil }
func (e ended) Err() error        { return e.err }
func (ended) Close()              {}

// side opens a database whose results go through replay; nil is plain stdlib.
func side(t testing.TB, cfg *pgx.ConnConfig, replay replayer, opts ...stdlib.OptionOpenDB) *sql.DB {
	t.Helper()
	c := stdlib.GetConnector(*cfg, opts...)
	if replay != nil {
		c = connector{c, replay}
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// drain reads driver.Rows to their end, as text.
func drain(rows driver.Rows) string {
	out := fmt.Sprintf("%q", rows.Columns())
	for {
		dest := make([]driver.Value, len(rows.Columns()))
		err := rows.Next(dest)
		if errors.Is(err, io.EOF) {
			return out + fmt.Sprint(" end ", rows.Close())
		}
		if err != nil {
			return out + fmt.Sprintf(" %v (%v)", err, rows.Close())
		}
		out += "\n"
		for _, v := range dest {
			out += fmt.Sprintf(" %T(%v)", v, v)
		}
	}
}

// connect opens a connection for one test.
func connect(t testing.TB, cfg *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
