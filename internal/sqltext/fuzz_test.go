package sqltext

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzAnalyze(f *testing.F) {
	for _, statements := range corpus(f) {
		for _, sql := range statements {
			f.Add(sql, uint64(1))
		}
	}
	for _, sql := range hostile(40) {
		f.Add(sql, uint64(2))
	}
	f.Fuzz(func(t *testing.T, sql string, seed uint64) {
		if err := checkStatement(sql); err != nil {
			t.Fatalf("%v\n%q", err, sql)
		}
		if err := checkRespaced(sql, rand.New(rand.NewPCG(seed, seed))); err != nil {
			t.Fatalf("%v\n%q", err, sql)
		}
	})
}

func TestTheInvariantsHoldForTheCorpus(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for file, statements := range corpus(t) {
		for _, sql := range statements {
			if err := checkStatement(sql); err != nil {
				t.Errorf("%s: %v\n%q", file, err, sql)
			}
			for range 20 {
				if err := checkRespaced(sql, random); err != nil {
					t.Errorf("%s: %v\n%q", file, err, sql)
				}
			}
			for range 20 { // a piece of a statement ends anywhere
				i := random.IntN(len(sql) + 1)
				for _, piece := range []string{sql[:i], sql[i:]} {
					if err := checkStatement(piece); err != nil {
						t.Errorf("%s: %v\n%q", file, err, piece)
					}
				}
			}
		}
	}
}

// checkStatement checks what the comments on Statement and normalizer promise.
func checkStatement(sql string) error {
	st := Analyze(sql)
	again := Analyze(st.Normalized)
	switch {
	case !utf8.ValidString(st.Summary) || !utf8.ValidString(st.Normalized):
		return fmt.Errorf("not UTF-8: %q, %q", st.Summary, st.Normalized)
	case len(st.Summary) > maxSummary:
		return fmt.Errorf("the summary has %d bytes", len(st.Summary))
	case len(st.Normalized) > 16<<10:
		return fmt.Errorf("the normal form has %d bytes", len(st.Normalized))
	case st.Kind >= kinds || (st.Kind == Empty) != (st.Statements == 0) || (st.Kind == Multi) != (st.Statements > 1):
		return fmt.Errorf("kind %v with %d statements", st.Kind, st.Statements)
	case again.Normalized != st.Normalized:
		return fmt.Errorf("not idempotent:\n%q\n%q", st.Normalized, again.Normalized)
	case again.Fingerprint != st.Fingerprint:
		return fmt.Errorf("the normal form has another fingerprint")
	case !st.Flags.Has(Truncated) && (again.Kind != st.Kind || again.Statements != st.Statements):
		return fmt.Errorf("%v of %d, but its normal form is %v of %d:\n%q",
			st.Kind, st.Statements, again.Kind, again.Statements, st.Normalized)
	}
	return checkNames(sql, st)
}

// checkNames checks that nothing but names of the text is left of it, and with
// that, that no literal is.
func checkNames(sql string, st *Statement) error {
	names := map[string]bool{ellipsis: true}
	lex := NewLexer(sql)
	last := 0
	for tok := lex.Next(); tok.Kind != EOF; tok = lex.Next() {
		if tok.Start < last || tok.End <= tok.Start || tok.End > len(sql) {
			return fmt.Errorf("token %v after %d", tok, last)
		}
		last = tok.End
		switch text := lex.Text(tok); tok.Kind {
		case Word:
			names[lower(valid(text))] = true
		case QuotedName:
			names[valid(text)] = true
		default:
		}
	}
	norm := NewLexer(st.Normalized)
	for tok := norm.Next(); tok.Kind != EOF; tok = norm.Next() {
		text := norm.Text(tok)
		if tok.Kind.Literal() || (tok.Kind == Word || tok.Kind == QuotedName) && !names[text] {
			return fmt.Errorf("%q is left in %q", text, st.Normalized)
		}
	}
	return nil
}

func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = toLower(b[i])
	}
	return string(b)
}

// checkRespaced writes the same tokens with other blanks, comments and cases,
// and checks that the fingerprint does not see it.
func checkRespaced(sql string, random *rand.Rand) error {
	blanks := []string{" ", "\t", "  ", "/* c */", " /* a ' /* nested */ \" */ ", "/**/ "}
	var b strings.Builder
	lex := NewLexer(sql)
	for tok := lex.Next(); tok.Kind != EOF; tok = lex.Next() {
		text := []byte(lex.Text(tok))
		for i, c := range text {
			if tok.Kind == Word && random.IntN(2) == 0 {
				text[i] = swapCase(c)
			}
		}
		b.Write(text)
		if tok.End < len(sql) {
			b.WriteString(blanks[random.IntN(len(blanks))])
			if random.IntN(8) == 0 && tok.Kind != String && tok.Kind != Bits {
				b.WriteString("-- to the end of the line; 'it\n")
			}
		}
	}
	want, got := Analyze(sql), Analyze(b.String())
	if got.Fingerprint != want.Fingerprint || got.Kind != want.Kind {
		return fmt.Errorf("%v %q became %v %q", want.Kind, want.Normalized, got.Kind, got.Normalized)
	}
	return nil
}

func swapCase(c byte) byte {
	if c|0x20 >= 'a' && c|0x20 <= 'z' {
		return c ^ 0x20
	}
	return c
}
