package lifeguard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// upsert writes a part by INSERT … ON CONFLICT, or by INSERT alone where PostgreSQL has no
// COPY: into a view, or under row-level security. The rows travel as one array per column,
//
//	insert into t (a, b) select unnest($1), unnest($2) on conflict …
//
// (in the select list they are read as they go; in FROM they would be stored first) whose
// elements are the bytes of the chunk's COPY fields, merely in another order: both
// are a length and a value. Where a column is an array itself, which unnest would take
// apart, or has no binary form, the rows go by COPY through a temporary table, that costs
// rows of the catalogue with each chunk.
//
// PostgreSQL refuses a command that would update a row twice (21000). Only then, and from
// then on, the query resolves equal keys, for that needs a sort. It resolves by the
// columns' own equality: 1.0 and 1.00, or a citext in two spellings, are equal keys that
// no comparison of bytes would find.
type upsert struct {
	plan     *rowPlan
	oids     []uint32 // of the arrays; nil to go by way of a temporary table
	formats  []int16
	text     string // of the query alone, as observers see it
	writes   string // the same with the table as the source, so that it can be analysed
	simple   string // what is sent, and what is sent to resolve equal keys
	resolved string
	dedupe   atomic.Bool
}

// newUpsert returns nil if COPY into the table itself will do.
func newUpsert(plan *rowPlan, c *Conflict) (*upsert, error) {
	if c.Action == ConflictRefuse && !plan.table.noCopy {
		return nil, nil //nolint:nilnil // there is none
	}
	u := &upsert{plan: plan}
	for _, name := range slices.Concat(c.Keys, c.Update) {
		if _, err := plan.table.column(name); err != nil {
			return nil, err
		}
	}
	var keys []int
	for _, key := range c.Keys {
		if i := slices.Index(plan.names, key); i >= 0 {
			keys = append(keys, i+1)
		}
	}
	for _, enc := range plan.columns {
		if enc.column.isArray || enc.column.arrayOID == 0 || !plan.binary {
			u.oids = nil
			break
		}
		u.oids = append(u.oids, enc.column.arrayOID)
		u.formats = append(u.formats, 1)
	}
	u.build(c, keys)
	return u, nil
}

// staging is the temporary table's name; it lives for one transaction.
const staging = `pg_temp."lifeguard batch"`

func (u *upsert) build(c *Conflict, keys []int) {
	columns := quoteColumns(u.plan.names)
	insert := "insert into " + u.plan.table.name.String() + " (" + columns + ") "
	for i := range u.plan.columns {
		if u.plan.columns[i].column.identity { // named by the user; COPY does so too
			insert = strings.TrimSuffix(insert, "overriding system value ") + "overriding system value "
		}
	}
	clause := c.clause(u.plan.names)
	aliases, params := make([]string, len(u.plan.names)), make([]string, len(u.plan.names))
	for i := range u.plan.names {
		aliases[i], params[i] = fmt.Sprintf("c%d", i+1), fmt.Sprintf("$%d", i+1)
	}
	list := strings.Join(aliases, ", ")
	source := "unnest(" + strings.Join(params, ", ") + ") with ordinality u (" + list + ", n)"
	if u.oids == nil {
		source = "(select *, ctid from " + staging + ") u (" + list + ", n)"
	}
	u.simple = insert + "select unnest(" + strings.Join(params, "), unnest(") + ")" + clause
	if u.oids == nil {
		u.simple = insert + "select * from " + staging + clause
	}
	u.text = u.simple
	u.writes = insert + "select " + columns + " from " + u.plan.table.name.String() + clause
	u.resolved = u.simple
	if len(keys) > 0 {
		on, null := make([]string, len(keys)), make([]string, len(keys))
		for i, key := range keys {
			on[i] = fmt.Sprintf("c%d", key)
			null[i] = on[i] + " is null"
		}
		// Rows with a NULL in their key are equal to none.
		distinct := strings.Join(on, ", ") + ", case when " + strings.Join(null, " or ") + " then n end"
		u.resolved = insert + "select " + list + " from (select distinct on (" + distinct + ") * from " + source +
			" order by " + distinct + ", n desc) d" + clause
	}
	if u.oids != nil {
		return
	}
	prepare := "create temp table " + strings.TrimPrefix(staging, "pg_temp.") + " on commit drop as select " + columns +
		" from " + u.plan.table.name.String() + " with no data; " + u.plan.copySQL(staging) + "; "
	u.simple, u.resolved = prepare+u.simple+"; commit", prepare+u.resolved+"; commit"
}

