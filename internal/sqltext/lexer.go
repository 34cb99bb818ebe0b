package sqltext

import "strings"

// A TokenKind is the kind of a [Token].
type TokenKind uint8

// The kinds of tokens.
const (
	EOF        TokenKind = iota // the end of the text, for ever after
	Word                        // a keyword or an unquoted identifier, in the case of the text
	QuotedName                  // "…" or U&"…"
	String                      // '…', E'…', U&'…' or N'…', with its continuations on later lines
	Bits                        // B'…' or X'…'
	Dollar                      // $$…$$ or $tag$…$tag$
	Number                      // 1, 1.5, .5, 1e10, 0x1F, 0o7, 0b1, 1_000
	Param                       // $1
	Operator                    // a run of ~!@#^&|`?+-*/%<>= as PostgreSQL divides it, "=>" too
	Punct                       // ( ) [ ] , ; : . :: := ..
	Invalid                     // what PostgreSQL refuses: a lone character, or a quote or comment without end
)

// Literal reports whether tokens of this kind hold data of the caller rather
// than the shape of the statement.
func (k TokenKind) Literal() bool {
	switch k {
	case String, Bits, Dollar, Number, Param, Invalid:
		return true
	default:
		return false
	}
}

// A Token is a piece of a text: text[Start:End].
type Token struct {
	Kind       TokenKind
	Start, End int
}

// A Lexer yields the tokens of a statement as PostgreSQL's scan.l does, without
// white space and comments. It allocates nothing.
//
// Where versions differ it follows the newest (0x1F is one number) unless that
// is an error: 123abc is a number and a word, as it was up to 14.
type Lexer struct {
	src string
	pos int
	// signs is the end of a run of + and - of which each is a token of its own.
	// It is remembered because finding it again from every one of them would
	// take quadratic time.
	signs int
}

// NewLexer returns a lexer at the beginning of sql.
func NewLexer(sql string) Lexer { return Lexer{src: sql} }

// Text returns the token's text.
func (l *Lexer) Text(t Token) string { return l.src[t.Start:t.End] }

// Next returns the next token.
func (l *Lexer) Next() Token {
	if bad, ok := l.skipBlank(); !ok {
		return l.upTo(Invalid, bad, len(l.src))
	}
	start := l.pos
	if start >= len(l.src) {
		return Token{Kind: EOF, Start: start, End: start}
	}
	c := l.src[start]
	switch {
	case isWordStart(c):
		return l.word(start)
	case isDigit(c):
		return l.number(start)
	case c == '\'':
		return l.quoted(String, start, start+1, false)
	case c == '"':
		return l.quotedName(start, start+1)
	case c == '$':
		return l.dollar(start)
	case isOperator(c):
		return l.operator(start)
	default:
		return l.punct(start, c)
	}
}

func (l *Lexer) upTo(kind TokenKind, start, end int) Token {
	l.pos = end
	return Token{Kind: kind, Start: start, End: end}
}

// at returns the byte at i, or 0 beyond the end. A NUL in the text is not
// mistaken for the end, because no caller waits for one.
func (l *Lexer) at(i int) byte {
	if i < len(l.src) {
		return l.src[i]
	}
	return 0
}

// skipBlank passes over white space and comments. It reports false, and where
// the comment begins, if a block comment has no end.
func (l *Lexer) skipBlank() (start int, ok bool) {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '-' && l.at(l.pos+1) == '-':
			l.pos = lineEnd(l.src, l.pos+2)
		case c == '/' && l.at(l.pos+1) == '*':
			end, ok := blockCommentEnd(l.src, l.pos)
			if !ok {
				return l.pos, false
			}
			l.pos = end
		default:
			return l.pos, true
		}
	}
	return l.pos, true
}

func lineEnd(s string, from int) int {
	if i := strings.IndexAny(s[from:], "\n\r"); i >= 0 {
		return from + i
	}
	return len(s)
}

// blockCommentEnd finds the end of the comment that begins at from. Block
// comments nest.
func blockCommentEnd(s string, from int) (int, bool) {
	depth := 0
	for i := from; i+1 < len(s); {
		switch {
		case s[i] == '/' && s[i+1] == '*':
			depth++
			i += 2
		case s[i] == '*' && s[i+1] == '/':
			depth--
			i += 2
			if depth == 0 {
				return i, true
			}
		default:
			i++
		}
	}
	return len(s), false
}

// word reads an identifier or keyword, unless it is the letter before a quote
// that makes E'…' and its like.
func (l *Lexer) word(start int) Token {
	c, next := l.src[start]|0x20, l.at(start+1)
	switch {
	case next == '\'':
		switch c {
		case 'e':
			return l.quoted(String, start, start+2, true)
		case 'n':
			return l.quoted(String, start, start+2, false)
		case 'b', 'x':
			return l.quoted(Bits, start, start+2, false)
		}
	case next == '&' && c == 'u':
		switch l.at(start + 2) {
		case '\'':
			return l.quoted(String, start, start+3, false)
		case '"':
			return l.quotedName(start, start+3)
		}
	}
	end := start + 1
	for end < len(l.src) && isWordPart(l.src[end]) {
		end++
	}
	return l.upTo(Word, start, end)
}

