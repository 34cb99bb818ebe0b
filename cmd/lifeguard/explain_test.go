package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestExplainExitsWithWhetherResultsAreKept(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, test := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"-dsn", dsn, "select $1::int + length($2)", "42", "x"}, 0, []string{"cacheable  yes", "calls      length", "mode       local"}},
		{[]string{"-dsn", dsn, "select now()"}, 1, []string{"cacheable  no: function (now)", "because    It calls a function"}},
		{[]string{"-dsn", dsn, "select $1::text", "today"}, 1, []string{"no: clock_argument"}},
		{[]string{"-dsn", dsn, "-json", "select 1 /* lifeguard: faster */"}, 0, []string{`"cacheable": true`, `"faster"`}},
	} {
		code, stdout, stderr := runFor(t.Context(), append([]string{"explain"}, test.args...)...)
		if code != test.code || stderr != "" {
			t.Errorf("%v exits with %d, want %d; errors %q", test.args[2:], code, test.code, stderr)
		}
		mustContain(t, stdout, test.says...)
		if test.args[2] == "-json" && !json.Valid([]byte(stdout)) {
			t.Errorf("no JSON: %s", stdout)
		}
	}
	code, stdout, stderr := runFor(t.Context(), "explain", "-dsn", "postgres://u:geheim@127.0.0.1:1/x", "select 1")
	if code != 2 || strings.Contains(stdout+stderr, "geheim") || !strings.HasPrefix(stderr, "lifeguard explain: ") {
		t.Errorf("without a server it exits with %d and says %s%s", code, stdout, stderr)
	}
	if code, _, stderr := runFor(t.Context(), "explain"); code != 2 || !strings.Contains(stderr, "no statement given") {
		t.Errorf("%d, %s", code, stderr)
	}
	code, stdout, _ = runFor(t.Context(), "help", "explain")
	if code != 0 || !strings.Contains(stdout, "The exit status") {
		t.Errorf("%d, %s", code, stdout)
	}
}

func TestExplainFindsADatabaseByItself(t *testing.T) {
	t.Setenv("LIFEGUARD_URL", "")
	code, stdout, stderr := runFor(t.Context(), "explain", "select 1")
	if code != 0 {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
}
