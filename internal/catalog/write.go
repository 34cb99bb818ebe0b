package catalog

import (
	"strings"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// classify says what the kind of statement may do.
func (c *Candidate) classify(st *sqltext.Statement, s *scan) {
	c.updates, c.deletes, c.runsText, c.Reload = s.updates, s.deletes, s.texts, s.reload
	c.setters(s)
	switch st.Kind {
	case sqltext.Select, sqltext.Values, sqltext.Table:
		c.Effect = Reads
		if st.Flags.Has(sqltext.SelectInto) {
			c.selectInto(s)
		}
	case sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
		c.Effect = Targets
	case sqltext.Truncate:
		c.Effect = Targets
		if !c.truncate(s) {
			c.anything()
		}
	case sqltext.Copy:
		c.copy(s)
	case sqltext.Refresh:
		c.refresh(s)
	case sqltext.Execute:
		c.Effect = Runs
	case sqltext.Call:
		c.Effect = Calls
	case sqltext.Do:
		c.do(s)
	case sqltext.DDL:
		c.create(s)
	case sqltext.Maintenance:
		c.maintain(s)
	case sqltext.Empty, sqltext.Begin, sqltext.Commit, sqltext.Rollback, sqltext.Savepoint, sqltext.Release,
		sqltext.RollbackTo, sqltext.Show, sqltext.Listen, sqltext.Notify, sqltext.Prepare, sqltext.Deallocate,
		sqltext.Lock:
		c.Effect = Nothing
	case sqltext.Set, sqltext.Reset, sqltext.Discard:
		c.set(s)
	case sqltext.Cursor:
		// FETCH runs what DECLARE has let in. With HOLD, COMMIT runs the rest.
		c.Effect = Nothing
		switch {
		case s.at(0).word("declare"):
			c.Effect, c.Late = Runs, s.has("hold")
		case s.at(0).word("fetch"), s.at(0).word("move"):
			c.Hidden, c.runsText = true, true
		}
	case sqltext.Explain:
		c.Effect = Nothing
		switch {
		case !st.Flags.Has(sqltext.ExplainAnalyze):
		case s.makesTable():
			c.anything()
		default:
			c.Effect = Runs
		}
	default:
		c.anything()
	}
	if c.Effect == Runs && s.has("execute") {
		// What was prepared may call set_config, or any function.
		c.Settings, c.Async, c.runsText = AnyLasting, true, true
	}
	if st.Flags.Has(sqltext.Malformed) || s.unreadable {
		c.anything()
	}
}

// anything is for what may run statements of its own, so also SET and DDL.
func (c *Candidate) anything() {
	c.Effect, c.Settings, c.DDL = Anything, AnyLasting, true
}

// truncate reads TRUNCATE [TABLE] [ONLY] name [*], … and reports whether that was
// all it found, with the words that may follow.
func (c *Candidate) truncate(s *scan) bool {
	i := 1
	if s.at(i).word("table") {
		i++
	}
	for {
		if s.at(i).word("only") {
			i++
		}
		target, next := s.relation(i)
		if target == "" {
			return false
		}
		c.targets = append(c.targets, target)
		i = next
		if t := s.at(i); t.kind == sqltext.Operator && t.text == "*" {
			i++
		}
		if !s.at(i).is(",") {
			break
		}
		i++
	}
	for ; i < len(s.toks); i++ {
		switch t := s.at(i); {
		case t.word("cascade"):
			c.cascade = true
		case t.word("restrict"), t.word("restart"), t.word("continue"), t.word("identity"):
		default:
			return false
		}
	}

	return true
}

// copy reads COPY name [(…)] FROM …, and COPY name TO …, which changes nothing.
// COPY (query) TO may do what a query may.
func (c *Candidate) copy(s *scan) {
	target, i := s.relation(1)
	if target != "" && s.at(i).is("(") {
		i = s.closing(i) + 1
	}
	switch {
	case target != "" && s.at(i).word("from"):
		c.Effect, c.targets = Targets, []string{target}
	case target != "" && s.at(i).word("to"):
		c.Effect = Nothing
	case s.at(1).is("("):
		c.Effect = Runs
	default:
		c.anything()
	}
}

// relation reads a relation's name at i and returns it as to_regclass takes it,
// and what follows; or nothing.
func (s *scan) relation(i int) (text string, next int) {
	var parts []string
	for {
		t := s.at(i)
		if !t.named() || t.name == "" {
			return "", i
		}
		parts = append(parts, `"`+strings.ReplaceAll(t.name, `"`, `""`)+`"`)
		i++
		if !s.at(i).is(".") {
			break
		}
		i++
	}
	if len(parts) > 2 { // a database's name too
		parts = parts[len(parts)-2:]
	}

	return strings.Join(parts, "."), i
}
