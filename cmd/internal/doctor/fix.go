package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Fix is a statement that puts something right. Only what changes no statement's meaning, takes
// no lock that others wait for, and the role may do, becomes one; everything else is left to
// whoever reads the findings.
type Fix struct {
	Check string `json:"check"`
	SQL   string `json:"sql"`
	Why   string `json:"why"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`

	do func(context.Context, *pgx.Conn) error // does what SQL says; nil if SQL is sent as it is
}

const createStatStatements = "create extension pg_stat_statements;"

// fixes lists what can be fixed here.
func fixes(ctx context.Context, e *exam) (list []Fix) {
	for _, find := range []func(context.Context, *exam) []Fix{fixStatistics, fixCDC} {
		list = append(list, find(ctx, e)...)
	}
	return list
}

func fixStatistics(_ context.Context, e *exam) []Fix {
	for _, f := range e.report.Findings {
		if f.Fix == createStatStatements && e.role.super {
			return []Fix{{Check: f.Check, SQL: f.Fix, Why: f.Why}}
		}
	}
	return nil
}

// Apply runs the report's fixes one by one and notes what became of each. It stops at none:
// they do not depend on each other.
func Apply(ctx context.Context, o Options, r *Report) error {
	e := &exam{Options: o, report: &Report{}}
	if len(r.Fixes) == 0 || !e.readDSN() {
		return nil
	}
	conn, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i := range r.Fixes {
		f := &r.Fixes[i]
		if err := f.apply(ctx, conn, o); err != nil {
			f.Error = reasonOf(err)
			continue
		}
		f.Done = true
	}
	return ctx.Err()
}

func (f *Fix) apply(ctx context.Context, conn *pgx.Conn, o Options) error {
	bounded, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if f.do != nil {
		return f.do(bounded, conn)
	}
	_, err := conn.Exec(bounded, f.SQL)
	return err
}
