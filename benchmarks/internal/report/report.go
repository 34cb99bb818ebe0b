// Package report writes what benchmarks have measured: tables and plots for the
// documentation.
package report

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Median returns 0 of nothing. It sorts the values.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// Table writes Markdown.
type Table struct {
	b strings.Builder
}

// Head begins a table.
func (t *Table) Head(cells ...string) {
	t.Row(cells...)
	t.b.WriteString("|---" + strings.Repeat("|---:", len(cells)-1) + "|\n")
}

// Row is one more line of it.
func (t *Table) Row(cells ...string) { t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

// Say writes what is no table.
func (t *Table) Say(format string, args ...any) { fmt.Fprintf(&t.b, format, args...) }

// String is everything that was written.
func (t *Table) String() string { return t.b.String() }

// Publish replaces what stands in a page between the marks of the benchmark of that name.
func Publish(page, name, text string) error {
	begin, end := "<!-- "+name+": begin, written by benchmarks/"+name+" -->", "<!-- "+name+": end -->"
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the tables: %s … %s", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}

// Origin says when, on what and of what something was measured.
func Origin(began time.Time, postgres string) string {
	commit := "unknown"
	if out, err := exec.Command("git", "log", "-1", "--format=%h").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
		if out, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", "..").Output(); err == nil && len(out) > 0 {
			commit += " with uncommitted changes"
		}
	}
	return fmt.Sprintf("Measured %s in %v: commit %s, %s %s/%s, PostgreSQL %s, %d processors (%s).\n", began.UTC().Format("2006-01-02 15:04 UTC"),
		time.Since(began).Round(time.Second), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, postgres, runtime.NumCPU(), processor())
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
