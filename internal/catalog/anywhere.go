package catalog

import "strings"

// RunsAnywhere reports whether sql, by its text alone, is a query of which it makes no
// difference in which session it runs, nor whether it runs once or twice: it locks no
// rows, and calls nothing but a few functions of PostgreSQL's own. What a view, an
// operator or a cast does that somebody has defined is not looked at, nor whether somebody
// has given a function of his own the name of one of those.
func RunsAnywhere(sql string) bool {
	c, reason := Gate(sql)
	if reason != "" {
		return false
	}
	quoted := strings.Contains(sql, `"`)
	for _, n := range c.calls {
		if n.schema != "" || quoted || !isReserved(n.name) && !isPlainCall(n.name) {
			return false
		}
	}
	return true
}

// isReserved reports whether a word that stands before a bracket is no call, since only
// quotes could make it the name of a function.
func isReserved(word string) bool {
	switch word {
	case "all", "and", "any", "array", "as", "asymmetric", "case", "cast", "distinct", "else", "except", "from", "having", "in",
		"intersect", "lateral", "limit", "not", "offset", "on", "only", "or", "select", "some", "then", "union", "using", "when",
		"where", "with", "between", "exists", "row", "values":
		return true
	}
	return false
}

// isPlainCall reports whether a function depends on its arguments and on settings only.
func isPlainCall(function string) bool {
	switch function {
	case "count", "sum", "min", "max", "avg", "coalesce", "nullif", "greatest", "least",
		"lower", "upper", "length", "abs", "round", "substring", "trim", "btrim", "replace", "position",
		"array_agg", "string_agg", "json_agg", "jsonb_agg", "bool_and", "bool_or",
		"row_number", "rank", "dense_rank", "date_trunc", "extract", "date_part", "unnest":
		return true
	}
	return false
}
