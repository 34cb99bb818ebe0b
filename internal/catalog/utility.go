package catalog

import (
	"slices"
	"strings"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// has reports whether one of the words stands somewhere.
func (s *scan) has(words ...string) bool {
	return slices.ContainsFunc(s.toks, func(t token) bool { return t.kind == sqltext.Word && slices.Contains(words, t.name) })
}

// set reads SET, RESET and DISCARD.
//
//	SET [SESSION | LOCAL] name {TO | =} …
//	SET TRANSACTION …, SET CONSTRAINTS …    of the transaction alone
func (c *Candidate) set(s *scan) {
	c.Effect = Nothing
	if !s.at(0).word("set") {
		c.Settings, c.Async = AnyLasting, true // RESET ALL, DISCARD ALL: to what it was at the beginning
		return
	}
	if s.at(1).word("transaction") || s.at(1).word("constraints") {
		c.Settings, c.Async = OwnLocal, false
		return
	}
	i, local := 1, s.at(1).word("local")
	switch {
	case local:
		i = 2
	case s.at(1).word("session") && !s.at(2).word("characteristics") && !s.at(2).word("authorization"):
		i = 2
	}
	c.Settings = settingsChange(s.at(i).named() && s.at(i+1).is(".") && s.at(i+2).named(), local)
	c.Async = s.at(i).name == "synchronous_commit"
}

// setters judges calls of set_config, by their arguments where those are literals.
func (c *Candidate) setters(s *scan) {
	set := s.settings && s.updates // UPDATE pg_settings, whose rule calls set_config
	switch {
	case s.texts, set:
		c.Settings, c.Async = AnyLasting, true
		return
	case !s.setter:
		c.Settings, c.Async = SettingsStay, false
		return
	}
	own, local := true, true
	for _, i := range s.setters {
		end := s.closing(i + 1)
		last := s.at(end - 1)
		local = local && s.at(end-2).is(",") && last.word("true")
		setting := s.at(i + 2)
		known := setting.kind == sqltext.String && setting.text[0] == '\'' && s.at(i+3).is(",")
		name := strings.Trim(setting.text, "'")
		own = own && known && strings.Contains(name, ".")
		c.Async = c.Async || !known || strings.EqualFold(name, "synchronous_commit")
	}
	c.Settings = settingsChange(own, local)
}

// selectInto reads SELECT … INTO [TEMPORARY | TEMP | …] name, wherever it stands.
func (c *Candidate) selectInto(s *scan) {
	c.anything()
	for i, t := range s.toks {
		if !t.word("into") || s.at(i-1).word("insert") || s.at(i-1).word("merge") {
			continue
		}
		if next := s.at(i + 1); next.word("temp") || next.word("temporary") || next.word("local") {
			c.Effect, c.Settings, c.DDL, c.Hidden = Runs, AnyLasting, false, true
		}
	}
}

// makesTable reports whether a query that EXPLAIN runs makes a table.
func (s *scan) makesTable() bool {
	for i, t := range s.toks {
		if t.word("create") || t.word("into") && !s.at(i-1).word("insert") && !s.at(i-1).word("merge") {
			return true
		}
	}
	return false
}

// refresh reads REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH [NO] DATA].
func (c *Candidate) refresh(s *scan) {
	i := 3
	if s.at(i).word("concurrently") {
		i++
	}
	target, next := s.relation(i)
	if target == "" || next < len(s.toks) && !s.at(next).word("with") {
		c.anything()
		return
	}
	c.Effect, c.targets, c.refreshes, c.Hidden = Targets, []string{target}, true, true
}

// do reads DO [LANGUAGE plpgsql] $$…$$. Of other languages nothing is known.
func (c *Candidate) do(s *scan) {
	c.anything()
	var code string
	for i, t := range s.toks[1:] {
		switch {
		case t.kind == sqltext.Dollar && code == "":
			tag := strings.IndexByte(t.text[1:], '$') + 2
			code = t.text[tag : len(t.text)-tag]
		case t.word("language"):
		case t.word("plpgsql") && s.at(i).word("language"):
		default:
			return
		}
	}
	inner := newScan(code)
	inner.inBody = true
	c.body = &body{}
	c.body.add(inner)
	c.words = append(c.words, inner.words...)
	c.runsText, c.Reload = c.runsText || inner.texts, c.Reload || inner.reload
	c.setters(inner)
	c.Effect, c.DDL = Calls, c.body.acts
	if c.body.acts {
		c.Settings = AnyLasting
	}
}

// create reads what of CREATE concerns this session alone:
//
//	CREATE [OR REPLACE] [LOCAL | GLOBAL] TEMP | TEMPORARY {TABLE | [RECURSIVE] VIEW | SEQUENCE} …
//
// An heir of a permanent table is more than that.
func (c *Candidate) create(s *scan) {
	i := 1
	if s.at(1).word("or") && s.at(2).word("replace") {
		i = 3
	}
	if s.at(i).word("local") || s.at(i).word("global") {
		i++
	}
	if !s.at(0).word("create") || !s.at(i).word("temp") && !s.at(i).word("temporary") || s.has("inherits") {
		c.anything()
		return
	}
	c.Effect, c.Settings, c.Hidden = Nothing, AnyLasting, true
	if s.at(i+1).word("table") && s.has("as") {
		c.Effect = Runs
	}
}

// maintain reads VACUUM, ANALYZE, REINDEX, CHECKPOINT, which change no rows, and what puts
// them into another order.
func (c *Candidate) maintain(s *scan) {
	c.Effect, c.Hidden = Nothing, s.at(0).word("reindex") // which fires from PostgreSQL 17 on
	if s.at(0).word("cluster") || s.has("full") {
		c.Effect, c.Late = Runs, true
	}
}
