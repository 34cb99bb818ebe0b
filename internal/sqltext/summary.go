package sqltext

import "strings"

const (
	// maxSummary is OpenTelemetry's limit for db.query.summary.
	maxSummary  = 255
	batchPrefix = "BATCH "
)

// A summary collects operations and names, as OpenTelemetry's "Generating query
// summary" says, with these choices where it leaves one:
//
//   - An operation is not repeated, and one that names no relation is left out
//     unless it is the statement's own: SELECT … FROM a WHERE … (SELECT … FROM b)
//     is "SELECT a b", INSERT INTO a SELECT 1 is "INSERT a".
//   - A relation is named once per operation. Names of WITH queries, functions,
//     savepoints, channels, cursors and prepared statements are left out: they
//     are no relations, or as many as there are values.
//   - Names are as written; quotes are dropped where they are not needed to see
//     where the name ends.
//   - Statements are divided by "; ", one that repeats the one before is left
//     out, and if that leaves one it is a "BATCH".
//   - What does not fit is left out, from a whole word on.
type summary struct {
	buf  []byte
	full bool

	start int  // where the current statement begins in buf
	prev  int  // where the one before begins
	names int  // where the names of the last operation begin
	last  word // the last operation

	statements int // with a summary
	kept       int // those that did not repeat the one before
}

// operation writes w, unless it is the operation already.
func (s *summary) operation(w word) {
	if w == noWord || w == s.last {
		return
	}
	s.last = w
	s.append(operationName(w))
	s.names = len(s.buf)
}

// word writes a keyword of a utility statement.
func (s *summary) word(text string) {
	s.append(strings.ToUpper(text))
	s.names = len(s.buf)
}

// relation writes a name under the operation op.
func (s *summary) relation(op word, text string) {
	s.operation(op)
	if s.full {
		return
	}
	if name := displayName(text); !contains(s.buf[s.names:], name) {
		s.append(name)
	}
}

// contains reports whether name is one of the names in b, each of which follows
// a blank.
func contains(b []byte, name string) bool {
	for len(b) > len(name) {
		end := len(name) + 1
		if string(b[1:end]) == name && (len(b) == end || b[end] == ' ') {
			return true
		}
		next := strings.IndexByte(string(b[1:]), ' ')
		if next < 0 {
			return false
		}
		b = b[1+next:]
	}
	return false
}

func (s *summary) append(text string) {
	const limit = maxSummary - len(batchPrefix)
	if s.full || len(s.buf)+len("; ")+len(text) > limit {
		s.full = true
		return
	}
	switch {
	case len(s.buf) > s.start:
		s.buf = append(s.buf, ' ')
	case s.start > 0:
		s.buf = append(s.buf, "; "...)
		s.start = len(s.buf)
	}
	s.buf = append(s.buf, text...)
}

func (s *summary) endStatement() {
	if len(s.buf) > s.start {
		s.statements++
		if string(s.buf[s.start:]) == string(s.buf[s.prev:max(s.prev, s.start-len("; "))]) {
			s.buf = s.buf[:s.start-len("; ")]
		} else {
			s.kept++
			s.prev = s.start
		}
	}
	s.start, s.names, s.last = len(s.buf), len(s.buf), noWord
}

func (s *summary) text() string {
	if s.statements > 1 && s.kept == 1 {
		return batchPrefix + string(s.buf)
	}
	return string(s.buf)
}

func operationName(w word) string {
	switch w {
	case wSelect:
		return "SELECT"
	case wValues:
		return "VALUES"
	case wTable:
		return "TABLE"
	case wInsert:
		return "INSERT"
	case wUpdate:
		return "UPDATE"
	case wDelete:
		return "DELETE"
	default:
		return "MERGE"
	}
}

// displayName returns a name without white space, comments and needless quotes
// between and around its parts.
func displayName(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	lex := NewLexer(text)
	for tok := lex.Next(); tok.Kind != EOF; tok = lex.Next() {
		part := lex.Text(tok)
		if content, fold := unquote(part); !fold && isPlain(content) {
			part = content
		}
		b.WriteString(valid(part))
	}
	return b.String()
}

func isPlain(s string) bool {
	if s == "" || s[0] >= 0x80 || !isWordStart(s[0]) {
		return false
	}
	for i := range len(s) {
		if s[i] >= 0x80 || !isWordPart(s[i]) {
			return false
		}
	}
	return true
}
