//go:build linux

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// figure is one number of a cell.
type figure func(*cell) float64

func nanoseconds(c *cell) float64 {
	return float64(c.Wall.Nanoseconds()) / float64(max(c.Operations, 1))
}

func cpu(c *cell) float64       { return float64(c.CPU.Nanoseconds()) / float64(max(c.Operations, 1)) }
func allocs(c *cell) float64    { return float64(c.Allocs) / float64(max(c.Operations, 1)) }
func perSecond(c *cell) float64 { return float64(c.Operations) / c.Wall.Seconds() }
func slowest(c *cell) float64   { return float64(c.P99.Nanoseconds()) }

// ratio of two operands, as quotient or as difference.
func quotient(a, b float64) float64   { return a / b }
func difference(a, b float64) float64 { return a - b }

// compare is the median over the rounds of two figures of one round.
func compare(cells []cell, how func(a, b float64) float64, x, a, y, b string, f figure) float64 {
	byRep := map[int][2]float64{}
	for i := range cells {
		c := &cells[i]
		pair := byRep[c.Rep]
		if c.Experiment == x && c.Contestant == a {
			pair[0] = f(c)
		}
		if c.Experiment == y && c.Contestant == b {
			pair[1] = f(c)
		}
		byRep[c.Rep] = pair
	}
	var all []float64
	for _, pair := range byRep {
		all = append(all, how(pair[0], pair[1]))
	}
	return report.Median(all)
}

func median(cells []cell, x, a string, f figure) float64 {
	return compare(cells, func(v, _ float64) float64 { return v }, x, a, "", "", f)
}

// goal is a line of the first table.
type goal struct {
	what, want string
	got        float64
	format     string
	met        bool
}

func goals(cells []cell) []goal {
	in := func(x, a, b string, f figure) float64 { return compare(cells, quotient, x, a, x, b, f) }
	atMost := func(what string, got, limit float64, unit string) goal {
		return goal{what, fmt.Sprintf("≤ %g%s", limit, unit), got, "%.2f" + strings.ReplaceAll(unit, "%", "%%"), got <= limit}
	}
	atLeast := func(what string, got, limit float64, unit string) goal {
		return goal{what, fmt.Sprintf("≥ %g%s", limit, unit), got, "%.2f" + strings.ReplaceAll(unit, "%", "%%"), got >= limit}
	}
	perSec := atLeast("hits per second on two processors", median(cells, twoCores, byOn, perSecond), 700_000, "")
	perSec.format = "%.0f"
	added := func(x string) float64 { return compare(cells, difference, x+atOnce, byOwn, x+atOnce, byNone, cpu) }
	bypassCost := atMost("what the cache adds to a statement that bypasses it, client's processor time", added(bypassed), 200, " ns")
	bypassCost.format = "%.0f ns"
	part := func(x string) float64 { return 100 * added(x) / median(cells, x, byOff, nanoseconds) }
	return []goal{
		atMost("hit of 100 keys ÷ constant row, time", in(hot, byOn, byConstant, nanoseconds), 1.5, " ×"),
		atMost("hit of all keys ÷ constant row, time", in(many, byOn, byConstant, nanoseconds), 3, " ×"),
		atMost("allocations of a hit beyond the constant row's", compare(cells, difference, hot, byOn, hot, byConstant, allocs), 2, ""),
		atLeast("pgx/stdlib ÷ hit, time", in(hot, byPgx, byOn, nanoseconds), 40, " ×"),
		atLeast("hits per second, two processors ÷ one", compare(cells, quotient, twoCores, byOn, oneCore, byOn, perSecond), 1.7, " ×"),
		perSec,
		atLeast("hits per second of 1,000 goroutines ÷ of 8", compare(cells, quotient, crowd, byOn, twoCores, byOn, perSecond), 0.8, " ×"),
		// database/sql itself is slower for a crowd: all want the one lock of its pool.
		atLeast("the same ÷ that of the constant row", in(crowd, byOn, byConstant, perSecond)/in(twoCores, byOn, byConstant, perSecond), 0.8, " ×"),
		atMost("20 rows of 5: hit ÷ pgx/stdlib, client's processor time", in(smallResult, byOn, byPgx, cpu), 0.25, " ×"),
		atMost("1,000 rows of 10: hit ÷ pgx/stdlib, client's processor time", in(largeResult, byOn, byPgx, cpu), 0.25, " ×"),
		bypassCost,
		atMost("what it adds to an autocommit write, part of the write's time", part(written), 5, " %"),
		atMost("what it adds to a transaction with one write, part of its time", part(transacted), 5, " %"),
		atLeast("95 % reads, writes elsewhere: throughput ÷ pgx/stdlib", in(webMix, byOn, byPgx, perSecond), 5, " ×"),
		atMost("95 % reads, writes elsewhere: p99 ÷ pgx/stdlib", in(webMix, byOn, byPgx, slowest), 1, " ×"),
		atLeast("the same, each hundredth write to the same table: throughput", in(sharedMix, byOn, byPgx, perSecond), 5, " ×"),
		atLeast("the same, all writes to the same table, by its primary key: throughput", in(worstMix, byOn, byPgx, perSecond), 5, " ×"),
		atMost("the same: p99", in(worstMix, byOn, byPgx, slowest), 1, " ×"),
	}
}

func tables(cells []cell, origin string, o *options) string {
	var t report.Table
	t.Say("%s", origin)
	var others []float64
	for i := range cells {
		others = append(others, cells[i].Others.Seconds()/cells[i].Wall.Seconds())
	}
	t.Say("%d keys, %d rounds. Other programs, PostgreSQL included, used %.2f processors in the median cell.\n\n### The goals\n\n", o.keys, o.reps, report.Median(others))
	t.Head("", "goal", "measured")
	for _, g := range goals(cells) {
		if o.only != nil && (g.got == 0 || math.IsNaN(g.got)) {
			continue // it was not measured
		}
		got := fmt.Sprintf(g.format, g.got)
		if !g.met {
			got = "**" + got + "**"
		}
		t.Row(g.what, g.want, got)
	}
	t.Say("\nWhat is **bold** misses its goal.\n\n### Everything\n\n")
	t.Head("", "", "per second", "µs", "client CPU, µs", "allocations", "p99, ms")
	for _, e := range experiments() {
		if !o.chosen(&e) {
			continue
		}
		for _, name := range e.contestants {
			tail := "–"
			if e.latencies {
				tail = fmt.Sprintf("%.2f", median(cells, e.name, name, slowest)/1e6)
			}
			t.Row(e.name, name, fmt.Sprintf("%.0f", median(cells, e.name, name, perSecond)), fmt.Sprintf("%.2f", median(cells, e.name, name, nanoseconds)/1e3),
				fmt.Sprintf("%.2f", median(cells, e.name, name, cpu)/1e3), fmt.Sprintf("%.1f", median(cells, e.name, name, allocs)), tail)
		}
	}
	return t.String()
}

func writeCSV(file string, cells []cell) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	rows := [][]string{{"experiment", "contestant", "round", "operations", "wall_ns", "cpu_ns", "others_ns", "allocations", "p99_ns"}}
	for i := range cells {
		c := &cells[i]
		n := func(d time.Duration) string { return strconv.FormatInt(d.Nanoseconds(), 10) }
		rows = append(rows, []string{
			c.Experiment, c.Contestant, strconv.Itoa(c.Rep), strconv.Itoa(c.Operations), n(c.Wall), n(c.CPU), n(c.Others),
			strconv.FormatUint(c.Allocs, 10), n(c.P99),
		})
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return w.Error()
}
