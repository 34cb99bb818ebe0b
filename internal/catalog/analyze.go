package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The search_path of the session is in force here, since the statement needs it,
// so everything is qualified.
const (
	locksQuery = `SELECT l.relation::pg_catalog.int8, l.mode FROM pg_catalog.pg_lock_status() l ` +
		`WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.locktype OPERATOR(pg_catalog.=) 'relation'`
	pathQuery   = `SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true))`
	targetQuery = `SELECT pg_catalog.to_regclass($1)::pg_catalog.oid::pg_catalog.int8`
)

// rounds bounds how often knowledge is looked up for one text. Each round goes one
// step down a chain of views, functions, partitions or foreign keys.
const rounds = 64

// A parsed is what one round trip tells about a statement.
type parsed struct {
	refused bool
	path    []string
	locks   map[Relation]string // the strongest mode
	targets []Relation
	missing bool // a target that the session does not see
	params  []uint32
	timetz  bool // a parameter or a column of the result is a time with time zone
	types   bool // a parameter is of a type that is not built in
}

// Analyze asks the server about a text, on a connection that is idle and outside a
// transaction, and leaves it so. It is one round trip, and one more for each step
// of what is not yet remembered. An error is one of the connection or the context,
// or [ErrInTransaction]; that the server refuses the statement is no error but a
// Reason.
//
// The session's own [Session.Reason] is not looked at.
func (c *Catalog) Analyze(ctx context.Context, conn *pgconn.PgConn, sql string) (Analysis, error) {
	k := c.current()
	candidate, reason := Gate(sql)
	a := Analysis{Reason: reason, Generation: k.generation}
	switch {
	case candidate.Effect == Nothing:
		return a, nil
	case candidate.Effect == Runs:
		a.Everything, a.Cause, a.DDL, a.Held, a.Foreign = true, Opaque, true, !candidate.Late, true
		return a, nil
	case candidate.Effect == Anything || !readsPlainly(conn, sql):
		if a.Reason == "" {
			a.Reason = Escapes
		}
		a.Everything, a.Cause, a.DDL, a.Foreign = true, Opaque, true, true
		return a, nil
	}
	p, err := parse(ctx, conn, sql, &candidate)
	if err != nil {
		return Analysis{}, err
	}
	a.Params = p.params
	if p.refused || p.missing || len(p.path) == 0 {
		a.Reason, a.Everything, a.Cause, a.DDL, a.Foreign = Refused, true, Refused, true, true
		return a, nil
	}
	for range rounds {
		w := newWant()
		k.mu.Lock()
		try := k.judge(&a, &candidate, p, w)
		k.mu.Unlock()
		if w.empty() {
			return try, nil
		}
		if err := k.load(ctx, conn, w); err != nil {
			return Analysis{}, err
		}
	}
	a.Reason, a.Everything, a.Cause, a.DDL, a.Foreign = Changing, true, Changing, true, true

	return a, nil
}

// readsPlainly reports whether the lexer reads a text as the server does. In other
// encodings than UTF-8 it folds more letters than those of ASCII.
func readsPlainly(conn *pgconn.PgConn, sql string) bool {
	if conn.ParameterStatus("standard_conforming_strings") != "on" || conn.ParameterStatus("client_encoding") != "UTF8" {
		return false
	}
	notASCII := func(r rune) bool { return r >= 0x80 }
	return conn.ParameterStatus("server_encoding") == "UTF8" || !strings.ContainsFunc(sql, notASCII)
}

// parse is the round trip.
func parse(ctx context.Context, conn *pgconn.PgConn, sql string, c *Candidate) (*parsed, error) {
	p := &parsed{locks: map[Relation]string{}}
	pipe, err := newPipe(ctx, conn)
	if err != nil {
		return nil, err
	}
	var bad error
	pipe.query(lookupBegin, nil)
	pipe.query(pathQuery, func(row [][]byte) { bad = errors.Join(bad, json.Unmarshal(row[0], &p.path)) })
	if len(c.targets) == 0 {
		pipe.parse(sql, func(d *pgconn.StatementDescription) {
			p.params = slices.Clone(d.ParamOIDs)
			isTimetz := func(oid uint32) bool { return oid == timetzOID || oid == timetzArrayOID }
			p.timetz = slices.ContainsFunc(d.ParamOIDs, isTimetz)
			p.types = slices.ContainsFunc(d.ParamOIDs, isUserOID)
			for _, f := range d.Fields {
				p.timetz = p.timetz || isTimetz(f.DataTypeOID)
			}
		})
	}
	for _, target := range c.targets {
		pipe.query(targetQuery, func(row [][]byte) {
			if row[0] == nil {
				p.missing = true
				return
			}
			p.targets = append(p.targets, oid(row[0], &bad))
		}, []byte(target))
	}
	pipe.query(locksQuery, func(row [][]byte) {
		r, mode := oid(row[0], &bad), string(row[1])
		p.locks[r] = stronger(p.locks[r], mode)
	})
	err = pipe.run(ctx)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusesText(refusal) && !conn.IsClosed() {
		p.refused = true
		return p, nil
	}
	if err = errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("catalog: analyze: %w", err)
	}

	return p, nil
}

// refusesText reports whether the server will say the same next time, unless the
// catalog changes; a time-out or a lack of memory says nothing about the text.
func refusesText(err *pgconn.PgError) bool {
	if len(err.Code) != len("42601") {
		return false
	}
	switch err.Code[:2] {
	case "0A", "22", "2F", "3D", "3F", "42", "54":
		return true
	default:
		return false
	}
}

