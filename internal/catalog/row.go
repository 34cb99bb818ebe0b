package catalog

import (
	"slices"
	"strconv"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// This file reads from a text which one row it is about:
//
//	SELECT … FROM t WHERE … AND key = $1 AND … [GROUP, ORDER, LIMIT …]
//	UPDATE t SET … WHERE … AND key = $1 AND … [RETURNING …]
//	DELETE FROM t WHERE … AND key = $1 AND … [RETURNING …]
//	INSERT INTO t (…, key, …) VALUES (…, $1, …) [RETURNING …]
//
// The rule is a small grammar rather than a list of what must not stand there: what is not of
// this form is about the table. Where a column is compared with a value stands on its own
// between ANDs that belong to the condition itself or to brackets around parts of it, so that
// a row for which the comparison is not true is not touched, whatever else is asked. With one
// item in FROM and no further query, what the statement yields is a function of that row.
//
// Which of the columns is the key, and whether "=" and "t" mean what they seem to, the
// catalog says: see rowOf.

// rowText is what a text says of the row that it is about. The zero value is nothing.
type rowText struct {
	equal []equality // each holds for every row that is touched
	sets  []string   // columns that UPDATE assigns
	kind  rowKind
}

// An equality is a column with the one value that it has: $param, or a number.
type equality struct {
	column string
	param  int // 0 for a number
	number int64
}

type rowKind uint8

const (
	noRow rowKind = iota
	readsRow
	updatesRow
	deletesRow
	insertsRow
)

// longestNumber is how many digits a number may have that surely is an integer.
const longestNumber = 18

// deepestBrackets is how far into brackets a condition is read.
const deepestBrackets = 8

// row reads the text. Reasons of the gate's count beside it.
func (s *scan) row() rowText {
	var r rowText
	switch first := s.at(0); {
	case s.unreadable || !s.paired() || s.has("with", "union", "intersect", "except", "merge", "overriding"):
	case first.word("select") && s.selects == 1:
		r = s.selectsRow()
	case first.word("update") && s.selects == 0:
		r = s.updatesRow()
	case first.word("delete") && s.at(1).word("from") && s.selects == 0:
		r = s.whereRow(deletesRow, 2)
	case first.word("insert") && s.at(1).word("into") && s.selects == 1:
		r = s.insertsRow()
	}
	if len(r.equal) == 0 {
		return rowText{}
	}
	return r
}

func (s *scan) selectsRow() rowText {
	from := s.only("from")
	if from < 0 {
		return rowText{}
	}
	return s.whereRow(readsRow, from+1)
}

// whereRow reads [ONLY] t [[AS] alias] WHERE condition from i on.
func (s *scan) whereRow(kind rowKind, i int) rowText {
	qualifier, where := s.target(i)
	if qualifier == "" || !s.at(where).word("where") {
		return rowText{}
	}
	return rowText{kind: kind, equal: s.conjuncts(where+1, s.endOfWhere(where+1), qualifier, 0, nil)}
}

func (s *scan) updatesRow() rowText {
	qualifier, set := s.target(1)
	where := s.only("where")
	if qualifier == "" || !s.at(set).word("set") || where < set || s.count("from") > 0 {
		return rowText{}
	}
	sets, ok := s.assigned(set+1, where)
	if !ok {
		return rowText{}
	}
	return rowText{
		kind: updatesRow, sets: sets,
		equal: s.conjuncts(where+1, s.endOfWhere(where+1), qualifier, 0, nil),
	}
}

// insertsRow reads t [AS alias] (columns) VALUES (values), of which there is one row.
func (s *scan) insertsRow() rowText {
	_, open := s.target(2)
	if open < 0 || !s.at(open).is("(") {
		return rowText{}
	}
	columns := s.names(open+1, s.closing(open))
	values := s.closing(open) + 1
	if columns == nil || !s.at(values).word("values") || !s.at(values+1).is("(") {
		return rowText{}
	}
	end := s.closing(values + 1)
	if end+1 < len(s.toks) && !s.at(end+1).word("returning") {
		return rowText{}
	}
	r := rowText{kind: insertsRow}
	for n, i := 0, values+2; i < end; n++ {
		next := s.comma(i, end)
		if n == len(columns) {
			return rowText{}
		}
		if e, ok := s.value(i); ok && next == i+1 {
			e.column = columns[n]
			r.equal = append(r.equal, e)
		}
		i = next + 1
	}
	return r
}

// target reads [ONLY] [schema.]t [[AS] alias] at i: the name by which columns are qualified,
// and what follows. Without one the name is empty.
func (s *scan) target(i int) (qualifier string, next int) {
	if s.at(i).word("only") {
		i++
	}
	text, next := s.relation(i)
	if text == "" || next-i > 3 { // a database's name, too
		return "", -1
	}
	qualifier = s.at(next - 1).name
	switch t := s.at(next); {
	case t.word("as") && s.at(next+1).named():
		return s.at(next + 1).name, next + 2
	case t.kind == sqltext.QuotedName, t.kind == sqltext.Word && !t.word("where") && !t.word("set") && !t.word("values"):
		return t.name, next + 1
	}
	return qualifier, next
}

// only returns where a word stands outside of brackets, if it does so once; else -1.
func (s *scan) only(word string) int {
	at := -1
	for i := 0; i < len(s.toks); i = s.after(i) {
		if !s.at(i).word(word) {
			continue
		}
		if at >= 0 {
			return -1
		}
		at = i
	}
	return at
}

// count is how often a word stands outside of brackets.
func (s *scan) count(word string) (n int) {
	for i := 0; i < len(s.toks); i = s.after(i) {
		if s.at(i).word(word) {
			n++
		}
	}
	return n
}

// after is what follows the token at i, or the brackets that it opens.
func (s *scan) after(i int) int {
	if t := s.at(i); t.is("(") || t.is("[") {
		return s.closing(i) + 1
	}
	return i + 1
}

// comma is where the next comma outside of further brackets is, or end.
func (s *scan) comma(i, end int) int {
	for ; i < end; i = s.after(i) {
		if s.at(i).is(",") {
			return i
		}
	}
	return end
}

// endOfWhere is where the condition that begins at i is over.
func (s *scan) endOfWhere(i int) int {
	for ; i < len(s.toks); i = s.after(i) {
		switch t := s.at(i); {
		case t.kind != sqltext.Word, s.at(i - 1).is("."): // t.order is a column
		case isAfterWhere(t.name):
			return i
		}
	}
	return len(s.toks)
}

func isAfterWhere(word string) bool {
	switch word {
	case "group", "having", "window", "order", "limit", "offset", "fetch", "for", "returning":
		return true
	default:
		return false
	}
}

// conjuncts collects what a condition between two places compares with values. All words of a
// level count that could take an AND for themselves, or let a row pass that an AND would not.
func (s *scan) conjuncts(start, end int, qualifier string, depth int, found []equality) []equality {
	if depth > deepestBrackets || end > len(s.toks) {
		return found
	}
	for i := start; i < end; i = s.after(i) {
		switch t := s.at(i); {
		case t.word("or"), t.word("between"), t.word("case"), t.word("when"), t.is(","), t.is(";"):
			return found
		}
	}
	for i := start; i < end; {
		next := i
		for next < end && (!s.at(next).word("and") || s.at(next-1).is(".")) {
			next = s.after(next)
		}
		if next > end {
			return found // brackets that do not match
		}
		if e, ok := s.equality(i, next, qualifier); ok {
			found = append(found, e)
		} else if s.at(i).is("(") && s.closing(i) == next-1 {
			found = s.conjuncts(i+1, next-1, qualifier, depth+1, found)
		}
		i = next + 1
	}
	return found
}

// equality reads [qualifier.]column = value, which is all that stands between two places.
func (s *scan) equality(i, end int, qualifier string) (equality, bool) {
	column := s.at(i)
	switch {
	case end-i == 3 && column.kind == sqltext.Word && isValueWord(column.name):
		return equality{}, false // CURRENT_USER is written without brackets, too
	case end-i == 3:
	case end-i == 5 && column.named() && column.name == qualifier && s.at(i+1).is("."):
		i += 2
		column = s.at(i)
	default:
		return equality{}, false
	}
	if t := s.at(i + 1); !column.named() || t.kind != sqltext.Operator || t.text != "=" {
		return equality{}, false
	}
	e, ok := s.value(i + 2)
	e.column = column.name
	return e, ok
}

// isValueWord reports whether a word without quotes is no column.
func isValueWord(word string) bool {
	switch word {
	case "true", "false", "null", "default":
		return true
	default:
		return isSessionValue(word)
	}
}

// value reads a parameter or a number at i.
func (s *scan) value(i int) (equality, bool) {
	switch t := s.at(i); t.kind {
	case sqltext.Param:
		n, err := strconv.ParseUint(t.text[1:], 10, 16)
		return equality{param: int(n)}, err == nil && n > 0 //nolint:gosec // 16 bits
	case sqltext.Number:
		for _, c := range []byte(t.text) {
			if c < '0' || c > '9' {
				return equality{}, false
			}
		}
		n, err := strconv.ParseInt(t.text, 10, 64)
		return equality{number: n}, err == nil && len(t.text) <= longestNumber
	default:
		return equality{}, false
	}
}

// assigned reads the columns of SET between two places: a = …, or (a, b) = ….
func (s *scan) assigned(i, end int) (columns []string, ok bool) {
	for i < end {
		next := s.comma(i, end)
		switch t := s.at(i); {
		case t.is("("):
			names := s.names(i+1, s.closing(i))
			if names == nil {
				return nil, false
			}
			columns = append(columns, names...)
			i = s.closing(i)
		case t.named():
			columns = append(columns, t.name)
		default:
			return nil, false
		}
		if t := s.at(i + 1); i+1 >= next || t.kind != sqltext.Operator || t.text != "=" {
			return nil, false // a part of a column
		}
		i = next + 1
	}
	return columns, len(columns) > 0
}

// names reads a list of names between two places; nil if it is anything else.
func (s *scan) names(i, end int) (list []string) {
	for ; i < end; i += 2 {
		if !s.at(i).named() || i+1 < end && !s.at(i+1).is(",") {
			return nil
		}
		list = append(list, s.at(i).name)
	}
	return list
}

// of returns the equality that a column has, if the text does not assign it otherwise.
func (r *rowText) of(column string) (equality, bool) {
	if slices.Contains(r.sets, column) {
		return equality{}, false
	}
	i := slices.IndexFunc(r.equal, func(e equality) bool { return e.column == column })
	if i < 0 {
		return equality{}, false
	}
	return r.equal[i], true
}
