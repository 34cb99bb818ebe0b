package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

const maxChunkBytes = math.MaxInt32

var errRowTooLarge = errors.New("lifeguard: the row is too large")

// lookUp makes the plan: of COPY on a pgx connection, of INSERT on any other.
func (b *batch) lookUp(ctx context.Context) (*batchTarget, error) {
	var target *batchTarget
	st := &sqltext.Statement{Summary: "look up " + b.table.String()}
	err := withPgx(ctx, b.db, st, verbPing, func(l *pgxLease) error {
		plan, err := planRows(ctx, l.conn, b.table, b.shape, b.cfg.Columns)
		if err != nil {
			return err
		}
		conflict, err := newUpsert(plan, &b.cfg.OnConflict)
		if err != nil {
			return err
		}
		target = &batchTarget{plan: plan, names: plan.names, sender: newCopySender(b.db, plan, conflict, l.conn.PgConn())}
		if l.own != nil {
			target.watch = l.own.core.metrics.batches
		}
		return nil
	})
	if errors.Is(err, errNoPgx) {
		return newValuesTarget(b)
	}
	return target, err
}

// planRows resolves a table and how rows of a shape become its rows.
func planRows(ctx context.Context, conn *pgx.Conn, name tableName, shape *rowShape, wanted []string) (*rowPlan, error) {
	table, err := lookUpTable(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	columns, err := table.chosen(wanted, shape.offered())
	if err != nil {
		return nil, err
	}
	binary, err := table.loadTypes(ctx, conn, columns)
	if err != nil {
		return nil, fmt.Errorf("lifeguard: the types of table %s: %w", table.name, err)
	}
	return newRowPlan(shape, table, columns, binary)
}

// tableName is the name that the server's messages use.
func (t *batchTarget) tableName() string {
	if t.plan == nil {
		return ""
	}
	return t.plan.table.name.table
}

// checkColumns refuses names that cannot be quoted, where there is no catalog to find
// them in.
func checkColumns(names []string) error {
	for _, name := range names {
		if name == "" || strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("lifeguard: %q is no name of a column", name)
		}
	}
	return nil
}
