package thirdparty

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"

	"github.com/lifeguard-go/lifeguard"
)

// insistentName is Lifeguard under a name of its own: whatever the cache may keep is asked
// until something came from memory, and once more for the library. Libraries ask most questions
// once, and the first answers are always the server's.
const insistentName = "lifeguard-insistent"

// insistence is how often at most: the second time a text is analysed, and the third its result
// is kept, unless a write is under way, or the connections are leased.
const insistence = 8

func init() { //nolint:gochecknoinits // as drivers do
	sql.Register(insistentName, insistentDriver{})
}

type insistentDriver struct{ lifeguard.Driver }

// OpenConnector implements driver.DriverContext.
func (d insistentDriver) OpenConnector(dsn string) (driver.Connector, error) {
	connector, err := d.Driver.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return &insistentConnector{Connector: connector.(*lifeguard.Connector)}, nil //nolint:errcheck // it has no other
}

// insistentConnector answers Driver as Lifeguard's does, so that FromDB works.
type insistentConnector struct{ *lifeguard.Connector }

func (c *insistentConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &insistentConn{guarded: conn.(*lifeguard.Conn), connector: c.Connector}, nil //nolint:errcheck // it has no other
}

// guarded makes the embedded field leave the name of the method Conn free.
type guarded = lifeguard.Conn

type insistentConn struct {
	*guarded
	connector *lifeguard.Connector
	busy      bool // the checkout has sent something
}

// QueryContext implements driver.QueryerContext.
func (c *insistentConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.insist(ctx, query, func() (driver.Rows, error) { return c.guarded.QueryContext(ctx, query, args) })
}

func (c *insistentConn) insist(ctx context.Context, query string, ask func() (driver.Rows, error)) (driver.Rows, error) {
	if c.busy || !c.cacheable(ctx, query) {
		c.busy = true
		return ask()
	}
	before := c.connector.Stats().Cache.Hits
	for asked := 0; asked < insistence && c.connector.Stats().Cache.Hits == before; asked++ {
		rows, err := ask()
		if err != nil {
			return nil, err
		}
		values := make([]driver.Value, len(rows.Columns()))
		for err == nil {
			err = rows.Next(values)
		}
		if closed := rows.Close(); !errors.Is(err, io.EOF) || closed != nil {
			return nil, errors.Join(err, closed)
		}
		c.guarded.IsValid() // the end of a checkout
	}
	c.busy = true
	return ask()
}

// cacheable asks only of what the words allow, since a question takes a connection.
func (c *insistentConn) cacheable(ctx context.Context, query string) bool {
	if ctx.Err() != nil {
		return false
	}
	x, err := c.connector.ExplainCache(ctx, query)
	return err == nil && x.Cacheable
}

// ExecContext implements driver.ExecerContext.
func (c *insistentConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.busy = true
	return c.guarded.ExecContext(ctx, query, args)
}

// BeginTx implements driver.ConnBeginTx.
func (c *insistentConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.busy = true
	return c.guarded.BeginTx(ctx, opts)
}

// Conn is for sql.Conn.Raw.
func (c *insistentConn) Raw() driver.Conn {
	c.busy = true
	return c.guarded
}

// IsValid implements driver.Validator: it ends a checkout.
func (c *insistentConn) IsValid() bool {
	c.busy = false
	return c.guarded.IsValid()
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *insistentConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.guarded.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.busy = true
	return &insistentStmt{Stmt: stmt.(*lifeguard.Stmt), conn: c, query: query}, nil //nolint:errcheck // it has no other
}

type insistentStmt struct {
	*lifeguard.Stmt
	conn  *insistentConn
	query string
}

// QueryContext implements driver.StmtQueryContext.
func (s *insistentStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.insist(ctx, s.query, func() (driver.Rows, error) { return s.Stmt.QueryContext(ctx, args) })
}

// ExecContext implements driver.StmtExecContext.
func (s *insistentStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.conn.busy = true
	return s.Stmt.ExecContext(ctx, args)
}

// reasonsOf lists the reasons that there were, the most frequent first.
func reasonsOf(bypasses map[string]uint64) []string {
	var reasons []string
	for reason, n := range bypasses {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(a, b string) int { return int(bypasses[b]) - int(bypasses[a]) })
	return reasons
}
