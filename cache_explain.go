package lifeguard

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// CacheExplanation says what the query cache makes of a statement.
type CacheExplanation struct {
	Cacheable bool
	// Reason is why its results are not kept: one of the values of the label "reason" of
	// lifeguard_cache_bypasses_total. Culprit names the function or relation that it is
	// about, if there is one.
	Reason  string
	Culprit string
	// Reads are the tables whose writes make a result invalid; Writes those of which a
	// write makes results invalid. Partitions stand under their root.
	Reads  []string
	Writes []string
	// Everything says that the statement makes every result invalid, and Cause why.
	Everything bool
	Cause      string
}

//nolint:gochecknoglobals // a constant
var explain = &sqltext.Statement{Summary: "explain cache"}

const relationNamesSQL = `SELECT u.oid::pg_catalog.regclass::pg_catalog.text
	FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY u(oid, place) ORDER BY u.place`

// ExplainCache tells why the results of a statement are kept in memory, or are not, in a
// session as connections are opened. It takes a connection, and does not run the
// statement. Arguments of some types, and those that say "today", bypass the cache too.
func (c *Connector) ExplainCache(ctx context.Context, query string) (CacheExplanation, error) {
	co, err := c.ready()
	if err != nil {
		return CacheExplanation{}, err
	}
	q := co.cache
	if q == nil {
		return CacheExplanation{}, errors.New("lifeguard: there is no cache: lifeguard_cache is off")
	}
	conn := &Conn{core: co}
	if err := conn.leaseForAsking(ctx); err != nil {
		return CacheExplanation{}, err
	}
	defer conn.endLease()
	conn.slot.begin(SlotExecuting, explain.Summary, 0)

	s := q.sessionOf(conn.ph)
	if s == nil {
		if s, err = q.meet(ctx, conn.ph); err != nil {
			return CacheExplanation{}, err
		}
	}
	t := q.text(query)
	if s == nil {
		return CacheExplanation{}, errors.New("lifeguard: the catalog is changing; ask again")
	}
	a, err := q.catalog.Analyze(ctx, conn.ph.pg, t.text)
	if err != nil {
		return CacheExplanation{}, err
	}
	x := CacheExplanation{Culprit: a.Culprit, Everything: a.Everything, Cause: string(a.Cause)}
	x.Reason = cmp.Or(s.reason, string(t.gate), q.reasonOf(&a))
	if v := t.in(s); v != nil && x.Reason == "" {
		x.Reason = q.skips(v)
	}
	x.Cacheable = x.Reason == ""
	if x.Reads, err = relationNames(ctx, conn.ph.pgxConn(), a.Reads); err != nil {
		return CacheExplanation{}, err
	}
	x.Writes, err = relationNames(ctx, conn.ph.pgxConn(), a.Writes)
	return x, err
}

func relationNames(ctx context.Context, conn *pgx.Conn, relations []uint32) ([]string, error) {
	if len(relations) == 0 {
		return nil, nil
	}
	rows, err := conn.Query(ctx, relationNamesSQL, relations)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
