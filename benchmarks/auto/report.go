package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// publish prints the tables, or writes them, the plots and the data into the docs.
func publish(o options, began time.Time, postgres string, all []result) error {
	var text strings.Builder
	text.WriteString(report.Origin(began, postgres))
	fmt.Fprintf(&text, "Phases of %v; medians of %d repetitions.\n", o.phase, o.reps)
	text.WriteString(besideTheBest(all))
	for i := range all {
		text.WriteString(all[i].table(o.out != ""))
	}
	if o.out == "" {
		fmt.Println(text.String())
		return writeCSV(os.Stdout, all)
	}
	plots := filepath.Join(o.out, "plots")
	for i := range all {
		if err := os.WriteFile(filepath.Join(plots, "auto-"+all[i].name+".svg"), plot(&all[i]), 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(plots, "auto.csv"))
	if err != nil {
		return err
	}
	if err := writeCSV(f, all); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return report.Publish(filepath.Join(o.out, "adaptive-limit.md"), "auto", text.String())
}

// writeCSV writes one line per second of each run.
func writeCSV(to *os.File, all []result) error {
	w := csv.NewWriter(to)
	_ = w.Write(strings.Split("scenario,limit,rep,second,phase,limit_in_force,answered,in_time,refused,p99_ms", ",")) // Flush keeps the error
	for i := range all {
		r := &all[i]
		for _, limit := range r.limits {
			for rep, seconds := range r.runs[limit] {
				for at, s := range seconds {
					_ = w.Write([]string{
						r.name, limit, strconv.Itoa(rep + 1), strconv.Itoa(at), phases[at/r.phase],
						strconv.Itoa(s.limit), strconv.Itoa(s.answered), strconv.Itoa(s.inTime), strconv.Itoa(s.refused), strconv.FormatFloat(p99(s), 'f', 1, 64),
					})
				}
			}
		}
	}
	w.Flush()
	return w.Error()
}

var phases = []string{"before", "disturbed", "after"}

// summary is one phase of one run.
type summary struct{ inTime, p99, limit float64 }

func summarise(seconds []second) (s summary) {
	var times []time.Duration
	for _, second := range seconds {
		s.inTime += float64(second.inTime) / float64(len(seconds))
		s.limit += float64(second.limit) / float64(len(seconds))
		times = append(times, second.times...)
	}
	slices.Sort(times)
	if len(times) > 0 {
		s.p99 = float64(times[len(times)*99/100]) / 1e6
	}
	return s
}

// inTime is the median, over the repetitions, of the answers in time in a phase.
func (r *result) inTime(limit string, phase int) float64 {
	var values []float64
	for _, run := range r.runs[limit] {
		values = append(values, summarise(run[phase*r.phase:(phase+1)*r.phase]).inTime)
	}
	return report.Median(values)
}

// besideTheBest compares auto with the fixed limit that had the most answers in time in
// that phase, which nobody knows beforehand.
func besideTheBest(all []result) string {
	t := &report.Table{}
	t.Say("\n### Auto's answers in time, as a part of the best fixed limit's in that phase\n\n")
	t.Head(append([]string{"", "`pool_max_conns`"}, phases...)...)
	for i := range all {
		r := &all[i]
		cells := []string{r.title, strconv.Itoa(r.maxConns)}
		for phase := range phases {
			best, name := 0.0, ""
			for _, limit := range r.limits {
				if n := r.inTime(limit, phase); limit != "auto" && n > best {
					best, name = n, limit
				}
			}
			cells = append(cells, fmt.Sprintf("%.2f × limit %s", r.inTime("auto", phase)/max(best, 1), name))
		}
		t.Row(cells...)
	}
	return t.String()
}

// table writes a scenario's section.
func (r *result) table(plotted bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s (`pool_max_conns=%d`)\n\nCapacity %.0f/s, offered %.0f/s.\n\n", r.title, r.maxConns, r.capacity, r.rate*r.capacity)
	b.WriteString("| limit | in time/s, before | disturbed | after | p99 ms, before | disturbed | after | mean limit, before | disturbed | after |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, limit := range r.limits {
		fmt.Fprintf(&b, "| %s |", limit)
		for _, pick := range []func(summary) float64{
			func(s summary) float64 { return s.inTime },
			func(s summary) float64 { return s.p99 },
			func(s summary) float64 { return s.limit },
		} {
			for p := range phases {
				var values []float64
				for _, run := range r.runs[limit] {
					values = append(values, pick(summarise(run[p*r.phase:(p+1)*r.phase])))
				}
				m := report.Median(values)
				fmt.Fprintf(&b, " %.*f |", precision(m), m)
			}
		}
		b.WriteByte('\n')
	}
	if plotted {
		fmt.Fprintf(&b, "\n![%s](plots/auto-%s.svg)\n", r.title, r.name)
	}
	return b.String()
}

func precision(v float64) int {
	if v < 20 {
		return 1
	}
	return 0
}
