package lifeguard

import (
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// send sends the query of a fill. If transactions are in doubt that changed what it reads,
// it asks in the same round trip whether they are visible: what does not see them all is
// neither kept nor shared with others, who may come when they are.
func (r *fetch) send() (rows pgx.Rows, more bool, err error) {
	if r.doubt.None() {
		return r.conn.sendRaw(r.ctx, &r.call)
	}
	r.alone = true
	rows, more, sent, err := r.gated()
	if !sent {
		rows, more, err = r.conn.sendRaw(r.ctx, &r.call)
	}
	if r.alone {
		r.q.follower.refused.Add(1)
	}
	return rows, more, err
}

// noteFormats remembers in which formats the columns of a result come.
func (r *fetch) noteFormats(fields []pgconn.FieldDescription) {
	if r.q.follower == nil || r.ruling.formats.Load() != nil {
		return
	}
	formats := make([]int16, len(fields))
	for i := range fields {
		formats[i] = fields[i].Format
	}
	r.ruling.formats.Store(&formats)
}

// gated sends the question for a snapshot and the query behind it, in one pipeline. The
// statement is unnamed, as pgx's own is not to be had here. It sends nothing if what it needs
// is not known yet: in which formats the columns come, which the first query tells; or if
// pgx would have somebody told of each query, who is not told by a pipeline.
func (r *fetch) gated() (rows pgx.Rows, more, sent bool, err error) {
	ph := r.conn.ph
	conn, formats := ph.pgxConn(), r.ruling.formats.Load()
	params := r.ruling.analysis.Params
	if formats == nil || len(params) != len(r.args) || ph.dead() || conn.Config().Tracer != nil ||
		ph.cached.site == nil || ph.cached.site != r.q.follower.site.Load() {
		return nil, false, false, nil
	}
	values := make([]any, len(r.args))
	for i := range r.args {
		values[i] = r.args[i].Value
	}
	var b pgx.ExtendedQueryBuilder
	if b.Build(conn.TypeMap(), &pgconn.StatementDescription{ParamOIDs: params}, values) != nil {
		return nil, false, false, nil //nolint:nilerr // pgx will say it
	}
	p := ph.pg.StartPipeline(r.ctx)
	p.SendQueryParams(cdc.SnapshotSQL, nil, nil, nil, nil)
	p.SendQueryParams(r.query, b.ParamValues, params, b.ParamFormats, *formats)
	if err := p.Sync(); err != nil {
		_ = p.Close()
		if pgconn.SafeToRetry(err) {
			err = driver.ErrBadConn
		}
		return nil, false, true, err
	}
	seen, err := readSnapshot(p)
	if err != nil {
		_ = p.Close()
		return nil, false, true, err
	}
	r.q.follower.consumer.Saw(&seen)
	result, err := p.GetResults()
	if err != nil {
		_ = p.Close()
		return nil, false, true, err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		_ = p.Close()
		return nil, false, true, errPipeline
	}
	g := &pipedRows{Rows: pgx.RowsFromResultReader(conn.TypeMap(), reader), pipeline: p}
	r.alone = !r.doubt.ResolvedBy(&seen) || !slices.EqualFunc(g.FieldDescriptions(), *formats, asStdlibWould)
	more = g.Next()
	if err = g.Err(); err != nil && !more {
		g.Close()
		return nil, false, true, err
	}
	return g, more, true, nil
}

// asStdlibWould reports whether a column came as stdlib would have asked for it.
func asStdlibWould(field pgconn.FieldDescription, format int16) bool {
	return field.Format == format && formatsOfStdlib[field.DataTypeOID] == format
}

//nolint:gochecknoglobals // constants
var (
	formatsOfStdlib = rowset.Formats()

	askedFormats any = pgx.QueryResultFormatsByOID(formatsOfStdlib) // pgx only reads it
)

var errPipeline = errors.New("lifeguard: the server answered out of turn")

func readSnapshot(p *pgconn.Pipeline) (cdc.Snapshot, error) {
	result, err := p.GetResults()
	if err != nil {
		return cdc.Snapshot{}, err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return cdc.Snapshot{}, errPipeline
	}
	text := ""
	for reader.NextRow() {
		text = string(reader.Values()[0])
	}
	if _, err := reader.Close(); err != nil {
		return cdc.Snapshot{}, err
	}
	return cdc.ParseSnapshot(text)
}

// pipedRows are rows whose end is the end of their pipeline, too: then the connection is
// idle again.
type pipedRows struct {
	pgx.Rows
	pipeline *pgconn.Pipeline
	err      error
}

// Next implements pgx.Rows.
func (r *pipedRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Close implements pgx.Rows.
func (r *pipedRows) Close() {
	r.Rows.Close()
	if r.pipeline != nil {
		r.err = r.pipeline.Close()
		r.pipeline = nil
	}
}

// Err implements pgx.Rows.
func (r *pipedRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}
