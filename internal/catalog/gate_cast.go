package catalog

import "github.com/lifeguard-go/lifeguard/internal/sqltext"

// A cast from text to a date reads the clock if the text says "today". Whether
// what is cast is text, tokens cannot tell; so such a cast passes only for
//
//   - a literal, which was looked at, and a parameter, whose argument will be;
//   - a column, if the relations that are read turn out to have it, and not as text;
//   - the result of another such cast, or of a function that yields dates;
//   - anything at all, if the type is one whose input reads no clock.

// cast takes expr::type, where the expression ends at end and the type begins at
// typ.
func (s *scan) cast(end, typ int) {
	t := s.at(typ)
	target := name{name: t.name}
	if s.at(typ+1).is(".") && s.at(typ+2).named() {
		target = name{schema: t.name, name: s.at(typ + 2).name}
	}
	if t.kind == sqltext.Word && target.schema == "" && isPlainType(t.name) {
		return
	}
	if (target.schema == "" || target.schema == "pg_catalog") && isClockType(target.name) {
		s.castTo(s.operand(end), end)
		return
	}
	switch s.at(end).kind {
	case sqltext.Param, sqltext.String, sqltext.Dollar, sqltext.Number:
		return
	default:
	}
	s.types = append(s.types, target)
}

// castAs takes the AS of CAST(expr AS type).
func (s *scan) castAs(i int) {
	if len(s.open) == 0 {
		return
	}
	open := s.open[len(s.open)-1]
	if !s.at(open-1).word("cast") && !s.at(open-1).word("treat") {
		return
	}
	if start := s.operand(i - 1); start != open+1 {
		// More than one operand: what counts is the type of all of it.
		s.castExpression(i + 1)
		return
	}
	s.cast(i-1, i+1)
}

func (s *scan) castExpression(typ int) {
	t := s.at(typ)
	switch {
	case t.kind == sqltext.Word && !s.at(typ+1).is(".") && isPlainType(t.name):
	case isClockType(t.name) || t.name == "pg_catalog":
		s.refuse(ClockCast)
	default:
		s.types = append(s.types, name{name: t.name})
		if s.at(typ + 1).is(".") {
			s.types[len(s.types)-1] = name{schema: t.name, name: s.at(typ + 2).name}
		}
	}
}

// operand returns where the operand that ends at end begins: what :: binds to. Of
// x::a::b it is a, whose cast has been judged.
func (s *scan) operand(end int) int {
	i := end
	for {
		switch t := s.at(i); {
		case t.is(")") || t.is("]"):
			i = s.opening(i)
			if i < 0 {
				return -1
			}
			switch {
			case s.at(i).is("["): // an element
				i--
				continue
			case s.callee(i - 1):
				i-- // a call
			default:
				return i
			}
		case t.named(), t.kind == sqltext.String, t.kind == sqltext.Dollar, t.kind == sqltext.Param,
			t.kind == sqltext.Number:
		default:
			return -1
		}
		if !s.at(i - 1).is(".") {
			return i
		}
		i -= 2
	}
}

// chain returns where x::a::b begins, of which end is the last token: in (name || x::time)
// the cast is of x alone.
func (s *scan) chain(end int) int {
	for s.at(end - 1).is("::") {
		end -= 2
	}
	return s.operand(end)
}

// callee reports whether the token before a bracket makes it a call.
func (s *scan) callee(i int) bool {
	t := s.at(i)
	return t.kind == sqltext.QuotedName || t.kind == sqltext.Word && (s.at(i-1).is(".") || !isClauseWord(t.name))
}

// castTo judges a cast to a date or time of the tokens start to end.
func (s *scan) castTo(start, end int) {
	if start < 0 || start > end || !s.datedOperand(start, end) {
		s.refuse(ClockCast)
	}
}

func (s *scan) datedOperand(start, end int) bool {
	for s.at(start).is("(") && s.closing(start) == end {
		start, end = start+1, end-1
	}
	if start > end {
		return false
	}
	last := s.at(end)
	if start == end {
		switch last.kind {
		case sqltext.String, sqltext.Dollar, sqltext.Param:
			return true
		case sqltext.Number:
			return s.at(end + 1).is(")") // timestamp(3)
		default:
		}
	}
	// x::timestamp::date
	if last.kind == sqltext.Word && s.at(end-1).is("::") {
		return isDated(last.name) && s.chain(end) <= start
	}
	if last.is(")") {
		return s.datedCall(start, end)
	}
	// a column: a, t.a, s.t.a
	for i := start; i <= end; i++ {
		t := s.at(i)
		if (i-start)%2 == 0 && !t.named() || (i-start)%2 == 1 && !t.is(".") {
			return false
		}
	}
	if start == end && last.word("null") {
		return true
	}
	if (end-start)%2 != 0 || start == end && last.kind == sqltext.Word && isClauseWord(last.name) {
		return false
	}
	s.columns = append(s.columns, last.name)

	return true
}

// datedCall reports whether start to end is one call of a function that yields
// dates, unless there are others of its name.
func (s *scan) datedCall(start, end int) bool {
	open := s.opening(end)
	if open != start+1 || s.at(start).kind != sqltext.Word {
		return false
	}
	switch s.at(start).name {
	case "date_trunc", "date_bin", "to_timestamp", "to_date", "make_date", "make_timestamp", "make_timestamptz":
		s.dated = append(s.dated, s.at(start).name)
		return true
	default:
		return false
	}
}

// isDated reports whether a cast to this type, itself already judged, yields a
// date or time.
func isDated(typ string) bool {
	switch typ {
	case "date", "timestamp", "timestamptz", "time":
		return true
	default:
		return false
	}
}

// isClockType reports whether the input of a built-in type reads the clock.
func isClockType(typ string) bool {
	if len(typ) > 0 && typ[0] == '_' {
		typ = typ[1:]
	}
	switch typ {
	case "date", "time", "timestamp", "timestamptz", "timetz",
		"daterange", "tsrange", "tstzrange", "datemultirange", "tsmultirange", "tstzmultirange":
		return true
	default:
		return false
	}
}

// isPlainType reports whether the input of a built-in type depends on its text
// and on settings alone.
func isPlainType(typ string) bool {
	switch typ {
	case "int", "int2", "int4", "int8", "integer", "smallint", "bigint", "numeric", "decimal", "dec", "real",
		"float", "float4", "float8", "double", "text", "varchar", "char", "character", "bpchar", "national",
		"nchar", "name", "bool", "boolean", "uuid", "json", "jsonb", "jsonpath", "bytea", "bit", "varbit",
		"inet", "cidr", "macaddr", "macaddr8", "interval", "money", "xml", "tsvector", "tsquery", "regconfig",
		"regdictionary", "oid", "point", "line", "lseg", "box", "path", "polygon", "circle",
		"int4range", "int8range", "numrange", "int4multirange", "int8multirange", "nummultirange":
		return true
	default:
		return false
	}
}

// method takes a name that calls a function of what stands before the dot, or casts that to
// the type of the name.
func (s *scan) method(n string) {
	s.methods = append(s.methods, n)
	if isClockType(n) {
		s.refuse(ClockCast)
	}
}
