package cdc

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// candidatesSQL gives the tables that may be published without harm, and whether the role may
// publish them. An UPDATE of a published table without a replica identity fails, so those are
// left out, and a partitioned table is named only if it has a primary key, which all
// partitions that it will ever have must have too. Partitions of others are left out, for
// one that comes later would not be in the publication, or would fail.
const candidatesSQL = `
SELECT c.oid::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
  n.oid::pg_catalog.text, pg_catalog.pg_has_role(c.relowner, 'USAGE')::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.=) 'p'
AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::"char"[]) AND NOT c.relispartition
AND n.nspname OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog', 'information_schema', 'pg_toast']::pg_catalog.name[])
AND EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisvalid
    AND (i.indisprimary AND c.relreplident OPERATOR(pg_catalog.=) 'd' AND i.indimmediate
      OR i.indisreplident AND c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relreplident OPERATOR(pg_catalog.=) 'i')
  UNION ALL SELECT WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relreplident OPERATOR(pg_catalog.=) 'f')
AND (c.relkind OPERATOR(pg_catalog.=) 'r' OR NOT EXISTS (
  SELECT FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid OPERATOR(pg_catalog.=) t.relid
  WHERE t.isleaf AND (l.relkind OPERATOR(pg_catalog.<>) 'r' OR l.relpersistence OPERATOR(pg_catalog.<>) 'p' OR NOT (l.relreplident OPERATOR(pg_catalog.=) 'f' OR EXISTS (
    SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) l.oid AND i.indisvalid AND i.indimmediate
    AND i.indisprimary AND l.relreplident OPERATOR(pg_catalog.=) 'd' OR i.indrelid OPERATOR(pg_catalog.=) l.oid AND i.indisreplident
    AND l.relreplident OPERATOR(pg_catalog.=) 'i')))))
ORDER BY c.oid`

// errUnusable says that the publication is there and does not do.
var errUnusable = errors.New("cdc: the publication does not publish every kind of change (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)")

// errNoPublication says that there is none, and that the role may not make one.
var errNoPublication = errors.New("cdc: there is no publication, and the role may not create one")

// maxLockWait is how long a table may be waited for that is to be published. What wants
// the table behind us waits as long.
const maxLockWait = "100ms"

// EnsurePublication creates the publication, if there is none, with all tables that have a
// replica identity and belong to the role; adds to one that the role owns those that are
// missing; and takes away those that lost their replica identity, as UPDATE would fail on
// them. A publication that belongs to others, or is FOR ALL TABLES, it leaves as it is.
// The error is errNoPublication or one of the connection; that the role may not do
// something, or that a table is locked, is no error.
func EnsurePublication(ctx context.Context, conn *pgconn.PgConn, name string) error {
	p, err := Inspect(ctx, conn, name)
	if err != nil {
		return err
	}
	if !p.Exists {
		if err := tolerate(change(ctx, conn, p.create())); err != nil {
			return err
		}
		if p, err = Inspect(ctx, conn, name); err != nil {
			return err
		}
		if !p.Exists {
			return errNoPublication
		}
	}
	return p.adjust(ctx, conn)
}

// adjust adds and removes tables; each by itself if all at once is not possible.
func (p *Publication) adjust(ctx context.Context, conn *pgconn.PgConn) error {
	if !p.changeable() {
		return nil
	}
	for _, table := range p.Unsafe {
		if err := tolerate(change(ctx, conn, p.drop(table))); err != nil {
			return err
		}
	}
	if len(p.Missing) == 0 {
		return nil
	}
	if err := change(ctx, conn, p.add(p.Missing)); err == nil {
		return nil
	} else if err := tolerate(err); err != nil {
		return err
	}
	for i := range p.Missing {
		if err := tolerate(change(ctx, conn, p.add(p.Missing[i:i+1]))); err != nil {
			return err
		}
	}
	return nil
}

// unsafeSQL gives the tables of a publication on which UPDATE fails since it names them.
const unsafeSQL = `
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.prrelid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE r.prpubid OPERATOR(pg_catalog.=) $1::pg_catalog.oid AND c.relreplident OPERATOR(pg_catalog.<>) 'f'
AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid
  AND (i.indisprimary AND c.relreplident OPERATOR(pg_catalog.=) 'd'
    OR i.indisreplident AND c.relreplident OPERATOR(pg_catalog.=) 'i'))`

// change runs a statement that waits for no lock for long.
func change(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+maxLockWait+"'; "+sql+"; COMMIT").ReadAll()
	if err != nil && !conn.IsClosed() && conn.TxStatus() != 'I' {
		if _, back := conn.Exec(ctx, "ROLLBACK").ReadAll(); back != nil {
			return errors.Join(err, back)
		}
	}
	return err
}

// tolerate lets pass what the server refuses.
func tolerate(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Severity == "ERROR" {
		return nil
	}
	return err
}
