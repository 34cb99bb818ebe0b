package sqltext

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

const (
	// maxNormalized bounds the normal form, so that neither a log record nor a
	// cached Statement grows with the text.
	maxNormalized = 16<<10 - len(" "+ellipsis)
	// ellipsis ends a normal form that was cut. To PostgreSQL's lexer, and so
	// to ours, it is an identifier: the cut form is its own normal form.
	ellipsis = "…"
)

// A normalizer writes the normal form of a text, token by token:
//
//   - Comments and a trailing semicolon are dropped; white space is one blank
//     or none, and depends on the tokens only.
//   - Unquoted words are folded to lower case. Quoted names stay as they are.
//   - Literals, parameters and what PostgreSQL's lexer refuses become "?", with
//     the signs before them: "id = $1", "id = 42", "id = -1" are one statement.
//     Parameters are not kept, because the same query comes with and without.
//   - In a list, equal neighbours that hold a "?" or are rows become one:
//     IN (?, ?, ?) is IN (?), VALUES (?, now()), (?, now()) is
//     VALUES (?, now()), ARRAY[?, ?] is ARRAY[?]. NULL, TRUE, FALSE and DEFAULT
//     count as literals there, so a batch of rows with and without NULLs is one
//     statement. A list is what stands in brackets, or after VALUES, unless the
//     brackets belong to a name: f(?, ?) and numeric(?, ?) keep their arguments.
//
// These hold, and the fuzz test checks them:
//
//  1. The normal form of a normal form is itself.
//  2. Every token in it is "?", punctuation, an operator or a name from the text.
//  3. It is no longer than maxNormalized and the ellipsis.
//
// For 1, whether a blank stands between two tokens, what is a sign and what is a
// list depend only on the classes of neighbouring tokens, and "?" as written by
// a caller (it is an operator of jsonb) has the class of a literal.
type normalizer struct {
	buf    []byte
	frames []frame // the open brackets, and below them the statement itself
	prev   class   // of the last token in buf

	// While prev is a sign: where the run of signs begins, and the class of
	// the token before it.
	signs  int
	before class

	frozen bool // buf is full and ends in the ellipsis
}

// A frame is an open bracket, or the rows after VALUES. Its elements are ranges
// of buf; 0 is none, since no element can begin there.
type frame struct {
	list   bool
	values bool // not a bracket: ends with the first token that is no comma
	elem   int  // where the current element begins
	prev   int  // where the one before begins and ends
	prevTo int
}

// A class is what the neighbours of a token need to know of it.
type class uint8

const (
	classNone    class = iota // before the first token
	className                 // an identifier, and any keyword not below
	classBracket              // a keyword with a blank before "(", such as OVER
	classKeyword              // a keyword that an operand follows, such as WHERE
	classLiteral              // "?"
	classOpen                 // ( [
	classClose                // ) ]
	classComma                // ,
	classSemi                 // ; between statements
	classDot                  // .
	classCast                 // ::
	classOp                   // any other operator
	classSign                 // + or - where an operand is expected
)

// token appends a token, which is the keyword w if it is one at all.
func (n *normalizer) token(kind TokenKind, text string, w word) {
	if n.frozen {
		return
	}
	switch {
	case kind == Word:
		n.word(text, w)
	case kind == Punct:
		n.punct(text)
	case kind.Literal() || text == "?":
		n.literal()
	case kind == QuotedName:
		n.append(className, valid(text))
	case (text == "-" || text == "+") && n.expectsOperand():
		n.sign(text)
	default:
		n.append(classOp, text)
	}
}

// separator ends one of several statements.
func (n *normalizer) separator() {
	if n.append(classSemi, ";") {
		n.frames = append(n.frames[:0], frame{})
	}
}

// finish ends the text.
func (n *normalizer) finish() {
	if !n.frozen && n.top().values {
		n.endElement()
	}
}

func (n *normalizer) top() *frame { return &n.frames[len(n.frames)-1] }

func (n *normalizer) pop() { n.frames = n.frames[:len(n.frames)-1] }

func (n *normalizer) expectsOperand() bool {
	switch n.prev {
	case classNone, classKeyword, classOpen, classComma, classSemi, classOp, classSign:
		return true
	default:
		return false
	}
}

// append writes one token with the blank that belongs before it. It reports
// false if buf was full.
func (n *normalizer) append(c class, text string) bool {
	if n.frozen {
		return false
	}
	if len(n.buf)+len(text)+1 > maxNormalized {
		// The ellipsis stands for this token and goes the way of any other, so
		// that reading it again leads to the same state.
		n.frozen = true
		c, text = className, ellipsis
	}
	n.endRows(c, text)
	if n.blank(c, text) {
		n.buf = append(n.buf, ' ')
	}
	if f := n.top(); f.elem == 0 && c != classComma {
		f.elem = len(n.buf)
	}
	n.buf = append(n.buf, text...)
	n.prev = c
	return !n.frozen
}

