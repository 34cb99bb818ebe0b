//go:build linux

package main

import (
	"strings"
	"testing"
)

// Everything once, in short: what the program prints must have each figure.
func TestTheQuickRunMeasuresEverything(t *testing.T) { //nolint:paralleltest // it measures
	var o options
	o.shorten()
	var out strings.Builder
	if err := run(t.Context(), &o, &out); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| idle |", "| while others write as fast as they can |", "| to write it |", "| of that, served from memory at most",
		"| a query with the gate ÷ without", "| connections that write |", "beside `pg_recvlogical`", "| 16 |", "| 1 |", "| 4 |", "| 8 |", "| 8, 2 of them with a slot",
	} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("%s is missing", row)
		}
	}
	for _, wrong := range []string{"NaN", "Inf"} { // the server may have used less than one tick of its clock
		if strings.Contains(out.String(), wrong) {
			t.Errorf("%s in\n%s", wrong, out.String())
		}
	}
	t.Log(out.String())
}

func TestTheMedianIsOverRatiosOfOneRound(t *testing.T) {
	t.Parallel()
	if got := ratio([]float64{10, 300, 4}, []float64{5, 100, 1}); got != 3 {
		t.Errorf("%v", got)
	}
}
