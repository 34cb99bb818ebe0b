package catalog

import (
	"strings"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// A Candidate is what a text says about itself, before the server is asked.
type Candidate struct {
	// Kind is the kind of statement.
	Kind sqltext.Kind
	// Effect is what the statement may do, as far as its kind tells.
	Effect Effect
	// Settings is what the statement may change of its session.
	Settings Settings
	// Async says that commits may no longer wait for their log.
	Async bool
	// Reload says that the configuration is read again, by all sessions, soon.
	Reload bool
	// Late says that the statement may run queries when its transaction commits.
	Late bool
	// Hidden says that more than the kind tells may happen: event triggers are fired, or
	// queries run that are written elsewhere. [Reach.Surprises] says whether it can.
	Hidden bool
	// DDL says that it may change the catalog: [Catalog.Forget] is due before
	// it is sent and after it has taken effect.
	DDL bool

	targets   []string // relations named by TRUNCATE and COPY, as written
	cascade   bool     // TRUNCATE … CASCADE
	refreshes bool     // REFRESH
	deletes   bool     // what the words say the statement may do to its targets
	updates   bool
	calls     []name   // what looks like a call
	dotted    []string // names behind a dot: an attribute, or a function of a row
	methods   []string // … or of anything else: (id).f is f(id)
	words     []string // all names, for types that are spoilt
	ops       []string // operators, as written
	types     []name   // casts to types that only the catalog knows
	columns   []string // columns that are cast to a date or time
	aliases   []string // names that stand where an alias may
	selects   int      // how often a query begins
	with      bool     // a WITH clause
	tables    bool     // a call where a relation may stand
	dated     []string // functions that are taken to yield dates
	body      *body    // what DO runs
	runsText  bool     // a built-in function that runs a text may be called
	times     bool     // the type time is named, or what yields it
	row       rowText  // the row that it is about
}

// An Effect is what a kind of statement may do to relations.
type Effect uint8

// The effects.
const (
	// Nothing: transaction control, SET, LISTEN, …; and COPY … TO of a table.
	Nothing Effect = iota
	// Reads: a query, which writes only if a function or a WITH query does.
	Reads
	// Targets: INSERT, UPDATE, DELETE, MERGE, TRUNCATE, COPY … FROM, REFRESH.
	Targets
	// Runs: what runs queries, or changes rows, by words that are elsewhere, and does
	// nothing else: EXECUTE, DECLARE, EXPLAIN ANALYZE, CREATE TEMPORARY TABLE … AS.
	Runs
	// Calls: CALL and DO, which may commit in between.
	Calls
	// Anything: what runs other statements, changes the catalog, or is not known.
	Anything
)

// A name is an identifier as PostgreSQL stores it, with its schema if it has one.
type name struct{ schema, name string }

// Gate reads sql without a server. The Reason is empty if sql is a query whose
// result could be kept, should the server say the same; the Candidate is
// meaningful in either case.
//
// It takes for granted that standard_conforming_strings is on and the client's
// encoding is UTF8; [Session.Reason] says whether that is so.
func Gate(sql string) (Candidate, Reason) {
	st := sqltext.Analyze(sql)
	c := Candidate{Kind: st.Kind}
	s := newScan(sql)
	s.read()
	c.calls, c.dotted, c.methods, c.words, c.ops = s.calls, s.dotted, s.methods, s.words, s.ops
	c.types, c.columns, c.aliases = s.types, s.columns, s.aliases
	c.selects, c.with, c.tables, c.dated, c.times = s.selects, s.with, s.tables, s.dated, s.times
	c.classify(st, s)
	if c.Effect == Reads || c.Effect == Targets {
		c.row = s.row()
	}

	reason := s.reason
	switch {
	case st.Kind == sqltext.Multi:
		reason = Several
	case st.Flags.Has(sqltext.Malformed) || s.unreadable:
		reason = Unreadable
	case c.Effect != Reads:
		reason = NotARead
	case reason == "" && (st.Flags.Has(sqltext.ModifyingCTE) || st.Flags.Has(sqltext.SelectInto)):
		reason = Modifies
	case reason == "" && st.Flags.Has(sqltext.Locking):
		reason = LocksRows
	case reason == "" && !s.beginsQuery():
		reason = NotARead
	case reason == "" && !c.plainColumns():
		reason = ClockCast
	}

	return c, reason
}

// plainColumns reports whether the columns that are cast to a date are sure to be
// columns of relations: nothing else in the statement could give its own result
// the name.
func (c *Candidate) plainColumns() bool {
	if len(c.columns) == 0 {
		return true
	}
	if c.selects != 1 || c.with || c.tables || len(c.aliases) >= maxAliases {
		return false
	}
	for _, column := range c.columns {
		for _, alias := range c.aliases {
			if alias == column {
				return false
			}
		}
		for _, call := range c.calls { // FROM unnest(…): its column is called so
			if call.name == column {
				return false
			}
		}
	}

	return true
}

// A scan collects what the tokens of one text say.
type scan struct {
	toks       []token
	inBody     bool // a function's body: several statements, and INTO is an assignment
	unreadable bool
	reason     Reason

	calls    []name
	dotted   []string
	methods  []string
	words    []string
	ops      []string
	types    []name
	columns  []string
	aliases  []string
	selects  int
	with     bool
	tables   bool
	dated    []string
	inFrom   bool  // in a FROM clause, as far as words tell
	setter   bool  // set_config is called, or what may call it
	setters  []int // where set_config is
	settings bool  // pg_settings is named
	times    bool  // the type time is named, or what yields it
	texts    bool  // what runs a text is called
	reload   bool
	into     bool
	inserts  bool
	updates  bool
	deletes  bool
	open     []int  // where the brackets around the current token begin
	froms    []bool // inFrom before each of them
	partner  []int  // of each bracket, or -1
}

// A token is a token with its identifier, if it is one.
type token struct {
	kind sqltext.TokenKind
	text string // as written
	name string // of Word and QuotedName, as PostgreSQL stores it
}

// longestName is how many bytes of an identifier PostgreSQL looks at. Longer ones
// it cuts, so that two texts mean one name.
const longestName = 63

// maxAliases is how many names are taken from lists of columns. With more of them
// no column is plain.
const maxAliases = 1000

func newScan(sql string) *scan {
	s := &scan{}
	if strings.IndexByte(sql, 0) >= 0 {
		s.unreadable = true
	}
	lex := sqltext.NewLexer(sql)
	for tok := lex.Next(); tok.Kind != sqltext.EOF; tok = lex.Next() {
		t := token{kind: tok.Kind, text: lex.Text(tok)}
		switch tok.Kind {
		case sqltext.Word:
			t.name = lower(t.text)
		case sqltext.QuotedName:
			if t.text[0] != '"' { // U&"…" with its escapes
				s.unreadable = true
				break
			}
			t.name = strings.ReplaceAll(t.text[1:len(t.text)-1], `""`, `"`)
		case sqltext.Invalid:
			s.unreadable = true
		default:
		}
		if len(t.name) > longestName {
			s.unreadable = true
		}
		s.toks = append(s.toks, t)
	}
	for len(s.toks) > 0 && s.toks[len(s.toks)-1].is(";") {
		s.toks = s.toks[:len(s.toks)-1]
	}
	s.pair()

	return s
}

// lower folds ASCII only, byte by byte, as PostgreSQL does in UTF-8.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}

// is reports whether the token is this mark.
func (t token) is(mark string) bool { return t.kind == sqltext.Punct && t.text == mark }

// word reports whether the token is this keyword; a quoted name is none.
func (t token) word(w string) bool { return t.kind == sqltext.Word && t.name == w }

func (t token) named() bool { return t.kind == sqltext.Word || t.kind == sqltext.QuotedName }

// at returns the token at i, or one that is nothing.
func (s *scan) at(i int) token {
	if i < 0 || i >= len(s.toks) {
		return token{}
	}
	return s.toks[i]
}

// beginsQuery reports whether the first word, behind brackets, begins a query.
func (s *scan) beginsQuery() bool {
	for _, t := range s.toks {
		if t.is("(") {
			continue
		}
		return t.word("select") || t.word("with") || t.word("values") || t.word("table")
	}
	return false
}

// refuse keeps the first reason.
func (s *scan) refuse(r Reason) {
	if s.reason == "" {
		s.reason = r
	}
}

func (s *scan) read() {
	for i, t := range s.toks {
		switch t.kind {
		case sqltext.Word, sqltext.QuotedName:
			s.identifier(i, t)
		case sqltext.String, sqltext.Dollar:
			if literalReadsClock(t.text) {
				s.refuse(ClockLiteral)
			}
		case sqltext.Operator:
			s.ops = append(s.ops, t.text)
		case sqltext.Punct:
			s.mark(i, t)
		default:
		}
	}
	if s.tables { // the alias of a function in FROM may be no row
		for _, n := range s.dotted {
			s.method(n)
		}
	}
}

func (s *scan) mark(i int, t token) {
	switch t.text {
	case "(", "[":
		s.open = append(s.open, i)
		s.froms = append(s.froms, s.inFrom)
		s.columnList(i)
	case ")", "]":
		if last := len(s.open) - 1; last >= 0 {
			s.inFrom = s.froms[last] // a WHERE within was not ours
			s.open, s.froms = s.open[:last], s.froms[:last]
		}
	case "::":
		s.cast(i-1, i+1)
	case ";": // the last one is gone
		s.unreadable = s.unreadable || !s.inBody
	}
}

// columnList takes the names in the brackets of "AS t (a, b)", or of what may be
// its short form, for aliases.
func (s *scan) columnList(open int) {
	if !s.at(open-1).named() || !s.at(open-2).word("as") && !s.aliasPlace(open-1) {
		return
	}
	for i, end := open+1, s.closing(open); i < end && len(s.aliases) < maxAliases; i++ {
		if t := s.at(i); t.named() {
			s.aliases = append(s.aliases, t.name)
		}
	}
}

func (s *scan) identifier(i int, t token) {
	s.words = append(s.words, t.name)
	behindDot := s.at(i - 1).is(".")
	switch {
	case s.at(i + 1).is("("):
		s.call(i, t, behindDot)
	case behindDot:
		s.dotted = append(s.dotted, t.name)
		if before := s.at(i - 2); before.is(")") || before.is("]") || before.kind == sqltext.Param {
			s.method(t.name)
		}
	}
	s.settings = s.settings || t.name == "pg_settings"
	s.times = s.times || t.name == "make_time" || t.name == "_time" || t.name == "time" && !s.at(i-1).word("at")
	if isSystemColumn(t.name) {
		s.refuse(SystemColumn)
	}
	if isCatalogType(t.name) {
		s.refuse(CatalogType)
	}
	if t.name == "timetz" || t.name == "_timetz" {
		s.refuse(ClockType)
	}
	if s.aliasPlace(i) {
		s.aliases = append(s.aliases, t.name)
	}
	if t.kind == sqltext.Word && !behindDot {
		s.keyword(i, t)
	}
}

// aliasPlace reports whether what stands before i may be an expression or a
// relation, or is AS: then i may be its alias. Keywords count too; too many
// aliases do no harm.
func (s *scan) aliasPlace(i int) bool {
	before := s.at(i - 1)
	switch before.kind {
	case sqltext.Word:
		return !isClauseWord(before.name)
	case sqltext.Punct:
		return before.text == ")" || before.text == "]"
	case sqltext.Operator:
		return before.text == "*" // FROM t * d
	case sqltext.EOF: // nothing
		return false
	default:
		return true
	}
}

func (s *scan) call(i int, t token, behindDot bool) {
	before := s.at(i - 1)
	if before.word("as") { // AS t(a, b), CAST(x AS varchar(10))
		return
	}
	n := name{name: t.name}
	if behindDot {
		n.schema = s.at(i - 2).name
	}
	s.calls = append(s.calls, n)
	first := i // of the chain of names
	for first > 1 && s.at(first-1).is(".") {
		first -= 2
	}
	if b := s.at(first - 1); s.inFrom && (b.is(",") || b.is("(") || b.word("from") || b.word("join") || b.word("lateral")) {
		s.tables = true
	}
	switch {
	case t.name == "set_config":
		s.setter = true
		s.setters = append(s.setters, i)
	case runsText(t.name):
		s.setter, s.texts = true, true
	case t.name == "pg_reload_conf":
		s.reload = true
	}
	// A type in the place of a function is a cast, unless it is the target of
	// one: x::timestamp(3), CAST(x AS timestamp(3)).
	if !isClockType(t.name) || before.is("::") || behindDot && n.schema != "pg_catalog" {
		return
	}
	if end := s.closing(i + 1); !s.hasComma(i+2, end) { // tstzrange(a, b) is no cast
		s.castTo(i+2, end-1)
	}
}