// quoted reads a string whose content begins at i, and its continuations: two
// quotes with a line end between them are one string.
func (l *Lexer) quoted(kind TokenKind, start, i int, escapes bool) Token {
	for i < len(l.src) {
		if !escapes { // the bulk of a long text
			next := strings.IndexByte(l.src[i:], '\'')
			if next < 0 {
				break
			}
			i += next
		}
		switch c := l.src[i]; {
		case c == '\\' && escapes:
			i += 2
		case c != '\'':
			i++
		case l.at(i+1) == '\'':
			i += 2
		default:
			next, ok := continuation(l.src, i+1)
			if !ok {
				return l.upTo(kind, start, i+1)
			}
			i = next
		}
	}
	return l.upTo(Invalid, start, len(l.src))
}

// continuation looks for another quote after at least one line end, and returns
// where its content begins. Line comments may stand between, block comments
// may not.
func continuation(s string, i int) (int, bool) {
	newline := false
	for i < len(s) {
		switch c := s[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case isSpace(c):
			i++
		case c == '-' && i+1 < len(s) && s[i+1] == '-':
			i = lineEnd(s, i+2)
		default:
			return i + 1, newline && c == '\''
		}
	}
	return 0, false
}

func (l *Lexer) quotedName(start, i int) Token {
	for i < len(l.src) {
		switch {
		case l.src[i] != '"':
			i++
		case l.at(i+1) == '"':
			i += 2
		default:
			return l.upTo(QuotedName, start, i+1)
		}
	}
	return l.upTo(Invalid, start, len(l.src))
}

// dollar reads a parameter or a dollar-quoted string.
func (l *Lexer) dollar(start int) Token {
	end := start + 1
	if isDigit(l.at(end)) {
		for isDigit(l.at(end)) {
			end++
		}
		return l.upTo(Param, start, end)
	}
	if end < len(l.src) && isWordStart(l.src[end]) {
		for end < len(l.src) && isWordPart(l.src[end]) && l.src[end] != '$' {
			end++
		}
	}
	if l.at(end) != '$' {
		return l.upTo(Invalid, start, start+1)
	}
	end++
	tag := l.src[start:end]
	i := strings.Index(l.src[end:], tag)
	if i < 0 {
		return l.upTo(Invalid, start, len(l.src))
	}
	return l.upTo(Dollar, start, end+i+len(tag))
}

func (l *Lexer) number(start int) Token {
	if end := l.radix(start); end > start {
		return l.upTo(Number, start, end)
	}
	end := l.digits(start, isDigit)
	// "1..2" is a range of PL/pgSQL: the dots are a token of their own.
	if l.at(end) == '.' && l.at(end+1) != '.' {
		end = l.digits(end+1, isDigit)
	}
	return l.upTo(Number, start, l.exponent(end))
}

// radix returns the end of a 0x, 0o or 0b number, or start if there is none.
func (l *Lexer) radix(start int) int {
	if l.src[start] != '0' {
		return start
	}
	var valid func(byte) bool
	switch l.at(start+1) | 0x20 {
	case 'x':
		valid = isHex
	case 'o':
		valid = isOctal
	case 'b':
		valid = isBinary
	default:
		return start
	}
	first := start + 2
	if l.at(first) == '_' {
		first++
	}
	if end := l.digits(first, valid); end > first {
		return end
	}
	return start
}

func (l *Lexer) exponent(end int) int {
	if l.at(end)|0x20 != 'e' {
		return end
	}
	first := end + 1
	if c := l.at(first); c == '+' || c == '-' {
		first++
	}
	if last := l.digits(first, isDigit); last > first {
		return last
	}
	return end
}

// digits passes over digits with single underscores between them.
func (l *Lexer) digits(i int, valid func(byte) bool) int {
	for valid(l.at(i)) {
		i++
		if l.at(i) == '_' && valid(l.at(i+1)) {
			i++
		}
	}
	return i
}

// operator divides a run of operator characters as scan.l does: a comment ends
// it, and a trailing + or - belongs to the operand behind it unless the
// operator holds one of ~!@#^&|`?% (so that SQL's "=-1" means what it says).
func (l *Lexer) operator(start int) Token {
	if start < l.signs {
		return l.upTo(Operator, start, start+1)
	}
	end, special := start, false
	for end < len(l.src) && isOperator(l.src[end]) {
		c, next := l.src[end], l.at(end+1)
		if c == '-' && next == '-' || c == '/' && next == '*' {
			break
		}
		special = special || isSpecialOperator(c)
		end++
	}
	last := end
	for !special && last > start+1 && (l.src[last-1] == '+' || l.src[last-1] == '-') {
		last--
	}
	l.signs = end
	return l.upTo(Operator, start, last)
}

func (l *Lexer) punct(start int, c byte) Token {
	next := l.at(start + 1)
	switch c {
	case '(', ')', '[', ']', ',', ';':
		return l.upTo(Punct, start, start+1)
	case ':':
		if next == ':' || next == '=' {
			return l.upTo(Punct, start, start+2)
		}
		return l.upTo(Punct, start, start+1)
	case '.':
		if next == '.' {
			return l.upTo(Punct, start, start+2)
		}
		if isDigit(next) {
			return l.upTo(Number, start, l.exponent(l.digits(start+1, isDigit)))
		}
		return l.upTo(Punct, start, start+1)
	default:
		return l.upTo(Invalid, start, start+1)
	}
}
