//go:build linux

package main

import (
	"fmt"
	"slices"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

func (rs results) priorities(t *report.Table) {
	variants := rs.variants(experimentPriorities)
	if len(variants) == 0 {
		return
	}
	t.Say("\n### Priorities, at 5 ×\n\nShare of the Critical statements answered in time and their p50 / p99 in ms; share of the Normal ones.%s\n\n", rs.chance())
	head := []string{""}
	for _, v := range variants {
		head = append(head, fmt.Sprintf("%s (%g × capacity)", v, 5*prioritiesOf[v]), "p50 / p99")
		if v != variantOnly20 {
			head = append(head, "Normal")
		}
	}
	t.Head(head...)
	for _, name := range rs.contestants(experimentPriorities) {
		cells := []string{shown(name)}
		for _, v := range variants {
			c := rs.of(experimentPriorities, name, v, 5)
			cells = append(cells, fmt.Sprintf("%.1f %%", 100*c.median(share)), fmt.Sprintf("%.0f / %.0f", c.median(p50), c.median(p99)))
			if v != variantOnly20 {
				cells = append(cells, fmt.Sprintf("%.1f %%", 100*c.median(otherRate)))
			}
		}
		t.Row(cells...)
	}
}

// chance says how many Critical statements came where they were meant to be as many as
// the server can do.
func (rs results) chance() string {
	var times []float64
	for _, r := range rs.of(experimentPriorities, nameGuard, variant20, 5) {
		times = append(times, ratioOf(r.Main, r.Capacity))
	}
	if len(times) == 0 || slices.Max(times) == 0 {
		return ""
	}
	return fmt.Sprintf(" Of 20 %% Critical there were, by the chance of their arrival, %.2f to %.2f × the capacity.", slices.Min(times), slices.Max(times)) + rs.drifts()
}

// drifts says how steady the server was.
func (rs results) drifts() string {
	var drift []float64
	again := 0
	for _, r := range rs {
		if r.Experiment == experimentPriorities && r.Made > 0 {
			drift = append(drift, r.Drift)
			again += r.Made - 1
		}
	}
	if len(drift) == 0 {
		return ""
	}
	return fmt.Sprintf(" The capacity was measured before and after each cell, and differed by %.0f %% in the median of the %d cells, at most by %.0f %%; %d were made again since it had changed by more than %.0f %%.",
		100*report.Median(drift), len(drift), 100*slices.Max(drift), again, 100*unsteady)
}

// possible is, over the repetitions, the median of the largest share of the Critical
// statements that anybody answered when nobody else came, and of what Lifeguard did
// beside the others as a part of that.
func (rs results) possible() (most, part float64) {
	var ceilings, parts []float64
	for _, r := range rs.of(experimentPriorities, nameGuard, variant20, 5) {
		best := 0.0
		for _, o := range rs {
			if o.Experiment == experimentPriorities && o.Variant == variantOnly20 && o.Rep == r.Rep {
				best = max(best, o.Share)
			}
		}
		if best > 0 {
			ceilings, parts = append(ceilings, best), append(parts, r.Share/best)
		}
	}
	if len(parts) == 0 {
		return 0, 0
	}
	return report.Median(ceilings), report.Median(parts)
}
