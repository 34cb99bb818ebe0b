package lifeguard

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

const (
	maxGroupPrepared = 64 // on one connection
	// groupUnused is how long a plan must not have been used to make room for another:
	// with more texts than places each leader would prepare anew.
	groupUnused = 10 * time.Second
	// groupProof is how long a proof counts. What another process changes meanwhile, a
	// group may meet; see groupPlan.
	groupProof = 30 * time.Second
)

// groupPlan is a text prepared on one connection, under a name that pgx does not know: what
// becomes of one of the two does not concern the other.
//
// It is proven that the text may be in a group: by the same analysis on the server by which
// the query cache decides what it may keep. The text reads tables of the database, through
// views or not, without row security, calls no function whose result depends on more
// than its arguments, and changes nothing. So it makes no difference that it may run twice.
//
// The proof is made on the connection, in its session, and counts for groupProof, or until
// somebody changes a table through this Connector. If another process puts a view in the
// place of a table, which calls a function that writes, then for so long a statement that
// got no result in a group may call it twice. That is the whole risk.
type groupPlan struct {
	text    *groupText
	sd      *pgconn.StatementDescription
	formats []int16
	columns *rowset.Columns
	proven  time.Duration
	in      uint64 // the catalog's generation
	used    time.Duration
}

// plan returns the plan of a text that can be sent at once, or nil.
func (ph *physical) plan(g *groups, query string, now time.Duration) *groupPlan {
	p := ph.plans.byText[query]
	if p == nil || p.text.paused(now) || now-p.proven > groupProof || p.in != g.catalog.Generation() {
		return nil
	}
	return p
}

// makePlan proves and prepares a text on a connection, unless it must be sent alone. With
// nil and no error it must. It takes as long as somebody else locks its tables, so only a
// leader does it, for itself.
func (g *groups) makePlan(ctx context.Context, ph *physical, text *groupText, query string, now time.Duration) (*groupPlan, error) {
	known := ph.plans.byText[query]
	if known == nil && !ph.roomForPlan(now) {
		return nil, nil //nolint:nilnil // it is sent alone
	}
	a, err := g.catalog.Analyze(ctx, ph.pg, query)
	if err != nil || a.Generation != g.catalog.Generation() {
		return nil, stillOpen(ph, err)
	}
	if !a.Cacheable || a.Everything || len(a.Writes) > 0 {
		text.pause(now, pauseUnfit)
		ph.dropPlan(query)
		return nil, nil //nolint:nilnil // as above
	}
	if known != nil {
		known.proven, known.in = now, a.Generation
		return known, nil
	}
	plan, err := ph.preparePlan(ctx, query)
	if plan == nil {
		text.pause(now, pauseUnfit)
		return nil, stillOpen(ph, err)
	}
	plan.text, plan.proven, plan.in, plan.used = text, now, a.Generation, now
	if ph.plans.byText == nil {
		ph.plans.byText = make(map[string]*groupPlan)
	}
	ph.plans.byText[strings.Clone(query)] = plan
	return plan, nil
}

func (ph *physical) preparePlan(ctx context.Context, query string) (*groupPlan, error) {
	p := &ph.plans
	for _, name := range p.dropped {
		if err := ph.pg.Deallocate(ctx, name); err != nil && ph.dead() {
			return nil, err
		}
	}
	p.dropped = p.dropped[:0]
	p.made++
	sd, err := ph.pg.Prepare(ctx, fmt.Sprintf("lifeguard_group_%d", p.made), query, nil)
	if err != nil {
		return nil, err
	}
	if len(sd.Fields) == 0 || !rowset.Known(ph.pgxConn().TypeMap(), sd.Fields) {
		p.dropped = append(p.dropped, sd.Name)
		return nil, nil //nolint:nilnil // it cannot be replayed from memory
	}
	fields, byOID := slices.Clone(sd.Fields), rowset.Formats()
	plan := &groupPlan{sd: sd, formats: make([]int16, len(fields))}
	for i := range fields {
		plan.formats[i] = byOID[fields[i].DataTypeOID]
		fields[i].Format = plan.formats[i]
	}
	plan.columns = rowset.NewColumns(fields)
	return plan, nil
}

// roomForPlan makes room for a plan, if there is none, from one that has not been used for long.
func (ph *physical) roomForPlan(now time.Duration) bool {
	if len(ph.plans.byText) < maxGroupPrepared {
		return true
	}
	for query, p := range ph.plans.byText {
		if now-p.used > groupUnused {
			ph.dropPlan(query)
			return true
		}
	}
	return false
}

// dropPlan forgets a plan. Its statement is deallocated when the next is prepared.
func (ph *physical) dropPlan(query string) {
	if plan, ok := ph.plans.byText[query]; ok {
		delete(ph.plans.byText, query)
		ph.plans.dropped = append(ph.plans.dropped, plan.sd.Name)
	}
}

// groupEncoder writes statements. Its builder keeps its buffers.
type groupEncoder struct {
	builder pgx.ExtendedQueryBuilder
	args    []any
}

// encode adds a statement to what is sent next. It adds nothing, and reports false, if the
// arguments do not fit.
func (ph *physical) encode(plan *groupPlan, args []driver.NamedValue) bool {
	e := &ph.plans.encoder
	e.args = e.args[:0]
	for i := range args {
		e.args = append(e.args, args[i].Value)
	}
	err := e.builder.Build(ph.pgxConn().TypeMap(), plan.sd, e.args)
	clear(e.args)
	if err != nil {
		return false
	}
	f := ph.pg.Frontend()
	f.SendBind(&pgproto3.Bind{
		PreparedStatement: plan.sd.Name, ParameterFormatCodes: e.builder.ParamFormats,
		Parameters: e.builder.ParamValues, ResultFormatCodes: plan.formats,
	})
	f.SendExecute(&pgproto3.Execute{})
	f.SendSync(&pgproto3.Sync{})
	return true
}
