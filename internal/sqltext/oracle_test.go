package sqltext

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// A verdict is what PostgreSQL's lexer and grammar say about a text.
type verdict uint8

const (
	fine    verdict = iota // none or one statement, which may fail for other reasons
	several                // statements
	lexical                // a token is wrong
	syntax                 // the tokens may be right or wrong
	unasked                // the text did not reach the lexer
	tooNew                 // for this server
)

// parse asks the server by the extended protocol's Parse, which refuses several
// statements when it has parsed all of them and looks at nothing else before.
func parse(t *testing.T, conn *pgconn.PgConn, version int, sql string) (verdict, string) {
	t.Helper()
	if !utf8.ValidString(sql) || strings.Contains(sql, "\x00") {
		return unasked, ""
	}
	_, err := conn.Prepare(t.Context(), "", sql, nil)
	if err == nil {
		return fine, ""
	}
	said, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Fatalf("%v\n%q", err, sql)
	}
	return verdictOf(said, version), said.Message
}

// lexicalErrors begin what scan.l says, each at a token that it cannot make.
var lexicalErrors = []string{
	"unterminated ", "trailing junk after ", "zero-length delimited identifier", "unsafe use of \\'",
	"invalid hexadecimal integer", "invalid octal integer", "invalid binary integer",
}

func verdictOf(said *pgconn.PgError, version int) verdict {
	switch {
	case said.Message == "cannot insert multiple commands into a prepared statement":
		return several
	case said.Code == "22021": // an encoding that cannot be converted
		return unasked
	case !strings.HasPrefix(said.Message, "trailing junk after numeric literal"):
	case version < 16: // perhaps 0x1F or 1_000, of which it knows nothing
		return unasked
	case strings.Contains(said.Message, "$"): // 1e5$1 was two tokens up to 15; nobody writes it
		return unasked
	}
	for _, begin := range lexicalErrors {
		if strings.HasPrefix(said.Message, begin) {
			return lexical
		}
	}
	if said.Code == "42601" { // also of what the grammar's actions refuse
		return syntax
	}
	return fine
}

// disagreement says how Analyze and the server differ, if they do. A text that is wrong
// in two places is refused for the first one, so a syntax error says nothing about
// tokens; a wrong token is refused in any case.
func disagreement(st *Statement, said verdict) string {
	malformed := st.Flags.Has(Malformed)
	switch {
	case said == lexical && !malformed:
		return "the server refuses a token"
	case (said == fine || said == several) && malformed:
		return "the server takes every token"
	case said == fine && st.Statements > 1:
		return "it is one statement"
	case said == several && st.Statements < 2:
		return "there are several statements"
	case said == several && st.Kind != Multi, said == fine && st.Kind == Multi:
		return "the kind is wrong"
	}
	return ""
}

// asker compares texts with the server.
type asker struct {
	conn    *pgconn.PgConn
	version int
	counts  map[verdict]int
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	server := pgtest.Shared(t)
	conn, err := pgconn.Connect(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &asker{conn: conn, version: server.Version() / 10000, counts: map[verdict]int{}}
}

func (a *asker) ask(t *testing.T, sql string) {
	t.Helper()
	said, text := parse(t, a.conn, a.version, sql)
	a.counts[said]++
	st := Analyze(sql)
	if difference := disagreement(st, said); difference != "" {
		t.Errorf("%s: %q; we say %d statements, %v, flags %b\n%q", difference, text, st.Statements, st.Kind, st.Flags, sql)
	}
}

func TestTheServerAgreesOnTheTokensAndStatementsOfTheCorpus(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	random := rand.New(rand.NewPCG(3, 4))
	files := corpus(t)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		statements := files[file]
		for _, sql := range statements {
			a.ask(t, sql)
			a.ask(t, sql+";;"+statements[random.IntN(len(statements))])
			for range 8 {
				i := random.IntN(len(sql) + 1)
				a.ask(t, sql[:i])
				a.ask(t, sql[i:])
			}
		}
	}
	t.Logf("fine %d, several %d, lexical %d, syntax %d", a.counts[fine], a.counts[several], a.counts[lexical], a.counts[syntax])
	if a.counts[fine] < 200 || a.counts[several] < 100 || a.counts[lexical] < 100 {
		t.Errorf("too few of some kind: %v", a.counts)
	}
}

