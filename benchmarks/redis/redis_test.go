package main

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(jobEnv); job != "" {
		os.Exit(work(job))
	}
	os.Exit(m.Run())
}

// Everything once, in short: what the program prints must have each figure.
func TestTheQuickRunMeasuresEverything(t *testing.T) { //nolint:paralleltest // it measures
	var o options
	o.shorten()
	var out strings.Builder
	if err := run(t.Context(), &o, &out); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| a query that Redis answers |", "| each with its own memory |", "| with lifeguard_redis |", "a new process"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("%s is missing", row)
		}
	}
	if strings.Contains(out.String(), "| a query that Redis answers | 0 µs |") || strings.Contains(out.String(), "NaN") {
		t.Error("something was not measured")
	}
	t.Log(out.String())
}
