package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrInTransaction says that the connection is not idle: an analysis needs a
// transaction of its own.
var ErrInTransaction = errors.New("catalog: the connection is in a transaction")

// rollbackTime is how long a ROLLBACK may take whose pipeline was cancelled.
const rollbackTime = 5 * time.Second

// A pipe is a transaction that is sent at once and rolled back:
//
//	the caller's messages · Sync · ROLLBACK · Sync
//
// The first Sync lets the ROLLBACK run after an error too. The statements are
// unnamed, and the last one displaces the others, so no statement of pgx's is
// touched and none is left.
type pipe struct {
	conn *pgconn.PgConn
	p    *pgconn.Pipeline
	want []func(result any) error
	done []func() error
}

func newPipe(ctx context.Context, conn *pgconn.PgConn) (*pipe, error) {
	// Before anything is in the buffer: a pipeline that is given up takes its
	// connection with it.
	if conn.TxStatus() != 'I' {
		return nil, ErrInTransaction
	}
	return &pipe{conn: conn, p: conn.StartPipeline(ctx)}, nil
}

// query sends a statement with parameters in text form; row gets each row, whose
// bytes it must not keep.
func (p *pipe) query(sql string, row func([][]byte), params ...[]byte) {
	p.p.SendQueryParams(sql, params, nil, nil, nil)
	p.want = append(p.want, func(result any) error {
		rows, ok := result.(*pgconn.ResultReader)
		if !ok {
			return fmt.Errorf("%T instead of rows", result)
		}
		for rows.NextRow() {
			if row != nil {
				row(rows.Values())
			}
		}
		_, err := rows.Close()
		return err
	})
}

// parse sends a statement to be analysed, but not run.
func (p *pipe) parse(sql string, described func(*pgconn.StatementDescription)) {
	p.p.SendPrepare("", sql, nil)
	p.want = append(p.want, func(result any) error {
		d, ok := result.(*pgconn.StatementDescription)
		if !ok {
			return fmt.Errorf("%T instead of a description", result)
		}
		described(d)
		return nil
	})
}

// after calls f when all has been answered without an error.
func (p *pipe) after(f func() error) { p.done = append(p.done, f) }

// run sends everything, reads the answers, and leaves the connection idle; if it
// cannot, it closes the connection.
func (p *pipe) run(ctx context.Context) error {
	p.p.SendPipelineSync()
	p.p.SendQueryParams("ROLLBACK", nil, nil, nil, nil)
	p.p.SendPipelineSync()
	err := p.p.Flush()
	for i := 0; err == nil && i < len(p.want); i++ {
		var result any
		if result, err = p.p.GetResults(); err == nil {
			err = p.want[i](result)
		}
	}
	closing := p.p.Close() // reads on to the last ReadyForQuery
	p.settle(ctx)
	if err == nil {
		err = closing
	}
	for i := 0; err == nil && i < len(p.done); i++ {
		err = p.done[i]()
	}

	return err
}

// settle ends a transaction whose ROLLBACK was hit by a cancel request.
func (p *pipe) settle(ctx context.Context) {
	if p.conn.IsClosed() || p.conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	defer cancel()
	if err := p.conn.Exec(ctx, "ROLLBACK").Close(); err != nil || p.conn.TxStatus() != 'I' {
		p.conn.Close(ctx)
	}
}

// textArray is a set of names in the text form of text[].
func textArray(set map[string]bool) []byte {
	names := make([]string, 0, len(set))
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for n := range set {
		names = append(names, `"`+quote.Replace(n)+`"`)
	}
	slices.Sort(names)

	return []byte("{" + strings.Join(names, ",") + "}")
}

func oidArray(set map[Relation]bool) []byte {
	b := []byte{'{'}
	for i, oid := range sorted(set) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(oid), 10)
	}

	return append(b, '}')
}
