package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// loadCSV loads a file into a table.
func (s *seeder) loadCSV(ctx context.Context) (err error) {
	table := s.o.table
	if table == "" {
		table = strings.TrimSuffix(filepath.Base(s.o.csv), filepath.Ext(s.o.csv))
	}
	if known, ok := shopTable(table); ok {
		table = petSchema + "." + known.name
	}
	lines, err := countLines(s.o.csv)
	if err != nil {
		return err
	}
	f, err := os.Open(s.o.csv)
	if err != nil {
		return err
	}
	defer f.Close()
	s.began = time.Now()
	bar := newProgress(s.out, "rows", max(lines-1, 1))
	l := &csvLoader{out: s.out, bar: bar, total: bar.total}
	if err = l.load(ctx, s, f, table); err == nil {
		bar.reached(bar.total)
	}
	bar.end()
	slices.SortFunc(l.bad, func(a, b badLine) int { return a.line - b.line })
	for _, bad := range l.bad {
		fmt.Fprintf(s.out, "line %d: %s\n", bad.line, bad.why)
	}
	if n := l.badLines - len(l.bad); n > 0 {
		fmt.Fprintf(s.out, "… and %s more lines\n", thousands(n))
	}
	s.report(ctx, table)
	if err == nil && l.badLines > 0 {
		err = fmt.Errorf("%s of %s's lines were not loaded", thousands(l.badLines), filepath.Base(s.o.csv))
	}
	return err
}

// countLines is for the progress only: a field may hold line breaks.
func countLines(name string) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf, last := make([]byte, 1<<20), byte('\n')
	for {
		read, err := f.Read(buf)
		if read > 0 {
			n += bytes.Count(buf[:read], []byte{'\n'})
			last = buf[read-1]
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return 0, err
		case last != '\n':
			return n + 1, nil
		default:
			return n, nil
		}
	}
}

// A csvLoader loads one file. The inserter calls it back from its workers, one call at a
// time; mu is between those and the reading.
type csvLoader struct {
	out   output
	bar   *progress
	total int
	times []bool // which columns hold times that are not written as the encoder reads them

	mu       sync.Mutex // guards the rest
	runs     []lineRun
	accepted int64
	bad      []badLine // the first lines that were not loaded
	badLines int       // all of which there are
	refused  int       // by the server
}

// A lineRun says that the accepted row first, and those after it, came from line and the
// lines after that: few runs for many rows.
type lineRun struct {
	first int64
	line  int
}

type badLine struct {
	line int
	why  string
}

// badShown is how many lines are reported one by one.
const badShown = 20

func (l *csvLoader) load(ctx context.Context, s *seeder, file io.Reader, table string) error {
	r := csv.NewReader(skipBOM(file))
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("%s: the first line must name the columns: %w", filepath.Base(s.o.csv), withoutEOF(err))
	}
	header = slices.Clone(header)
	for i := range header {
		header[i] = strings.TrimSpace(header[i])
	}
	cfg := s.config(func(rows int) { l.bar.reached(min(rows+l.unreadable(), l.total)) })
	cfg.Columns = header
	cfg.MaxRowErrors = -1
	cfg.OnRowError = func(_ any, err *lifeguard.RowError) { l.rowRefused(err) }
	inserter, err := lifeguard.NewBatchInserter[[]any](s.db, table, cfg)
	if err != nil {
		return err
	}
	l.times = make([]bool, len(header))
	readErr := l.read(ctx, r, header, inserter)
	stats, err := inserter.Close(ctx)
	s.add(stats)
	var batch *lifeguard.BatchError
	if errors.As(err, &batch) && batch.Cause == nil {
		err = nil // refused rows, which have been counted
	}
	if readErr != nil && !errors.Is(err, readErr) {
		err = errors.Join(readErr, err)
	}
	return err
}