// fragments are what texts go wrong with.
var fragments = []string{
	"1", "1.5", ".5", "5.", "1e5", "1e", "1e+", "1..2", "1abc", "0x1F", "0x", "1_000", "1__0", "$1", "$1abc", "$", "$a", "a$b", "a",
	"'a'", "'it''s'", "''", "'", "'x'\n'y'", "'x' 'y'", "'x' -- c\n'y'", "'x' /* c */\n'y'", `'\'`, `E'a\'b'`, `e'\\'`, "E'\\'", `E'\'`,
	"$$x;y$$", "$a$;$a$", "$a$ $$ $a$", "$A$;$a$;$A$", "$$", "$1$", "$ä$;$ä$", "a$$", "1$$;$$", `"q"`, `"a""b"`, `""`, `"`, `";"`,
	`U&'\0041'`, `u&"x;"`, `U&'a;' UESCAPE '!'`, "U&", "B'01'", "x'1F'", "x'G;'", "N'n;'", "n'", "b'",
	"--c\n", "-- ;'\n", "--;", "--\r", "/* c */", "/* /* n */ ; */", "/*", "*/", "/*/", "/**/", "+--;\n", "*/*;*/", "@/*'*/", "<--'\n",
	"+", "-", "- ", "->", "@-", "=-", "!=-", "||", "::", ":=", "=>", "<>", "..", ".", ":", ",", "(", ")", "[", "]", "{", "\\", "#", "?", "`", "~", "%",
	";", ";;", "; ;", " ", "\n", "\t", "\r", "\f", "\v", "\u00a0", "é", "名",
	" begin ", " end ", " atomic ", " case ", " from t", " as ", " in (1;2)", "select ", "select 1", "values (1)", "begin", "commit",
	"create function f() returns int begin atomic select 1; select 2; end", "create rule r as on insert to t do (select 1; select 2)",
	"create procedure p() begin atomic select case when true then 1 end; end", "create view begin as select 1 as atomic; ",
}

// statements makes some that the grammar takes, unless two operands meet that make a
// token together.
func statements(random *rand.Rand) string {
	operands := []string{
		"1", "1.5", ".5", "5.", "1e5", "'a'", "'it''s;'", "''", "'x'\n';y'", "'x' -- ';c\n';y'", `'\'`, `E'a;\'b'`, `e'\\'`,
		"$$x;y$$", "$a$;$a$", "$a$ $$; $a$", "$A$;$a$;$A$", "$ä$;$ä$", `U&'\0041;'`, "U&'a;' UESCAPE '!'", "B'01'", "x'1F'", "N'n;'",
		`"q;"`, `"a""b"`, `u&"x;"`, "a$b", "名", "(1)", "array[1]", "case when true then 1 end", "(select 1)", "$1", "$1::int", "- 1", "+1",
	}
	joints := []string{
		", ", ",", "+", "-", " - ", "||", "->", "@-", "=-", "=", "<", "/", "*", "/* ; */ ,", "+--;\n", "-/* ' */", "::text,", "=/* /* ; */ */",
		"; select ", ";select ", " ; --;\nselect ", ";;select ", ";/* ; */\tselect ", " as x;select ", " from t;select ",
	}
	var b strings.Builder
	b.WriteString("select ")
	for i := range 1 + random.IntN(5) {
		if i > 0 {
			b.WriteString(joints[random.IntN(len(joints))])
		}
		b.WriteString(operands[random.IntN(len(operands))])
	}
	return b.String()
}

// Texts from fragments, most of which are nonsense; those that begin like a statement
// often get through the grammar.
func TestTheServerAgreesOnTheTokensAndStatementsOfNonsense(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	random := rand.New(rand.NewPCG(5, 6))
	texts := 6000
	if testing.Short() {
		texts = 1000
	}
	for i := range texts {
		if i%2 == 0 {
			a.ask(t, statements(random))
			continue
		}
		var b strings.Builder
		if random.IntN(4) > 0 {
			b.WriteString("select ")
		}
		for range 1 + random.IntN(5) {
			b.WriteString(fragments[random.IntN(len(fragments))])
			if random.IntN(3) == 0 {
				b.WriteString(" ")
			}
		}
		a.ask(t, b.String())
	}
	t.Logf("fine %d, several %d, lexical %d, syntax %d", a.counts[fine], a.counts[several], a.counts[lexical], a.counts[syntax])
	if a.counts[fine] < texts/20 || a.counts[several] < texts/10 || a.counts[lexical] < texts/20 {
		t.Errorf("too few of some kind: %v", a.counts)
	}
}
