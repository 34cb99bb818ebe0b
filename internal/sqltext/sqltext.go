// Package sqltext reads PostgreSQL statements without parsing them. One pass
// over the text tells what kind of statement it is, which relations it names,
// what it looks like without its literals, and a fingerprint of that.
//
// The tokens are those of PostgreSQL's own lexer (src/backend/parser/scan.l)
// with standard_conforming_strings on, which is the default since 9.1. Nothing
// here needs a catalog or a server, and nothing here decides that a statement
// is safe: what looks like a column may be a function, and a SELECT may write.
//
// No text makes this package panic or take more than linear time, and no
// statement is refused: text that PostgreSQL would not accept gets a best guess
// and the flag [Malformed].
package sqltext

// A Statement is what the text of a query says about itself. It is shared by
// all who ask a [Cache] for the same text, and so it is never changed.
type Statement struct {
	// Kind is the kind of the only statement in the text, or Multi.
	Kind Kind
	// Flags are those of all statements in the text together.
	Flags Flags
	// Statements is how many statements the text holds. Comments and stray
	// semicolons are none.
	Statements int
	// Summary is the operations and the relations they name, in the order of
	// the text: "SELECT orders customers", "INSERT archive SELECT orders",
	// "CREATE TABLE orders", "BEGIN". It is what OpenTelemetry calls
	// db.query.summary, is valid UTF-8 and at most 255 bytes long, and never
	// holds a literal.
	Summary string
	// Normalized is the text in its normal form; see the comment on normalizer.
	// It is valid UTF-8, holds no literal, and is at most 16 KiB long.
	Normalized string
	// Fingerprint is the 64-bit FNV-1a hash of Normalized, so it is the same in
	// every process, and can be had again from a logged normal form. The
	// collapsing of literals makes it stable enough to count by; only compare
	// texts where a collision would be wrong.
	Fingerprint uint64
}

// Flags are facts about a statement that its Kind leaves open.
type Flags uint8

const (
	// Locking says that rows are locked: SELECT … FOR UPDATE and its relatives.
	Locking Flags = 1 << iota
	// ModifyingCTE says that a WITH query writes, whatever the Kind.
	ModifyingCTE
	// SelectInto says that a SELECT creates a table.
	SelectInto
	// ExplainAnalyze says that an EXPLAIN may run what it explains. The option
	// is not read to its end: "(ANALYZE false)" has the flag too.
	ExplainAnalyze
	// Malformed says that PostgreSQL's lexer would refuse the text: a quote or
	// comment without end, a character that begins no token, a name of no
	// characters, letters at the end of a number (since PostgreSQL 15).
	Malformed
	// Truncated says that the normal form was too long, and ends in "…".
	// Statements that differ only further on have the same fingerprint.
	Truncated
)

// Has reports whether all of the given flags are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Analyze reads sql in time linear in its length. The result keeps no
// reference to sql.
func Analyze(sql string) *Statement {
	r := newReader(sql)
	r.read()

	st := &Statement{
		Kind:        r.classifier.result(),
		Flags:       r.classifier.flags,
		Statements:  r.classifier.count,
		Summary:     r.classifier.summary.text(),
		Normalized:  string(r.normalizer.buf),
		Fingerprint: fingerprint(r.normalizer.buf),
	}
	if r.normalizer.frozen {
		st.Flags |= Truncated
	}
	return st
}

// A reader leads the tokens of one text to those who want them. It holds the
// scratch that an ordinary statement needs, so that all of it is one allocation.
type reader struct {
	sql        string
	normalizer normalizer
	classifier classifier

	text    [256]byte
	frames  [8]frame
	levels  [8]level
	ctes    [2]span
	summary [128]byte
}

func newReader(sql string) *reader {
	r := &reader{sql: sql}
	r.normalizer.buf = r.text[:0]
	if len(sql) > len(r.text) {
		r.normalizer.buf = make([]byte, 0, min(len(sql), 1024))
	}
	r.normalizer.frames = append(r.frames[:0], frame{})
	r.classifier.sql = sql
	r.classifier.levels = r.levels[:0]
	r.classifier.ctes = r.ctes[:0]
	r.classifier.summary.buf = r.summary[:0]
	r.classifier.reset()
	return r
}

func (r *reader) read() {
	lex := NewLexer(r.sql)
	pending := false // a semicolon that matters only if a statement follows
	dotted := false  // behind a dot, every word is a name: t.select
	for tok := lex.Next(); tok.Kind != EOF; tok = lex.Next() {
		if tok.Kind == Punct && r.sql[tok.Start] == ';' && r.classifier.atStatementEnd() {
			pending = pending || r.classifier.started
			r.classifier.endStatement()
			dotted = false
			continue
		}
		if pending {
			r.normalizer.separator()
			pending = false
		}
		text, w := r.sql[tok.Start:tok.End], noWord
		if tok.Kind == Word && !dotted {
			w = lookupWord(text)
		}
		r.normalizer.token(tok.Kind, text, w)
		r.classifier.token(tok, w)
		dotted = tok.Kind == Punct && text == "."
	}
	r.classifier.endStatement()
	r.normalizer.finish()
}

// fingerprint is FNV-1a, 64 bits. It is spelled out because hash/maphash
// differs from process to process, and hash/fnv allocates.
func fingerprint(b []byte) uint64 {
	const (
		offset = 14695981039346656037
		prime  = 1099511628211
	)
	h := uint64(offset)
	for _, c := range b {
		h = (h ^ uint64(c)) * prime
	}
	return h
}
