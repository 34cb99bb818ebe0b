//go:build linux

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Everything once, in short: what the program prints must have each goal and figure.
func TestTheQuickRunMeasuresEverything(t *testing.T) { //nolint:paralleltest // it measures
	o := options{}
	o.shorten()
	o.span, o.mix = o.span/3, o.mix/10
	var out strings.Builder
	if err := run(t.Context(), &o, &out); err != nil {
		t.Fatal(err)
	}
	for _, e := range experiments() {
		for _, name := range e.contestants {
			if !strings.Contains(out.String(), "| "+e.name+" | "+name+" |") {
				t.Errorf("%s: %s is missing", e.name, name)
			}
		}
	}
	for _, wrong := range []string{"NaN", "Inf", "| 0 |"} {
		if strings.Contains(out.String(), wrong) {
			t.Errorf("%s in\n%s", wrong, out.String())
		}
	}
	t.Log(out.String())
}

func TestTheMedianIsOverRatiosOfOneRound(t *testing.T) {
	t.Parallel()
	cells := []cell{
		{Experiment: "x", Contestant: "a", Rep: 0, Operations: 1, Wall: 10},
		{Experiment: "x", Contestant: "b", Rep: 0, Operations: 1, Wall: 5},
		{Experiment: "x", Contestant: "a", Rep: 1, Operations: 1, Wall: 300},
		{Experiment: "x", Contestant: "b", Rep: 1, Operations: 1, Wall: 100},
		{Experiment: "x", Contestant: "a", Rep: 2, Operations: 1, Wall: 4},
		{Experiment: "x", Contestant: "b", Rep: 2, Operations: 1, Wall: 1},
	}
	if got := compare(cells, quotient, "x", "a", "x", "b", nanoseconds); got != 3 {
		t.Errorf("%v", got)
	}
	if err := writeCSV(filepath.Join(t.TempDir(), "cache.csv"), cells); err != nil {
		t.Error(err)
	}
}