// shouldDeduplicate reports whether err says that keys are equal in one command, and the
// attempt has not resolved them. From now on all do.
func (u *upsert) shouldDeduplicate(err error, a *attempt) bool {
	var pgErr *pgconn.PgError
	if u == nil || a.unique || !errors.As(err, &pgErr) || pgErr.Code != "21000" {
		return false
	}
	u.dedupe.Store(true)
	return true
}

func (u *upsert) apply(ctx context.Context, pg *pgconn.PgConn, ch *chunk, p part, a *attempt) error {
	query := u.simple
	if a.unique = u.dedupe.Load(); a.unique {
		query = u.resolved
	}
	if u.oids == nil {
		return copyAndCommit(ctx, pg, u.plan, ch, p, query, a)
	}
	params := u.arrays(ch, p)
	a.reached = true
	pipeline := pg.StartPipeline(ctx)
	pipeline.SendQueryParams(query, params, u.oids, u.formats, nil)
	pipeline.SendQueryParams("commit", nil, nil, nil, nil)
	if err := pipeline.Sync(); err != nil {
		_ = pipeline.Close()
		return err
	}
	tag, err := lastTag(pipeline)
	if closeErr := pipeline.Close(); err == nil {
		err = closeErr
	}
	return committedTag(tag, err)
}

func lastTag(pipeline *pgconn.Pipeline) (tag pgconn.CommandTag, err error) {
	for {
		result, err := pipeline.GetResults()
		if err != nil {
			return tag, err
		}
		reader, ok := result.(*pgconn.ResultReader)
		if !ok {
			return tag, nil // the Sync
		}
		if tag, err = reader.Close(); err != nil {
			return tag, err
		}
	}
}

// arrays turns rows into one array per column, in the binary format.
func (u *upsert) arrays(ch *chunk, p part) [][]byte {
	n := len(u.oids)
	sizes, nulls := make([]int, n), make([]bool, n)
	total := 0
	fields := func(f func(column int, field []byte)) {
		p.all(func(i int) {
			row := ch.row(i)[2:]
			for column := range n {
				size := 4
				if length := int32(binary.BigEndian.Uint32(row)); length >= 0 {
					size += int(length)
				} else {
					nulls[column] = true
				}
				f(column, row[:size])
				row = row[size:]
			}
		})
	}
	const head = 20
	fields(func(column int, field []byte) {
		sizes[column] += len(field)
		total += len(field)
	})
	memory := make([]byte, total+n*head)
	out := make([][]byte, n)
	for i := range out {
		size := sizes[i] + head
		out[i] = memory[:0:size]
		memory = memory[size:]
		var hasNull uint32
		if nulls[i] {
			hasNull = 1
		}
		out[i] = binary.BigEndian.AppendUint32(out[i], 1) // dimension
		out[i] = binary.BigEndian.AppendUint32(out[i], hasNull)
		out[i] = binary.BigEndian.AppendUint32(out[i], u.plan.columns[i].column.oid)
		out[i] = binary.BigEndian.AppendUint32(out[i], uint32(p.rows()))
		out[i] = binary.BigEndian.AppendUint32(out[i], 1) // lower bound
	}
	fields(func(column int, field []byte) { out[column] = append(out[column], field...) })
	return out
}
