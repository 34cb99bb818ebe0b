package main

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	digits := strconv.Itoa(n)
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// duration writes three digits and a unit: 412 µs, 3.41 ms, 12.0 s.
func duration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return threeDigits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return threeDigits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < time.Hour:
		return threeDigits(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

func threeDigits(x float64) string {
	switch {
	case x < 9.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// latencyOf returns a duration, or a dash if nothing was measured.
func latencyOf(h *histogram, q float64) string {
	if h.count() == 0 {
		return "–"
	}
	return duration(h.percentile(q))
}

// printTable aligns the first column left and the others right.
func printTable(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch i {
			case 0:
				b.WriteString(cell + pad)
			default:
				b.WriteString("  " + pad + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// errorCounts counts errors by kind. All methods may be called concurrently.
type errorCounts struct {
	mu     sync.Mutex // guards byKind
	byKind map[string]int
}

func (e *errorCounts) add(err error) {
	kind := kindOf(err)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byKind == nil {
		e.byKind = make(map[string]int)
	}
	e.byKind[kind]++
}

type kindCount struct {
	kind  string
	count int
}

// list returns the kinds, the most frequent first.
func (e *errorCounts) list() []kindCount {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []kindCount
	for kind, count := range e.byKind {
		list = append(list, kindCount{kind, count})
	}
	slices.SortFunc(list, func(a, b kindCount) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.kind, b.kind))
	})
	return list
}

func (e *errorCounts) total() int {
	n := 0
	for _, k := range e.list() {
		n += k.count
	}
	return n
}

// kindOf names an error so that alike ones get one name.
func kindOf(err error) string {
	var refusal *lifeguard.OverloadError
	var pgErr *pgconn.PgError
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	switch {
	case errors.As(err, &refusal):
		return "refused: " + string(refusal.Reason)
	case errors.As(err, &pgErr):
		return fmt.Sprintf("SQLSTATE %s: %s", pgErr.Code, pgErr.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline exceeded"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, driver.ErrBadConn):
		return "connection lost"
	case errors.As(err, &connectErr):
		return "cannot connect"
	case errors.As(err, &netErr) && netErr.Timeout():
		return "network timeout"
	case errors.As(err, &netErr):
		return "network error"
	}
	return err.Error()
}

// report prints the closing table of an overload.
func (v *overload) report() {
	table := [][]string{{""}}
	for _, c := range v.rivals {
		table[0] = append(table[0], c.name)
	}
	row := func(name string, cell func(*contestant) string) {
		cells := []string{name}
		for _, c := range v.rivals {
			cells = append(cells, cell(c))
		}
		table = append(table, cells)
	}
	share := func(n int, c *contestant) string {
		return fmt.Sprintf("%s (%.1f %%)", thousands(n), 100*float64(n)/float64(max(c.offered.Load(), 1)))
	}
	row("requests offered", func(c *contestant) string { return thousands(int(c.offered.Load())) })
	row("answered in time", func(c *contestant) string { return share(c.inTime.count(), c) })
	row("  per second (goodput)", func(c *contestant) string {
		return thousands(int(float64(c.inTime.count()) / max(c.measured.Seconds(), 0.001)))
	})
	row("  p50", func(c *contestant) string { return latencyOf(&c.inTime, 0.50) })
	row("  p99", func(c *contestant) string { return latencyOf(&c.inTime, 0.99) })
	row("refused", func(c *contestant) string { return share(c.refused.count(), c) })
	row("  p50 until the refusal", func(c *contestant) string { return latencyOf(&c.refused, 0.50) })
	row("  p99 until the refusal", func(c *contestant) string { return latencyOf(&c.refused, 0.99) })
	row("too late", func(c *contestant) string { return share(int(c.late.Load()), c) })
	row("failed otherwise", func(c *contestant) string { return share(c.failed.total(), c) })
	row("connections attempted", func(c *contestant) string { return thousands(int(c.attempted.Load())) })
	row("  opened", func(c *contestant) string { return thousands(int(c.opened.Load())) })
	row("  being opened or open at most", func(c *contestant) string { return thousands(c.top.conns) })
	row("goroutines at most", func(c *contestant) string { return thousands(c.top.goroutines) })
	row("heap at most", func(c *contestant) string { return megabytes(c.top.heap) })
	row("not started", func(c *contestant) string { return thousands(int(c.notStarted.Load())) })

	fmt.Fprintln(v.out)
	printTable(v.out, table)
	fmt.Fprintf(v.out, "\n(Not started: %s requests were outstanding already. A latency counts from the\n"+
		"moment at which the request was due. Client and server may share the same cores.)\n", thousands(outstandingLimit))
	for _, c := range v.rivals {
		for _, e := range c.failed.list() {
			fmt.Fprintf(v.out, "%s failed %s × with %s\n", c.name, thousands(e.count), e.kind)
		}
	}
}