func oid(text []byte, bad *error) Relation {
	n, err := strconv.ParseUint(string(text), 10, 32)
	*bad = errors.Join(*bad, err)
	return Relation(n)
}

// The modes that parse analysis takes, weakest first.
const (
	accessShare  = "AccessShareLock"
	rowShare     = "RowShareLock"
	rowExclusive = "RowExclusiveLock"
)

// stronger returns the mode that says more; one that is not known says most.
func stronger(a, b string) string {
	rank := func(mode string) int {
		switch mode {
		case "":
			return 0
		case accessShare:
			return 1
		case rowShare:
			return 2
		case rowExclusive:
			return 3
		default:
			return 4
		}
	}
	if rank(a) > rank(b) {
		return a
	}
	return b
}

// judge comes to a verdict from what is known; it counts only if nothing was
// wanted.
func (k *knowledge) judge(start *Analysis, c *Candidate, p *parsed, w *want) Analysis {
	a := *start
	j := &judge{k: k, want: w, memory: map[verdictKey]verdict{}}
	w.hazards = k.hazards == nil
	s := j.split(p)
	a.Reads, a.Unlogged = sorted(s.reads), sorted(s.unlogged)
	if a.Reason == "" {
		v := j.cacheable(c, p, s)
		a.Reason, a.Culprit = v.reason, v.culprit
	}
	a.Cacheable = a.Reason == ""
	if a.Cacheable {
		a.Row = j.rowRead(&a, c, p, s)
		return a
	}
	j.effects(&a, c, p, s)
	a.Row = j.rowWritten(&a, c, p, s)

	return a
}

// A split is what the locks say.
type split struct {
	reads    map[Relation]bool // roots
	unlogged map[Relation]bool
	named    []*relation // what was locked, without families
	families []*relation // with them
	targets  []Relation
	odd      bool // a lock that no query takes
	locking  bool
}

func (j *judge) split(p *parsed) *split {
	s := &split{reads: map[Relation]bool{}, unlogged: map[Relation]bool{}, targets: slices.Clone(p.targets)}
	for _, oid := range p.targets {
		if known := j.facts(oid); known == nil {
			s.odd = true // dropped since
		}
	}
	for _, oid := range slices.Sorted(maps.Keys(p.locks)) {
		mode := p.locks[oid]
		switch mode {
		case accessShare:
		case rowShare:
			s.locking = true
		case rowExclusive:
			s.targets = append(s.targets, oid)
		default:
			s.odd = true
		}
		members, root := j.family(oid)
		if r := j.k.relations[oid]; r != nil {
			s.named = append(s.named, r)
		} else {
			s.odd = true // dropped since
		}
		s.families = append(s.families, members...)
		if mode == rowExclusive {
			continue
		}
		s.reads[root] = true
		for _, m := range members {
			if m.Persistence == "u" {
				s.unlogged[root] = true
			}
		}
	}
	slices.Sort(s.targets)

	return s
}

func (j *judge) cacheable(c *Candidate, p *parsed, s *split) verdict {
	switch {
	case s.odd:
		return verdict{reason: LockMode}
	case len(s.targets) > 0:
		return verdict{reason: Modifies}
	case s.locking:
		return verdict{reason: LocksRows}
	case !builtInsFirst(p.path):
		return verdict{reason: SearchPath}
	case p.timetz:
		return verdict{reason: ClockType}
	}
	if v := j.readable(s.families); !v.ok() {
		return v
	}
	near := touched{words: c.words, types: p.types}
	columns := c.columns
	calls, times := c.calls, c.times
	for _, r := range s.families {
		near.types = near.types || hasUserTypes(r)
		times = times || slices.ContainsFunc(r.Columns, func(c column) bool { return c.Type == timeOID || c.Type == timeArrayOID })
	}
	for _, r := range s.named {
		if r.Kind != "v" {
			continue
		}
		v, view := j.view(r, settled)
		if !v.ok() {
			return v
		}
		near.words = append(near.words, view.words...)
		columns = append(columns, view.columns...)
		calls, times = append(calls, view.calls...), times || view.times
	}
	if v := j.candidate(c, p.path, settled); !v.ok() {
		return v
	}
	if zoned(calls, times || j.user) {
		return verdict{reason: ClockType}
	}
	if v := datedColumns(columns, s.named); !v.ok() {
		return v
	}
	near.types = near.types || j.user

	return j.spoilt(near, settled)
}

// builtInsFirst reports whether pg_catalog comes first, so that a word for a
// built-in type means that. Behind it, functions and operators of others may fit
// better than built-in ones, but they are judged too.
//
// A schema of temporary objects before it is the [Session]'s to judge.
func builtInsFirst(path []string) bool {
	if len(path) > 0 && strings.HasPrefix(path[0], "pg_temp_") {
		path = path[1:]
	}
	return len(path) > 0 && path[0] == "pg_catalog"
}

func hasUserTypes(r *relation) bool {
	return slices.ContainsFunc(r.Columns, func(c column) bool { return isUserOID(c.Type) })
}

// isUserOID reports whether an object did not come with the server: it lies above
// FirstNormalObjectId.
func isUserOID(oid uint32) bool { return oid >= 16384 }
