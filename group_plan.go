package lifeguard

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// groupPlans is what a physical connection knows to send groups.
type groupPlans struct {
	byText  map[string]*groupPlan
	made    int // plans so far: each has a name of its own
	builder pgx.ExtendedQueryBuilder
	args    []any
	off     bool
}

// groupPlan is a text prepared on one connection, under a name that pgx does not know: what
// becomes of one of the two does not concern the other.
type groupPlan struct {
	sd      *pgconn.StatementDescription
	formats []int16
	columns *rowset.Columns
}

// knowsText reports whether a text is prepared for groups. To prepare one may take as long
// as somebody else locks its tables; so only its own leader does.
func (ph *physical) knowsText(t *groupText) bool { return ph.plans.byText[t.query] != nil }

// groupPlan returns the plan of a text on this connection, prepared at the first need, or
// nil if it cannot be in a group here.
func (ph *physical) groupPlan(ctx context.Context, t *groupText, now time.Duration) *groupPlan {
	p := &ph.plans
	if plan, ok := p.byText[t.query]; ok || !ph.groupable() {
		return plan
	}
	for query := range p.byText {
		if len(p.byText) < maxGroupPrepared {
			break
		}
		ph.forgetGroupPlan(ctx, query)
	}
	p.made++
	sd, err := ph.pg.Prepare(ctx, fmt.Sprintf("lifeguard_group_%d", p.made), t.query, nil)
	if err != nil {
		t.pause(now, pauseError)
		return nil
	}
	if len(sd.Fields) == 0 || !rowset.Known(ph.pgxConn().TypeMap(), sd.Fields) {
		t.never()
		_ = ph.pg.Deallocate(ctx, sd.Name) // or the connection is broken, and says so
		return nil
	}
	fields, byOID := slices.Clone(sd.Fields), rowset.Formats()
	plan := &groupPlan{sd: sd, formats: make([]int16, len(fields))}
	for i := range fields {
		plan.formats[i] = byOID[fields[i].DataTypeOID]
		fields[i].Format = plan.formats[i]
	}
	plan.columns = rowset.NewColumns(fields)
	p.byText[t.query] = plan
	return plan
}

// groupable reports whether groups may be sent over the connection: it prepares statements,
// nobody traces it by means of pgx, and reading from it can be interrupted.
func (ph *physical) groupable() bool {
	p := &ph.plans
	if p.byText == nil {
		p.byText = make(map[string]*groupPlan)
		cfg := ph.pgxConn().Config()
		p.off = cfg.Tracer != nil || cfg.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement ||
			cfg.StatementCacheCapacity == 0 || ph.pg.Conn().SetReadDeadline(time.Time{}) != nil
	}
	return !p.off
}

// forgetGroupPlan deallocates a text's statement.
func (ph *physical) forgetGroupPlan(ctx context.Context, query string) {
	if plan, ok := ph.plans.byText[query]; ok {
		delete(ph.plans.byText, query)
		_ = ph.pg.Deallocate(ctx, plan.sd.Name)
	}
}

// encode adds a statement to what is sent next, or without a frontend only tries to.
func (ph *physical) encode(plan *groupPlan, args []driver.NamedValue, f *pgproto3.Frontend) bool {
	p := &ph.plans
	p.args = p.args[:0]
	for i := range args {
		p.args = append(p.args, args[i].Value)
	}
	err := p.builder.Build(ph.pgxConn().TypeMap(), plan.sd, p.args)
	clear(p.args)
	if err != nil || f == nil {
		return err == nil
	}
	f.SendBind(&pgproto3.Bind{
		PreparedStatement: plan.sd.Name, ParameterFormatCodes: p.builder.ParamFormats,
		Parameters: p.builder.ParamValues, ResultFormatCodes: plan.formats,
	})
	f.SendExecute(&pgproto3.Execute{})
	f.SendSync(&pgproto3.Sync{})
	return true
}