// read adds the file's rows, but those that cannot be read or encoded.
func (l *csvLoader) read(ctx context.Context, r *csv.Reader, header []string, inserter *lifeguard.BatchInserter[[]any]) error {
	r.ReuseRecord = true
	r.FieldsPerRecord = len(header)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var unreadable *csv.ParseError
		if errors.As(err, &unreadable) {
			l.notLoaded(unreadable.StartLine, describe(unreadable, record, len(header)))
			continue
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		err = l.add(ctx, inserter, l.values(record), line)
		var unfit *lifeguard.ColumnError
		for errors.As(err, &unfit) && l.learn(slices.Index(header, unfit.Column), unfit.PgType) {
			err = l.add(ctx, inserter, l.values(record), line)
		}
		if errors.As(err, &unfit) {
			l.notLoaded(line, fmt.Sprintf("column %s takes no such %s", unfit.Column, unfit.PgType))
			continue
		}
		if err != nil {
			return err
		}
	}
}

// values makes a row of a line's fields.
func (l *csvLoader) values(record []string) []any {
	row := make([]any, len(record)) // a new one each time: OnRowError's rows are kept
	for i, field := range record {
		switch {
		case field == "":
		case l.times[i]:
			row[i] = parseTime(field)
		default:
			row[i] = field
		}
	}
	return row
}

// learn notes that a column holds times, if that is news. The encoder reads a text only as
// PostgreSQL writes it.
func (l *csvLoader) learn(column int, pgType string) bool {
	if column < 0 || l.times[column] || pgType != "date" && pgType != "timestamp" && pgType != "timestamptz" {
		return false
	}
	l.times[column] = true
	return true
}

// parseTime reads what ISO 8601 allows and people use. Without a zone it is UTC. What it
// cannot read it leaves to the encoder.
func parseTime(text string) any {
	for _, layout := range []string{
		time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02T15:04:05Z0700",
		time.DateTime, "2006-01-02T15:04:05", time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02T15:04Z07:00",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return text
}

// add notes the line before the row can be refused. A row that is not accepted leaves its
// run behind, which the next one's overrules.
func (l *csvLoader) add(ctx context.Context, inserter *lifeguard.BatchInserter[[]any], row []any, line int) error {
	l.mu.Lock()
	last := len(l.runs) - 1
	if last < 0 || l.runs[last].line+int(l.accepted-l.runs[last].first) != line {
		l.runs = append(l.runs, lineRun{first: l.accepted, line: line})
	}
	l.mu.Unlock()
	if err := inserter.Add(ctx, row); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted++
	return nil
}

// rowRefused reports a row that the server did not take.
func (l *csvLoader) rowRefused(err *lifeguard.RowError) {
	l.mu.Lock()
	l.refused++
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].first > err.Index }) - 1
	line := l.runs[i].line + int(err.Index-l.runs[i].first)
	l.mu.Unlock()
	_, text, _ := strings.Cut(err.Error(), " refused")
	l.notLoaded(line, "refused by the server"+text)
}

func (l *csvLoader) notLoaded(line int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.badLines++
	if len(l.bad) < badShown {
		l.bad = append(l.bad, badLine{line, why})
	}
}

// unreadable is how many lines never became rows.
func (l *csvLoader) unreadable() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.badLines - l.refused
}

// describe says what is wrong with a line, and not what is in it.
func describe(err *csv.ParseError, record []string, fields int) string {
	if errors.Is(err, csv.ErrFieldCount) {
		return fmt.Sprintf("%d fields for %d columns", len(record), fields)
	}
	return err.Err.Error()
}

func withoutEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty")
	}
	return err
}

// skipBOM leaves out the mark that some programs begin a UTF-8 file with.
func skipBOM(r io.Reader) io.Reader {
	first := make([]byte, 3)
	n, err := io.ReadFull(r, first)
	if err == nil && string(first) == "\ufeff" {
		return r
	}
	return io.MultiReader(bytes.NewReader(first[:n]), r)
}
