package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestDoctorExitsWithTheWorstOfItsFindings(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for want, args := range map[int][]string{
		1: {"doctor", "-dsn", dsn}, // a superuser, and nothing ends a transaction that is forgotten
		2: {"doctor", "-dsn", dsn, "-instances", "50000"},
	} {
		code, stdout, stderr := runFor(t.Context(), args...)
		if code != want || stderr != "" {
			t.Errorf("%v exits with %d, want %d; errors %q", args, code, want, stderr)
		}
		mustContain(t, stdout, "PostgreSQL ", "warn   timeouts.idle_in_transaction", "why", "fix  alter role", "warnings, ", "notes")
	}
	code, stdout, stderr := runFor(t.Context(), "doctor", "-dsn", "postgres://u:geheim@127.0.0.1:1/x")
	if code != 2 || strings.Contains(stdout+stderr, "geheim") {
		t.Errorf("without a server it exits with %d and says %s%s", code, stdout, stderr)
	}
	mustContain(t, stdout, "error  connect: there is no server at 127.0.0.1:1", "1 error, ")
}

func TestDoctorSpeaksJSON(t *testing.T) {
	t.Parallel()
	code, stdout, _ := runFor(t.Context(), "doctor", "-json", "-dsn", pgtest.DSN(t))
	var report struct{ Status int }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 1 || report.Status != 1 {
		t.Errorf("exit status %d, report %+v, error %v", code, report, err)
	}
}

func TestDoctorFixesNothingUnasked(t *testing.T) {
	t.Parallel()
	code, stdout, _ := runFor(t.Context(), "doctor", "-fix", "-dsn", pgtest.DSN(t))
	if code != 1 {
		t.Errorf("exit status %d", code)
	}
	mustContain(t, stdout, "There is nothing that can be put right from here.")

	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"shared_preload_libraries": "pg_stat_statements"}})
	dsn, drop, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = drop(context.WithoutCancel(t.Context())) }()
	for _, test := range []struct{ flags, answer, says string }{
		{"-fix", "", "Nothing was done."},
		{"-fix", "no\n", "Nothing was done."},
		{"-fix", "y\n", "done: create extension"},
		{"-fix -yes", "", "nothing that can be put right"},
	} {
		var out bytes.Buffer
		err := examine(t.Context(), append(strings.Fields(test.flags), "-dsn", dsn), output{Writer: &out, errors: &out}, strings.NewReader(test.answer))
		if err != statusError(1) { //nolint:errorlint // it is returned as it is
			t.Errorf("%s: error %v", test.flags, err)
		}
		mustContain(t, out.String(), test.says)
	}
}

func TestDoctorExplainsItsFlags(t *testing.T) {
	t.Parallel()
	code, stdout, _ := runFor(t.Context(), "doctor", "-h")
	if code != exitOK {
		t.Errorf("exit status %d", code)
	}
	mustContain(t, stdout, "Examples:", "-json", "-instances", "exit status is 0")
	for args, says := range map[string]string{
		"doctor -instances -1": "-instances must be from 0 to 100000",
		"doctor -timeout 1ns":  "-timeout must be from 10ms",
		"doctor -yes":          "-yes goes with -fix only",
		"doctor -json -fix":    "needs -yes",
		"doctor now":           "unexpected argument",
	} {
		code, _, stderr := runFor(t.Context(), strings.Fields(args)...)
		if code != exitUsage {
			t.Errorf("%s: exit status %d", args, code)
		}
		mustContain(t, stderr, says)
	}
}
