package catalog

// keyword takes a word that stands where a keyword may. Most are legal names of
// columns too; those are refused with the keyword.
func (s *scan) keyword(i int, t token) {
	switch t.name {
	case "select", "values", "table":
		s.selects++
	case "with":
		s.withWord(i)
	case "insert":
		s.inserts = true
		s.refuse(Modifies)
	case "update":
		s.updates = true
		if s.at(i-1).word("for") || s.at(i-1).word("key") {
			s.refuse(LocksRows)
			return
		}
		s.refuse(Modifies)
	case "share":
		if s.at(i-1).word("for") || s.at(i-1).word("key") {
			s.refuse(LocksRows)
		}
	case "delete":
		s.deletes = true
		s.refuse(Modifies)
	case "merge":
		s.inserts, s.updates, s.deletes = true, true, true
		s.refuse(Modifies)
	case "into":
		s.into = true
		s.refuse(Modifies)
	case "truncate", "copy", "call":
		s.refuse(Modifies)
	case "tablesample":
		s.refuse(Sample)
	case "xmltable", "json_table", "json_value", "json_query":
		s.refuse(DocumentColumns)
	case "as":
		s.castAs(i)
	case "from":
		inside := len(s.open) > 0 && isFromFunction(s.at(s.open[len(s.open)-1]-1).name)
		s.inFrom = s.inFrom || !inside
	case "where", "group", "order", "having", "limit", "window":
		s.inFrom = false
	case "at": // AT TIME ZONE, AT LOCAL
		if s.at(i+1).word("time") || s.at(i+1).word("local") {
			s.calls = append(s.calls, name{name: "timezone"})
		}
	case "overlaps":
		s.calls = append(s.calls, name{name: "overlaps"})
	default:
		if isSessionValue(t.name) {
			s.refuse(SessionValue)
		}
	}
}

func (s *scan) withWord(i int) {
	before := s.at(i - 1)
	if before.word("time") || before.is(")") && s.at(s.opening(i-1)-1).word("time") {
		if s.at(i + 1).word("time") {
			s.refuse(ClockType) // time with time zone
			return
		}
	}
	switch next := s.at(i + 1); {
	case next.word("time") || next.word("ordinality") || next.word("ties"):
	default:
		s.with = true
	}
}

// isSessionValue reports whether the word is one of SQL's value functions, which
// take no brackets.
func isSessionValue(word string) bool {
	switch word {
	case "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
		"current_user", "current_role", "session_user", "system_user", "user",
		"current_catalog", "current_schema":
		return true
	default:
		return false
	}
}

// isSystemColumn reports whether a name is that of a column which changes with
// other things than data. No table can have a column of its own that is called so.
func isSystemColumn(word string) bool {
	switch word {
	case "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid":
		return true
	default:
		return false
	}
}

// isCatalogType reports whether a type's values are names of the catalog.
func isCatalogType(word string) bool {
	if len(word) > 0 && word[0] == '_' {
		word = word[1:]
	}
	switch word {
	case "regclass", "regproc", "regprocedure", "regoper", "regoperator", "regtype", "regrole",
		"regnamespace", "regcollation", "regdatabase":
		return true
	default:
		return false
	}
}

// isClauseWord reports whether a word is reserved, so that what follows it is no
// alias of it.
func isClauseWord(word string) bool {
	switch word {
	case "select", "distinct", "all", "from", "where", "and", "or", "not", "on", "group", "order", "by",
		"having", "limit", "offset", "union", "intersect", "except", "in", "is", "like", "ilike", "similar",
		"between", "case", "when", "then", "else", "join", "inner", "left", "right", "full", "cross",
		"natural", "using", "any", "some", "array", "lateral", "window", "partition", "over", "filter",
		"exists", "only", "fetch", "for", "to", "collate", "variadic", "asymmetric", "symmetric":
		return true
	default:
		return false
	}
}
