// Package doctor looks at a DSN, the server behind it, and what stands between them, and says
// what is wrong for Lifeguard, why it matters, and what puts it right.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
)

// Level says how bad a finding is.
type Level string

// The levels, from the best to the worst.
const (
	OK    Level = "ok"
	Note  Level = "note"  // worth knowing; nothing has to be done
	Warn  Level = "warn"  // will hurt one day, or under load
	Error Level = "error" // does not work, or will not at the size that is configured
)

// levels are all of them, the worst last. Their places are the exit statuses, but for a note,
// which is none.
func levels() []Level { return []Level{OK, Note, Warn, Error} }

// Finding is the result of one check. Check is stable, for programs; the texts are not.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"` // it matters
	Fix   string `json:"fix,omitempty"` // SQL, or a setting
}

// Server is what is known of the server.
type Server struct {
	Version  string `json:"version"` // as the server says it
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	Database string `json:"database"`
	Role     string `json:"role"`
	Pooler   string `json:"pooler"` // none, session or transaction
}

// Report is what an examination found. No password and no DSN is in it.
type Report struct {
	Format   int       `json:"format"` // of this report: 1
	Level    Level     `json:"level"`  // of the worst finding
	Status   int       `json:"status"` // the exit status: 0, 1 or 2
	Server   *Server   `json:"server"` // nil if it was not reached
	Findings []Finding `json:"findings"`
	Fixes    []Fix     `json:"fixes"` // what -fix would do, or has done
}

// Options says what to examine.
type Options struct {
	DSN       string
	Instances int           // of the application; 0 counts them
	Redis     string        // URL; empty: none
	Timeout   time.Duration // of each check

	getenv func(string) string
}

// exam is an examination under way.
type exam struct {
	Options

	cfg      lifeguard.Config
	conn     *pgx.Conn
	settings map[string]setting // of the session
	defaults map[string]string  // of sessions, where the simple protocol of pgx needs another value
	role     role
	version  int // server_version_num
	standby  bool
	report   *Report

	publication *cdc.Publication // nil unless lifeguard_cache=cdc is asked for
	announced   bool             // DDL is
}

func (e *exam) add(check string, level Level, what, why, fix string) {
	e.report.Findings = append(e.report.Findings, Finding{Check: check, Level: level, What: what, Why: why, Fix: fix})
}

func (e *exam) ok(check, what string) { e.add(check, OK, what, "", "") }

// check is one look. A look that fails becomes a note: a role need not be allowed everything.
type check struct {
	name string
	look func(context.Context, *exam) error
}

// checks are those that need the server, in the order in which they are reported. The first
// three gather what the others use.
func checks() []check {
	return []check{
		{"server", lookAtServer},
		{"settings", readSettings},
		{"role", lookAtRole},
		{"tls", lookAtTLS},
		{"clock", lookAtClock},
		{"pooler", lookAtPooler},
		{"connections", lookAtConnections},
		{"timeouts", lookAtTimeouts},
		{"durability", lookAtDurability},
		{"defaults", lookAtDefaults},
		{"statistics", lookAtStatistics},
		{"replication", lookAtReplication},
		{"identity", lookAtIdentities},
		{"cdc", lookAtCDC},
		{"redis", lookAtRedis},
	}
}

// Run examines. The error is ctx's; everything else that goes wrong is a finding.
func Run(ctx context.Context, o Options) (*Report, error) {
	e := &exam{Options: o, report: &Report{Format: 1, Fixes: []Fix{}}}
	if e.readDSN() && e.connect(ctx) {
		defer func() {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = e.conn.Close(bounded)
		}()
		for _, c := range checks() {
			e.run(ctx, c)
		}
		e.report.Fixes = append(e.report.Fixes, fixes(ctx, e)...)
	}
	e.report.judge()
	return e.report, ctx.Err()
}

func (e *exam) run(ctx context.Context, c check) {
	bounded, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	err := c.look(bounded, e)
	switch {
	case err == nil:
	case bounded.Err() != nil:
		e.add(c.name, Note, "could not be looked at: no answer in time", "What it would have shown is not known.", "-timeout with more than "+e.Timeout.String())
	default:
		e.add(c.name, Note, "could not be looked at: "+reasonOf(err), "What it would have shown is not known.", e.rightsFor(err))
	}
}

// denied is what a server that speaks English refuses.
var denied = regexp.MustCompile(`^permission denied for (?:view|table|relation) ([a-z_]+)$`)

// rightsFor says what would allow a look that the server has refused.
func (e *exam) rightsFor(err error) string {
	if code(err) != "42501" {
		return ""
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		if m := denied.FindStringSubmatch(pgErr.Message); m != nil {
			return "grant select on " + m[1] + " to " + quoteIdent(e.role.name) + "; -- or run doctor as a role that may look"
		}
	}
	return "doctor run as a role that may look"
}

// reasonOf is an error in the server's words, without addresses.
func reasonOf(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return fmt.Sprintf("%s (SQLSTATE %s)", pgErr.Message, pgErr.Code)
	}
	return err.Error()
}

func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// judge sums the findings up.
func (r *Report) judge() {
	worst := 0
	for _, f := range r.Findings {
		for i, level := range levels() {
			if f.Level == level {
				worst = max(worst, i)
			}
		}
	}
	r.Level, r.Status = levels()[worst], max(0, worst-1)
}

func quoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// plural writes a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
