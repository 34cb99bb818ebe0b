package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

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
  SELECT h.oid, h.mode, c.relpersistence
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
    AND w.relpersistence OPERATOR(pg_catalog.<>) 't'::"char" AND w.mode OPERATOR(pg_catalog.<>) 'RowExclusiveLock')
  OR EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
    WHERE t.tgrelid OPERATOR(pg_catalog.=) f.oid AND t.tgdeferrable
    AND NOT (t.tgfoid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND (p.proname OPERATOR(pg_catalog.~~) 'RI\_FKey\_%'
      OR p.proname OPERATOR(pg_catalog.=) 'unique_key_recheck')))
  OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) f.oid
    AND c.relkind OPERATOR(pg_catalog.=) 'f')
FROM family f LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) f.oid
UNION ALL
SELECT 0, 0, $1::pg_catalog.bool AND pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.<>) 'on' OR EXISTS (SELECT FROM pg_catalog.pg_class c
  WHERE $1 AND c.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND c.relkind OPERATOR(pg_catalog.=) 'r'::"char"
  AND c.relname OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject', 'pg_largeobject_metadata',
    'pg_description', 'pg_shdescription']::pg_catalog.name[])
  AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
    OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) OPERATOR(pg_catalog.>) 0)`

// A Held is what an open transaction has done so far, by its locks and counters.
type Held struct {
	// Relations were written, sorted.
	Relations []Relation
	// Everything says that it has done more than write rows of those, or may write
	// more at COMMIT.
	Everything bool
	// Catalog says that it has changed the catalog. The server's counters tell, which
	// may still hold what the session did in transactions of the last second.
	Catalog bool
}

// Held asks what the open transaction on conn has done, in one round trip; the
// catalog's part only if that is wanted. With an error it is everything.
//
// What is done through another connection it does not show.
func (*Catalog) Held(ctx context.Context, conn *pgconn.PgConn, catalog bool) (Held, error) {
	if conn.TxStatus() != 'T' {
		return Held{Everything: true, Catalog: true}, ErrNoTransaction
	}
	var held Held
	parents := map[Relation][]Relation{}
	var bad error
	result := conn.ExecParams(ctx, heldQuery, [][]byte{strconv.AppendBool(nil, catalog)}, nil, nil, nil)
	for result.NextRow() {
		row := result.Values()
		member, parent, more := oid(row[0], &bad), oid(row[1], &bad), string(row[2]) == "t"
		switch {
		case member == 0:
			held.Catalog = more
			continue
		case parent != 0:
			parents[member] = append(parents[member], parent)
		default:
			parents[member] = nil
		}
		held.Everything = held.Everything || more
	}
	_, err := result.Close()
	if err = errors.Join(err, bad); err != nil {
		return Held{Everything: true, Catalog: true}, fmt.Errorf("catalog: held locks: %w", err)
	}
	held.Relations = roots(parents)

	return held, nil
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
