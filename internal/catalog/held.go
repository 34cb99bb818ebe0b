package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoTransaction says that the connection is in no transaction that can go on.
var ErrNoTransaction = errors.New("catalog: the connection is in no transaction")

// heldQuery names what the transaction has locked for writing, with everything
// that is connected to it by partitioning or inheritance: each relation with one
// of its parents, or NULL. A relation stands there with "everything" if its lock
// says more than that rows were written, or if a deferred trigger of it may write
// yet.
//
// Nothing is remembered of it: it may show what the transaction itself has made.
const heldQuery = `
WITH RECURSIVE held AS (
  SELECT l.relation AS oid, l.mode
  FROM pg_catalog.pg_lock_status() l
  WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
  AND l.locktype OPERATOR(pg_catalog.=) 'relation'
  AND l.mode OPERATOR(pg_catalog.<>) ALL (ARRAY['AccessShareLock', 'RowShareLock', 'SIReadLock'])
), written AS (
  SELECT h.oid, h.mode
  FROM held h JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) h.oid
  WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'm', 'f', 'v']::"char"[])
), edge AS (
  SELECT i.inhrelid AS a, i.inhparent AS b FROM pg_catalog.pg_inherits i
  UNION ALL
  SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i
), family AS (
  SELECT w.oid FROM written w
  UNION
  SELECT e.b FROM family f JOIN edge e ON e.a OPERATOR(pg_catalog.=) f.oid
)
SELECT f.oid::pg_catalog.int8, coalesce(i.inhparent, 0)::pg_catalog.int8,
  EXISTS (SELECT FROM written w WHERE w.oid OPERATOR(pg_catalog.=) f.oid
    AND w.mode OPERATOR(pg_catalog.<>) 'RowExclusiveLock')
  OR EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
    WHERE t.tgrelid OPERATOR(pg_catalog.=) f.oid AND t.tgdeferrable
    AND NOT (t.tgfoid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND (p.proname OPERATOR(pg_catalog.~~) 'RI\_FKey\_%'
      OR p.proname OPERATOR(pg_catalog.=) 'unique_key_recheck')))
  OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) f.oid
    AND c.relkind OPERATOR(pg_catalog.=) 'f')
FROM family f LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) f.oid`

// Held returns the relations that the open transaction on conn has written so
// far, sorted, in one round trip. It is what a COMMIT makes visible, unless
// everything is true: then the transaction has done more than write rows, or may
// write more at COMMIT.
//
// What a function does to other objects than relations (CREATE FUNCTION, GRANT),
// and what it does through another connection, no lock shows.
func (*Catalog) Held(ctx context.Context, conn *pgconn.PgConn) (relations []Relation, everything bool, err error) {
	if conn.TxStatus() != 'T' {
		return nil, false, ErrNoTransaction
	}
	parents := map[Relation][]Relation{}
	var bad error
	result := conn.ExecParams(ctx, heldQuery, nil, nil, nil, nil)
	for result.NextRow() {
		row := result.Values()
		member, parent := oid(row[0], &bad), oid(row[1], &bad)
		if parent != 0 {
			parents[member] = append(parents[member], parent)
		} else {
			parents[member] = nil
		}
		everything = everything || string(row[2]) == "t"
	}
	_, err = result.Close()
	if err = errors.Join(err, bad); err != nil {
		return nil, true, fmt.Errorf("catalog: held locks: %w", err)
	}

	return roots(parents), everything, nil
}

// roots returns the relation that stands for each family, as [judge.family] does.
func roots(parents map[Relation][]Relation) []Relation {
	neighbours := map[Relation][]Relation{}
	for member, above := range parents {
		for _, parent := range above {
			neighbours[member] = append(neighbours[member], parent)
			neighbours[parent] = append(neighbours[parent], member)
		}
	}
	seen, found := map[Relation]bool{}, []Relation{}
	for member := range parents {
		if seen[member] {
			continue
		}
		seen[member] = true
		var root Relation
		for queue := []Relation{member}; len(queue) > 0; queue = queue[1:] {
			at := queue[0]
			if len(parents[at]) == 0 && (root == 0 || at < root) {
				root = at
			}
			for _, next := range neighbours[at] {
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
		found = append(found, root)
	}
	slices.Sort(found)

	return found
}
