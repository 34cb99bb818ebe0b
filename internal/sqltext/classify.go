package sqltext

const (
	// maxDepth is how deep in brackets relations are looked for. Deeper
	// brackets are only counted.
	maxDepth = 200
	// maxCTEs is how many names of WITH queries are known; further ones pass
	// for relations. Each name is compared with all of them.
	maxCTEs = 100
)

// A classifier finds each statement's kind and the relations it names. It knows
// no grammar, only what may begin a statement and which words a relation's name
// follows, at each level of brackets.
//
// A statement is a query, whose levels are followed to its end, or a utility
// statement (see utility.go), which is read up to its object's name. EXPLAIN
// and COPY are a bit of both.
type classifier struct {
	sql     string
	summary summary

	// Of the text.
	count int
	kind  Kind // of the first statement
	flags Flags

	// Of the current statement.
	started bool
	current Kind
	main    bool // the main statement was seen: behind WITH, EXPLAIN, COPY (
	utility utility
	levels  []level
	depth   int    // of brackets; beyond maxDepth, more than len(levels)-1
	ctes    []span // names that stand for WITH queries
	name    name
	before  word // the last two tokens, if they were words
	before2 word
}

// A span is a range of the text; the zero span is none.
type span struct{ start, end int }

// A name is a relation's name while it is being read.
type name struct {
	span
	role role
	dot  bool // another part follows
}

// A role says what a relation's name is doing, and so what may stand around it.
type role uint8

const (
	noRole role = iota
	source      // read: a bracket behind it makes it a function
	target      // written: a bracket behind it lists columns
	object      // of a utility statement, or of SELECT INTO
)

// A level is a pair of brackets, or the statement itself.
type level struct {
	op     word // SELECT, INSERT, …: whose relations stand here
	begins bool // a statement may begin here
	inner  bool // in a WITH clause, so what begins here is not the main statement
	body   bool // the brackets hold a WITH query
	from   bool // a comma introduces another relation
	used   bool // the USING that names relations was seen
	expect role // a relation's name comes next

	with      withState
	recursive bool
	cte       span // the WITH query being defined
}

// A withState is a place in a WITH clause:
//
//	noWith ── WITH ──► withName ── a name ──► withQuery ── main statement ──► noWith
//	                        ▲────── comma ────────┘
type withState uint8

const (
	noWith withState = iota
	withName
	withQuery
)

func (c *classifier) reset() {
	c.started, c.current, c.main = false, Empty, false
	c.utility = utility{}
	c.levels = append(c.levels[:0], level{begins: true})
	c.depth = 0
	c.ctes = c.ctes[:0]
	c.name = name{}
	c.before, c.before2 = noWord, noWord
}

func (c *classifier) top() *level { return &c.levels[len(c.levels)-1] }

// atStatementEnd reports whether a semicolon here ends the statement. It does
// not within brackets (CREATE RULE … DO (…; …)), nor in a routine's body.
func (c *classifier) atStatementEnd() bool { return c.depth == 0 && c.utility.blocks == 0 }

func (c *classifier) endStatement() {
	if !c.started {
		return
	}
	c.endName(noWord)
	c.summary.endStatement()
	if c.current == Empty {
		c.current = Other
	}
	if c.count == 0 {
		c.kind = c.current
	}
	c.count++
	c.reset()
}

// result is the kind of the whole text. Several statements are Multi, not the
// first one's kind with a flag: whoever forgot to look at the flag would take
// "SELECT 1; DROP TABLE t" for a SELECT.
func (c *classifier) result() Kind {
	if c.count > 1 {
		return Multi
	}
	return c.kind
}

// token takes the next token, and the keyword that it is.
func (c *classifier) token(tok Token, w word) {
	c.started = true
	switch {
	case tok.Kind == Punct:
		c.punct(tok)
	case c.depth <= maxDepth:
		c.atom(tok, w)
	}
	if c.refused(tok) {
		c.flags |= Malformed
	}
	c.before, c.before2 = w, c.before
}

// refused reports whether PostgreSQL's lexer has no such token. It makes one token of
// a number and letters that follow at once, and refuses that; up to PostgreSQL 14 they
// were two, as they are here.
func (c *classifier) refused(tok Token) bool {
	switch tok.Kind {
	case Invalid:
		return true
	case Number, Param:
		return tok.End < len(c.sql) && isWordStart(c.sql[tok.End])
	case QuotedName: // "" and U&""
		return tok.End-tok.Start == 2 || tok.End-tok.Start == 4 && c.sql[tok.Start] != '"'
	default:
		return false
	}
}

func (c *classifier) punct(tok Token) {
	mark := c.sql[tok.Start]
	if mark == '.' && tok.End == tok.Start+1 {
		c.name.dot = c.name.end > 0
		return
	}
	if mark == '(' && c.name.role == source {
		c.name = name{} // a function
	}
	c.endName(noWord)
	switch mark {
	case '(', '[':
		c.open(mark)
	case ')', ']':
		c.close()
	case ',':
		if c.depth <= maxDepth {
			c.comma()
		}
	}
}

func (c *classifier) open(bracket byte) {
	c.depth++
	if c.depth > maxDepth {
		return
	}
	up := c.top()
	sub := level{inner: up.inner || up.with != noWith}
	if bracket == '(' {
		sub.begins = true
		sub.body = up.with == withQuery && (c.before == wAs || c.before == wMaterialized)
		if up.expect == source {
			// FROM (a JOIN b …), unless the first word makes it a query.
			sub.expect, sub.from = source, true
		}
	}
	if c.current != Maintenance { // VACUUM (…) t
		up.expect = noRole
	}
	if sub.body && up.recursive {
		c.addCTE(up.cte)
	}
	c.levels = append(c.levels, sub)
}

func (c *classifier) close() {
	if c.depth == 0 {
		return
	}
	c.depth--
	if c.depth >= maxDepth {
		return
	}
	sub := *c.top()
	c.levels = c.levels[:len(c.levels)-1]
	// Only now: in "WITH t AS (SELECT … FROM t)" the inner t is a relation.
	if up := c.top(); sub.body && !up.recursive {
		c.addCTE(up.cte)
	}
}

func (c *classifier) comma() {
	l := c.top()
	switch {
	case l.with == withQuery:
		l.with = withName
	case l.from:
		l.expect = source
	case c.depth == 0 && c.utility.several:
		l.expect = object
	}
}

// atom takes a token that is not punctuation.
func (c *classifier) atom(tok Token, w word) {
	named := tok.Kind == Word || tok.Kind == QuotedName
	if c.name.dot && named {
		c.name.end, c.name.dot = tok.End, false
		return
	}
	c.endName(w)
	l := c.top()
	switch {
	case c.utility.reading:
		if !c.utilityWord(tok, w) {
			c.startName(l, tok, w, named)
		}
	case l.with == withName:
		c.withName(l, tok, w)
	case l.begins && c.begin(l, tok, w):
	case c.clause(l, w):
	default:
		c.startName(l, tok, w, named)
	}
}

func (c *classifier) withName(l *level, tok Token, w word) {
	if w == wRecursive && c.before == wWith {
		l.recursive = true
		return
	}
	l.cte = span{tok.Start, tok.End}
	l.with = withQuery
}