// endRows closes the rows after VALUES when anything but another row follows.
func (n *normalizer) endRows(c class, text string) {
	f := n.top()
	if !f.values {
		return
	}
	switch {
	case f.elem == 0 && text == "(":
	case f.prevTo > 0 && c == classComma: // punct has ended the row
	default:
		n.endElement()
		n.pop()
	}
}

func (n *normalizer) word(text string, w word) {
	text = valid(text)
	if !n.append(classOf(w), text) {
		return
	}
	for i := len(n.buf) - len(text); i < len(n.buf); i++ {
		n.buf[i] = toLower(n.buf[i])
	}
	if w == wValues {
		n.frames = append(n.frames, frame{values: true})
	}
}

// sign writes a sign that the next literal will swallow.
func (n *normalizer) sign(text string) {
	signs, before := n.signs, n.before
	if n.prev != classSign {
		signs, before = len(n.buf), n.prev
	}
	n.append(classSign, text)
	n.signs, n.before = signs, before
}

func (n *normalizer) literal() {
	if n.prev == classSign {
		n.buf, n.prev = n.buf[:n.signs], n.before
	}
	n.append(classLiteral, "?")
}

func (n *normalizer) punct(text string) {
	switch text[0] {
	case '(', '[':
		list := n.opensList()
		if n.append(classOpen, text) {
			n.frames = append(n.frames, frame{list: list})
		}
	case ')', ']':
		n.closeBracket(text)
	case ',':
		if f := n.top(); f.list || f.values {
			n.endElement()
		}
		n.append(classComma, text)
	case ';': // within brackets or a routine's body
		n.append(classSemi, text)
	default:
		switch text {
		case ".":
			n.append(classDot, text)
		case "::":
			n.append(classCast, text)
		default:
			n.append(classOp, text)
		}
	}
}

func (n *normalizer) opensList() bool {
	switch n.prev {
	case className, classBracket, classClose, classLiteral, classDot, classCast:
		return false
	default:
		return true
	}
}

func (n *normalizer) closeBracket(text string) {
	if n.top().values {
		n.endElement()
		n.pop()
	}
	if n.top().list {
		n.endElement()
	}
	if n.append(classClose, text) && len(n.frames) > 1 {
		n.pop()
	}
}

// endElement ends the current element of a list and drops it if it repeats the
// one before. Every element that stays differs from its neighbours, which is
// why a second pass finds nothing to drop.
func (n *normalizer) endElement() {
	f := n.top()
	if f.elem == 0 {
		return
	}
	switch string(n.buf[f.elem:]) {
	case "null", "true", "false", "default":
		n.buf = append(n.buf[:f.elem], '?')
		n.prev = classLiteral
	}
	elem := n.buf[f.elem:]
	if f.prevTo > 0 && bytes.Equal(n.buf[f.prev:f.prevTo], elem) && (elem[0] == '(' || bytes.IndexByte(elem, '?') >= 0) {
		n.buf = n.buf[:f.prevTo]
	} else {
		f.prev, f.prevTo = f.elem, len(n.buf)
	}
	f.elem = 0
}

// blank reports whether a blank stands between the last token and the next.
// Without one, the two must read back as the same two tokens.
func (n *normalizer) blank(c class, text string) bool {
	switch n.prev {
	case classNone, classOpen:
		return false
	case classDot:
		return c != className && c != classBracket && c != classKeyword && text != "*"
	case classCast:
		return c != className && c != classBracket && c != classKeyword
	default:
	}
	switch c {
	case classClose, classComma, classSemi:
		return false
	case classDot, classCast:
		return n.prev == classOp || n.prev == classSign || n.prev == classComma || n.prev == classSemi
	case classOpen:
		if text == "[" {
			return n.prev == classOp || n.prev == classSign || n.prev == classComma || n.prev == classSemi
		}
		return n.prev != className
	default:
		return true
	}
}

// classOf returns the class of a keyword. Some of these are legal column names;
// then "by - 1" loses its minus, but always in the same way.
func classOf(w word) class {
	switch w {
	case wAnd, wAny, wArray, wBetween, wBy, wCase, wDistinct, wElse, wExcept, wHaving, wIlike, wIn, wIntersect,
		wLike, wLimit, wNot, wOffset, wOn, wOr, wReturn, wReturning, wRow, wSelect, wSet, wSome, wThen, wUnion,
		wValues, wWhen, wWhere:
		return classKeyword
	case wAnalyze, wAs, wCheck, wConflict, wCopy, wDo, wExists, wExplain, wFilter, wFrom, wGroup, wInclude, wInsert,
		wInto, wIs, wJoin, wKey, wLateral, wMaterialized, wOnly, wOver, wTo, wUnique, wUsing, wVacuum, wWindow, wWith:
		return classBracket
	default:
		return className
	}
}

// valid replaces what is not UTF-8. PostgreSQL refuses it in a UTF-8 database,
// and so do the protocols that summaries and normal forms are sent over. The
// replacement is never longer, so it cannot overflow a form that fitted before.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "_")
}
