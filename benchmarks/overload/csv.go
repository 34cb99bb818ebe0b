//go:build linux

package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"reflect"
	"strconv"
)

// The CSV has one column per field of row, named by its tag.

func header() []string {
	t := reflect.TypeFor[row]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("csv")
	}
	return names
}

func (r *row) record() []string {
	v := reflect.ValueOf(r).Elem()
	out := make([]string, v.NumField())
	for i := range out {
		switch f := v.Field(i); f.Kind() {
		case reflect.Float64:
			out[i] = strconv.FormatFloat(f.Float(), 'g', 6, 64)
		case reflect.Int, reflect.Int64:
			out[i] = strconv.FormatInt(f.Int(), 10)
		default:
			out[i] = f.String()
		}
	}
	return out
}

func writeCSV(path string, rows []row) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	_ = w.Write(header())
	for _, r := range rows {
		_ = w.Write(r.record())
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	return f.Close()
}

func readCSV(path string) ([]row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil || len(records) == 0 {
		return nil, err
	}
	column := make(map[string]int)
	for i, name := range records[0] {
		column[name] = i
	}
	rows := make([]row, len(records)-1)
	for n, record := range records[1:] {
		v := reflect.ValueOf(&rows[n]).Elem()
		for i, name := range header() {
			at, ok := column[name]
			if !ok {
				continue
			}
			if err := setField(v.Field(i), record[at]); err != nil {
				return nil, fmt.Errorf("%s, line %d, %s: %w", path, n+2, name, err)
			}
		}
	}
	return rows, nil
}

func setField(f reflect.Value, s string) error {
	switch f.Kind() {
	case reflect.Float64:
		x, err := strconv.ParseFloat(s, 64)
		f.SetFloat(x)
		return err
	case reflect.Int, reflect.Int64:
		x, err := strconv.ParseInt(s, 10, 64)
		f.SetInt(x)
		return err
	}
	f.SetString(s)
	return nil
}
