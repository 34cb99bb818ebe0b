package sqltext

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheLexerDividesTextAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sql, want string }{
		{"", ""},
		{" \t\r\n\v\f-- c\n/* a /* b */ c */", ""},
		{`a "b""c" U&"d"`, `word:a name:"b""c" name:U&"d"`},
		{"x$y$1 _a é$ Ünï", "word:x$y$1 word:_a word:é$ word:Ünï"},
		{"'a''b' E'\\'' e'a\\\\' n'x' U&'y'", `string:'a''b' string:E'\'' string:e'a\\' string:n'x' string:U&'y'`},
		{"'a' 'b'", "string:'a' string:'b'"},
		{"'a'\n'b'", "string:'a'\n'b'"},
		{"'a' -- c\n \t'b'", "string:'a' -- c\n \t'b'"},
		{"'a' /* c */\n'b'", "string:'a' string:'b'"},
		{"E'a'\n'\\''", "string:E'a'\n'\\''"},
		{"'a'\nE'b'", "string:'a' string:E'b'"},
		{"b'01' X'ff' xx'a'", "bits:b'01' bits:X'ff' word:xx string:'a'"},
		{"$$a$$ $t$ $$ $u$ $t$ $1$ a$b$c$b$", "dollar:$$a$$ dollar:$t$ $$ $u$ $t$ param:$1 invalid:$ word:a$b$c$b$"},
		{"$a$b$a$c$a$", "dollar:$a$b$a$ word:c$a$"},
		{"$a$ $b$a$", "dollar:$a$ $b$a$"},
		{"1 1.5 .5 5. 1e10 1.5E-3 0x1F 0O17 0b1 1_000 0x_f", "n:1 n:1.5 n:.5 n:5. n:1e10 n:1.5E-3 n:0x1F n:0O17 n:0b1 n:1_000 n:0x_f"},
		{"1..2 1.e2 1.5.3 1a 1e 0x 0xg 1__0", "n:1 p:.. n:2 n:1.e2 n:1.5 n:.3 n:1 word:a n:1 word:e n:0 word:x n:0 word:xg n:1 word:__0"},
		{"a::b a:=b a=>b a:b a:::b", "word:a p::: word:b word:a p::= word:b word:a op:=> word:b word:a p:: word:b word:a p::: p:: word:b"},
		{"<= >= <> != -> ->> #>> @> ?| ?& || ? @@ !~~*", "op:<= op:>= op:<> op:!= op:-> op:->> op:#>> op:@> op:?| op:?& op:|| op:? op:@@ op:!~~*"},
		{"=- =+- *- <-- x", "op:= op:- op:= op:+ op:- op:* op:- op:<"},
		{"@- ~+ ?- |-", "op:@- op:~+ op:?- op:|-"},
		{"+- -* /- < +>", "op:+ op:- op:-* op:/ op:- op:< op:+>"},
		{"+--c\n*/*c*/<", "op:+ op:* op:<"},
		{"*/", "op:*/"},
		{"([,;])a.b..c", "p:( p:[ p:, p:; p:] p:) word:a p:. word:b p:.. word:c"},
		{"a'", "word:a invalid:'"},
		{`"a`, `invalid:"a`},
		{"/* /* */", "invalid:/* /* */"},
		{"/*/", "invalid:/*/"},
		{"$a$b", "invalid:$a$b"},
		{"E'\\'", "invalid:E'\\'"},
		{"E'\\", "invalid:E'\\"},
		{"a\x00b{\\}", "word:a invalid:\x00 word:b invalid:{ invalid:\\ invalid:}"},
		{"\xff\xfe", "word:\xff\xfe"},
	} {
		if got := tokens(tt.sql); got != tt.want {
			t.Errorf("%q\n got %q\nwant %q", tt.sql, got, tt.want)
		}
	}
}

func tokens(sql string) string {
	names := [...]string{
		Word: "word", QuotedName: "name", String: "string", Bits: "bits", Dollar: "dollar",
		Number: "n", Param: "param", Operator: "op", Punct: "p", Invalid: "invalid",
	}
	var all []string
	lex := NewLexer(sql)
	for tok := lex.Next(); tok.Kind != EOF; tok = lex.Next() {
		all = append(all, fmt.Sprintf("%s:%s", names[tok.Kind], lex.Text(tok)))
	}
	return strings.Join(all, " ")
}

func TestTheEndOfTheTextStaysTheEnd(t *testing.T) {
	t.Parallel()
	lex := NewLexer("a /* no end")
	lex.Next()
	if tok := lex.Next(); tok.Kind != Invalid {
		t.Errorf("got %v", tok)
	}
	for range 3 {
		if tok := lex.Next(); tok.Kind != EOF || tok.Start != 11 || tok.End != 11 {
			t.Errorf("got %v", tok)
		}
	}
}
