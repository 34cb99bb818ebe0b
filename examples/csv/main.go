// Command csv loads a CSV file at COPY speed, and tells which lines the server refused.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

// measurement is a line.
type measurement struct {
	Line   int
	Sensor string
	Value  float64
}

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	var file io.Reader = strings.NewReader(sample())
	if len(os.Args) > 1 { // a file of your own: a header, sensor and value
		opened, err := os.Open(os.Args[1])
		if err != nil {
			return err
		}
		defer opened.Close()
		file = opened
	}
	db, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "create table measurements (line int primary key, sensor text not null, value float8 check (value > -273.15))"); err != nil {
		return err
	}

	inserter, err := lifeguard.NewBatchInserter[measurement](db, "measurements", lifeguard.BatchConfig{
		OnRowError: func(row any, err *lifeguard.RowError) {
			if m, ok := row.(measurement); ok {
				fmt.Printf("line %d is refused: %v\n", m.Line, err)
			}
		},
	})
	if err != nil {
		return err
	}
	readErr := read(file, func(m measurement) error { return inserter.Add(ctx, m) })
	stats, err := inserter.Close(ctx)
	var incomplete *lifeguard.BatchError
	if errors.As(err, &incomplete) && incomplete.Unwritten == 0 {
		err = nil // the refused lines were printed
	}
	fmt.Println(stats.Written, "lines were written")
	return errors.Join(readErr, err)
}

// read hands each line on.
func read(file io.Reader, add func(measurement) error) error {
	lines := csv.NewReader(file)
	lines.ReuseRecord = true
	if _, err := lines.Read(); err != nil { // the header
		return err
	}
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := lines.FieldPos(0)
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if err := add(measurement{Line: line, Sensor: strings.Clone(fields[0]), Value: value}); err != nil {
			return err
		}
	}
}

// sample is a file of 50000 lines, one of which is not possible.
func sample() string {
	var b strings.Builder
	b.WriteString("sensor,value\n")
	for i := range 50_000 {
		value := i % 40
		if i == 33_333 {
			value = -300
		}
		fmt.Fprintf(&b, "\"roof, %d\",%d\n", i%7, value)
	}
	return b.String()
}
