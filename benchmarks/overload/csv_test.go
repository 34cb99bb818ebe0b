//go:build linux

package main

import (
	"path/filepath"
	"reflect"
	"testing"
)

// Fifteen minutes of measuring must not be lost in the last second.
func TestRowsSurviveTheFile(t *testing.T) {
	t.Parallel()
	rows := []row{
		{Experiment: "same", Contestant: "a, b", Variant: `"x"`, Factor: 0.5, Rep: 2, Goodput: 1.5, Killed: -1, Goroutines: 3, Heap: 1 << 40, Error: "line\nbreak"},
		{},
	}
	file := filepath.Join(t.TempDir(), "rows.csv")
	if err := writeCSV(file, rows); err != nil {
		t.Fatal(err)
	}
	got, err := readCSV(file)
	if err != nil || !reflect.DeepEqual(got, rows) {
		t.Errorf("%+v %v", got, err)
	}
}
