//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// results are all that was measured.
type results struct {
	lags  []lagged
	large []largeTransaction
	fills [2][]time.Duration // without the gate, and with it; in turns
	slots []slotted

	written []written
}

// written is by so many connections, with each contestant, by round.
type written struct {
	conns       int
	rates, busy [writeModes][]float64 // writes a second; the part of the processors that was in use
}

type lagged struct {
	loaded bool
	lags   []time.Duration // sorted
	before int             // that were heard of before the writer had his answer
}

type largeTransaction struct{ wrote, heard, served time.Duration }

type slotted struct {
	fleet
	rep  int
	rate float64       // transactions a second
	cpu  time.Duration // of the server for each
}

func (r *results) tables(origin string, o *options) string {
	var t report.Table
	t.Say("%s\nA server that writes to its disk, %d connections that write, a bound of %v.\n\n", origin, writers, bound)
	t.Head("from the answer to a commit until it is heard of", "p50", "p99", "max", "before the answer")
	for _, l := range r.lags {
		name := "idle"
		if l.loaded {
			name = "while others write as fast as they can"
		}
		n := len(l.lags)
		t.Row(name, millis(l.lags[n/2]), millis(l.lags[n*99/100]), millis(l.lags[n-1]), fmt.Sprintf("%.0f %%", 100*float64(l.before)/float64(n)))
	}
	t.Say("\n")
	t.Head(fmt.Sprintf("a transaction of %d rows, median of %d", o.rows, len(r.large)), "ms")
	wrote, heard, served := []float64{}, []float64{}, time.Duration(0)
	for _, l := range r.large {
		wrote, heard, served = append(wrote, l.wrote.Seconds()*1000), append(heard, l.heard.Seconds()*1000), max(served, l.served)
	}
	t.Row("to write it", fmt.Sprintf("%.0f", report.Median(wrote)))
	t.Row("from its answer until it is heard of", fmt.Sprintf("%.0f", report.Median(heard)))
	t.Row("of that, served from memory at most (never more than the bound)", fmt.Sprintf("%.0f", served.Seconds()*1000))
	t.Say("\n")
	t.Head("compared in turns, median of the rounds", "ratio")
	t.Row("a query with the gate ÷ without, one round trip each", fmt.Sprintf("%.2f", ratio(seconds(r.fills[1]), seconds(r.fills[0]))))
	t.Say("\n")
	t.Head("connections that write", "writes a second with `lifeguard_cache=cdc` ÷ with `off`", "with `off` beside `pg_recvlogical` ÷ without", "processors busy with `off`", "with `cdc`", "beside `pg_recvlogical`")
	for _, w := range r.written {
		row := []string{fmt.Sprint(w.conns)}
		for _, which := range []int{withCDC, withReader} {
			row = append(row, fmt.Sprintf("%.2f", ratio(w.rates[which], w.rates[withOff])))
		}
		for which := range writeModes {
			row = append(row, fmt.Sprintf("%.0f %%", 100*report.Median(w.busy[which])))
		}
		t.Row(row...)
	}
	t.Say("\n")
	t.Head("processes that listen", "others' writes a second ÷ without any", "processor time of the server for each write ÷ without any")
	none := fleets()[0]
	for _, f := range fleets()[1:] {
		name := fmt.Sprint(f.processes)
		if f.relayed {
			name += fmt.Sprintf(", %d of them with a slot, the others through Redis", relaySlots)
		}
		t.Row(name, fmt.Sprintf("%.2f", ratio(r.of(f, rate), r.of(none, rate))), fmt.Sprintf("%.2f", ratio(r.of(f, cpu), r.of(none, cpu))))
	}
	return t.String()
}

func rate(s *slotted) float64 { return s.rate }
func cpu(s *slotted) float64  { return s.cpu.Seconds() }

// of is a figure of each round, in the order of the rounds.
func (r *results) of(f fleet, figure func(*slotted) float64) (list []float64) {
	for i := range r.slots {
		if r.slots[i].fleet == f {
			list = append(list, figure(&r.slots[i]))
		}
	}
	return list
}

// ratio is the median of the quotients of each round.
func ratio(a, b []float64) float64 {
	quotients := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			quotients = append(quotients, a[i]/b[i])
		}
	}
	return report.Median(quotients)
}

func seconds(list []time.Duration) []float64 {
	out := make([]float64, len(list))
	for i, d := range list {
		out[i] = d.Seconds()
	}
	return out
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }
