package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m, pgtest.Options{})
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// runFor runs a command line as a shell without a terminal would.
func runFor(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, output{Writer: &out, errors: &errs})
	return code, out.String(), errs.String()
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func TestACommandLineThatCannotBeUnderstoodIsExplainedAndExitsWith2(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args string
		says []string
	}{
		{"", []string{"lifeguard: no command given", "Run 'lifeguard help'"}},
		{"dmeo", []string{`lifeguard: unknown command "dmeo"`, "Run 'lifeguard help'"}},
		{"help dmeo", []string{`unknown command "dmeo"`}},
		{"-x", []string{`unknown command "-x"`}},
		{"demo -durations 5s", []string{"lifeguard demo: flag provided but not defined: -durations", "Run 'lifeguard help demo'"}},
		{"demo -duration soon", []string{`invalid value "soon" for flag -duration`}},
		{"demo now", []string{`lifeguard demo: unexpected argument "now"`}},
		{"demo -duration 1ns", []string{"-duration must be from 10ms to 1h, not 1ns"}},
		{"demo -goroutines 0", []string{"-goroutines must be from 1 to 100000, not 0"}},
		{"demo -conns -1", []string{"-conns must be from 1 to 10000, not -1"}},
		{"demo -rows 0", []string{"-rows must be from 1 to"}},
		{"demo -overload 0", []string{"-overload must be from 0.1 to 100, not 0"}},
		{"demo -overload NaN", []string{"-overload must be from 0.1 to 100, not NaN"}},
		{"demo -overload 10 -rows 5", []string{"-rows does not go with -overload"}},
		{"demo -overload 10 -goroutines 5", []string{"-goroutines does not go with -overload"}},
		{"metrics-server -addr 9898", []string{"-addr must be host:port or :port, with a port from 0 to 65535, not \"9898\""}},
		{"metrics-server -addr :99999", []string{"-addr must be host:port"}},
		{"metrics-server -conns 0", []string{"-conns must be from 1 to 10000, not 0"}},
		{"metrics-server -limit all", []string{"-limit must be auto or from 1 to 10000"}},
		{"metrics-server -goroutines 0", []string{"-goroutines must be from 1 to 100000, not 0"}},
		{"metrics-server -rate NaN", []string{"-rate must be from 0 to 1000000, not NaN"}},
		{"metrics-server -hold 2m", []string{"-hold must be from 0 to 1m, not 2m0s"}},
		{"metrics-server now", []string{`lifeguard metrics-server: unexpected argument "now"`}},
	}
	for _, test := range tests {
		code, stdout, stderr := runFor(t.Context(), strings.Fields(test.args)...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%q: exit code %d, output %q", test.args, code, stdout)
		}
		mustContain(t, stderr, test.says...)
	}
}

func TestHelpGoesToTheOutput(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"help", "-h", "--help"} {
		code, stdout, stderr := runFor(t.Context(), args)
		if code != exitOK || stderr != "" {
			t.Errorf("%s: exit code %d, errors %q", args, code, stderr)
		}
		mustContain(t, stdout, "Usage:", "demo", "lifeguard help <command>")
	}
	for _, args := range []string{"help demo", "demo -h", "demo --help"} {
		code, stdout, stderr := runFor(t.Context(), strings.Fields(args)...)
		if code != exitOK || stderr != "" {
			t.Errorf("%s: exit code %d, errors %q", args, code, stderr)
		}
		mustContain(t, stdout, "Examples:", "-overload", "-dsn", "(default 100000)")
	}
}

func TestABadDSNIsAnErrorWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:geheim@host:port/db", "host=h password=geheim port=x", "postgres://u:geheim@h/db?lifeguard_limit=x",
	} {
		for _, command := range []string{"demo", "metrics-server -addr 127.0.0.1:0"} {
			code, _, stderr := runFor(t.Context(), append(strings.Fields(command), "-dsn", dsn)...)
			if code != exitFailed || stderr == "" || strings.Contains(stderr, "geheim") {
				t.Errorf("%s: exit code %d, errors %q", command, code, stderr)
			}
		}
	}
}
