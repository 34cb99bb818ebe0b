//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// results answers questions about rows: always the median of the repetitions.
type results []row

func (rs results) of(experiment, contestant, variant string, factor float64) results {
	var out results
	for _, r := range rs {
		if r.Experiment == experiment && r.Contestant == contestant && r.Variant == variant && r.Factor == factor {
			out = append(out, r)
		}
	}
	return out
}

func (rs results) median(of func(row) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	return report.Median(values)
}

// worst is the largest of the repetitions.
func (rs results) worst(of func(row) float64) float64 {
	most := 0.0
	for _, r := range rs {
		most = max(most, of(r))
	}
	return most
}

// against is the median, over the repetitions, of one's useful share of the processors as
// a multiple of the other's in the same repetition.
func (rs results) against(other results) float64 {
	var ratios []float64
	for _, r := range rs {
		for _, o := range other {
			if r.Rep == o.Rep && o.Useful > 0 {
				ratios = append(ratios, r.Useful/o.Useful)
			}
		}
	}
	return report.Median(ratios)
}

func (rs results) factors(experiment string) []float64 {
	var out []float64
	for _, r := range rs {
		if r.Experiment == experiment && !slices.Contains(out, r.Factor) {
			out = append(out, r.Factor)
		}
	}
	slices.Sort(out)
	return out
}

func (rs results) variants(experiment string) []string {
	order := []string{variantPlain, variantAlone, variantBeside, variant20, variantOnly20, variant12, variantTimeout, variantScope, variantRefuse}
	return slices.DeleteFunc(order, func(v string) bool {
		return !slices.ContainsFunc(rs, func(r row) bool { return r.Experiment == experiment && r.Variant == v })
	})
}

// contestants lists who took part, in the order of the tables.
func (rs results) contestants(experiment string) []string {
	var out []string
	for _, c := range contestants() {
		if slices.ContainsFunc(rs, func(r row) bool { return r.Experiment == experiment && r.Contestant == c.name }) {
			out = append(out, c.name)
		}
	}
	return out
}

// What the tables show.
func goodput(r row) float64   { return r.Goodput }
func useful(r row) float64    { return r.Useful }
func p50(r row) float64       { return r.P50 }
func p99(r row) float64       { return r.P99 }
func share(r row) float64     { return r.Share }
func otherRate(r row) float64 { return r.OtherShare }

func ratioOf(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// shown is how a table names a contestant: Lifeguard's in bold.
func shown(name string) string {
	if find(name).guard {
		return "**" + name + "**"
	}
	return name
}

// report makes the tables of docs/performance.md.
func tables(rows []row, about string) (string, error) {
	if len(rows) == 0 {
		return "", errors.New("nothing was measured")
	}
	rs, t := results(rows), &report.Table{}
	t.Say("%s\n", about)
	rs.facts(t)
	rs.goals(t)
	rs.byLoad(t, experimentSame, "Every statement takes 4 ms of processor time")
	rs.detail(t, experimentSame, 10, "At 10 ×, everything else")
	rs.byLoad(t, experimentMix, "A mix: 90 % of the statements take 1 ms, 10 % take 50 ms")
	rs.detail(t, experimentMix, 10, "The mix at 10 ×, everything else")
	rs.priorities(t)
	rs.heavy(t)
	rs.nested(t)
	rs.retry(t)
	return t.String(), nil
}

func (rs results) byLoad(t *report.Table, experiment, title string) {
	factors := rs.factors(experiment)
	if len(factors) == 0 {
		return
	}
	t.Say("\n### %s\n\nAnswers in time per second, and in brackets their part of the processor time that strangers left; below, p50 / p99 of those answers in ms. Medians of the repetitions.\n\n", title)
	head := []string{"offered ÷ capacity"}
	for _, f := range factors {
		head = append(head, fmt.Sprintf("%g ×", f))
	}
	t.Head(head...)
	for _, name := range rs.contestants(experiment) {
		cells := []string{shown(name)}
		for _, f := range factors {
			c := rs.of(experiment, name, "", f)
			cells = append(cells, fmt.Sprintf("%.0f (%.0f %%)", c.median(goodput), 100*c.median(useful)))
		}
		t.Row(cells...)
	}
	t.Say("\n")
	t.Head(head...)
	for _, name := range rs.contestants(experiment) {
		cells := []string{shown(name)}
		for _, f := range factors {
			c := rs.of(experiment, name, "", f)
			if c.median(goodput) < 1 {
				cells = append(cells, "–")
				continue
			}
			cells = append(cells, fmt.Sprintf("%.0f / %.0f", c.median(p50), c.median(p99)))
		}
		t.Row(cells...)
	}
}

func (rs results) detail(t *report.Table, experiment string, factor float64, title string) {
	if len(rs.of(experiment, nameGuard, "", factor)) == 0 {
		return
	}
	t.Say("\n### %s\n\n", title)
	cells := []string{"", "no answer, p50 / p99 ms", "within 1 ms", "expired", "refused", "53300, failed", "connections opened", "killed", "goroutines", "heap + stacks MB", "server CPUs", "client CPUs"}
	heavies := experiment == experimentMix
	if heavies {
		cells = append(cells, "light / heavy answered")
	}
	t.Head(cells...)
	for _, name := range rs.contestants(experiment) {
		c := rs.of(experiment, name, "", factor)
		num := func(of func(row) float64) string { return fmt.Sprintf("%.0f", c.median(of)) }
		killed := "?"
		if find(name).guard {
			killed = num(func(r row) float64 { return float64(r.Killed) })
			if w := c.worst(func(r row) float64 { return float64(r.Killed) }); w > 0 {
				killed += fmt.Sprintf(" (worst %.0f)", w)
			}
		}
		server := c.median(func(r row) float64 { return r.ServerCPU })
		serverText := fmt.Sprintf("%.2f", server)
		if find(name).behind {
			serverText += fmt.Sprintf(" + %.2f", c.median(func(r row) float64 { return r.BouncerCPU }))
		}
		cells := []string{
			shown(name),
			fmt.Sprintf("%s / %s", short3(c.median(func(r row) float64 { return r.RefuseP50 })), short3(c.median(func(r row) float64 { return r.RefuseP99 }))),
			percent(c.median(func(r row) float64 { return r.Within1ms })),
			num(func(r row) float64 { return float64(r.Expired) }),
			num(func(r row) float64 { return float64(r.Refused) }),
			num(func(r row) float64 { return float64(r.TooMany + r.Failed) }),
			num(func(r row) float64 { return float64(r.Opened) }),
			killed,
			num(func(r row) float64 { return float64(r.Goroutines) }),
			fmt.Sprintf("%.1f", c.median(func(r row) float64 { return float64(r.Heap+r.Stacks) / 1024 })),
			serverText,
			fmt.Sprintf("%.2f", c.median(func(r row) float64 { return r.SelfCPU })),
		}
		if heavies {
			cells = append(cells, percent(c.median(share))+" / "+percent(c.median(otherRate)))
		}
		t.Row(cells...)
	}
}

// short3 shows milliseconds from microseconds to seconds.
func short3(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.3f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

func percent(x float64) string {
	if x > 0.99 && x < 1 {
		return fmt.Sprintf("%.1f %%", 100*x)
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

func (rs results) heavy(t *report.Table) {
	if len(rs.variants(experimentHeavy)) == 0 {
		return
	}
	t.Say("\n### Light statements beside a heavy one\n\n1 ms statements at 0.3 × capacity, alone and beside 32 clients that run 50 ms statements one after the other, without deadlines.\n\n")
	t.Head("", "alone: in time", "p50 / p99 ms", "beside: in time", "p50 / p99 ms", "connections opened")
	for _, name := range rs.contestants(experimentHeavy) {
		cells := []string{shown(name)}
		for _, v := range []string{variantAlone, variantBeside} {
			c := rs.of(experimentHeavy, name, v, 0.3)
			cells = append(cells, fmt.Sprintf("%.1f %%", 100*c.median(share)), fmt.Sprintf("%.0f / %.0f", c.median(p50), c.median(p99)))
		}
		cells = append(cells, fmt.Sprintf("%.0f", rs.of(experimentHeavy, name, variantBeside, 0.3).median(func(r row) float64 { return float64(r.Opened) })))
		t.Row(cells...)
	}
}

func (rs results) nested(t *report.Table) {
	if len(rs.variants(experimentNested)) == 0 {
		return
	}
	t.Say("\n### Nested transactions\n\nEight requests begin a transaction and ask for a second connection while they hold it; each gives up after %v. Pool of %d.\n\n", nestedLimit, conns)
	t.Head("", "all over after", "others served after", "requests that got both answers", "`ErrNestedAcquire`")
	for _, name := range rs.contestants(experimentNested) {
		for _, v := range rs.variants(experimentNested) {
			c := rs.of(experimentNested, name, v, 0)
			if len(c) == 0 {
				continue
			}
			label := shown(name)
			if v != "" {
				label += ", " + v
			}
			t.Row(label,
				fmt.Sprintf("%.2f s", c.median(func(r row) float64 { return r.Seconds })),
				fmt.Sprintf("%.2f s", c.median(p99)/1000),
				fmt.Sprintf("%.0f of %d", c.median(share)*2*conns, 2*conns),
				fmt.Sprintf("%.0f", c.median(func(r row) float64 { return float64(r.Refused) })))
		}
	}
}

func (rs results) retry(t *report.Table) {
	if len(rs.variants(experimentRetry)) == 0 {
		return
	}
	t.Say("\n### Clients that try again at once, at 2 ×\n\nUp to %d tries, each with a fresh deadline and no pause. A user whose last try was answered was served.\n\n", tries)
	t.Head("", "users served", "p50 / p99 ms", "tries per user", "until a user gives up, p50 ms", "connections opened", "goroutines", "client CPUs")
	for _, name := range rs.contestants(experimentRetry) {
		c := rs.of(experimentRetry, name, "", 2)
		t.Row(shown(name),
			percent(c.median(share)),
			fmt.Sprintf("%.0f / %.0f", c.median(p50), c.median(p99)),
			fmt.Sprintf("%.1f", c.median(func(r row) float64 { return r.Tries })),
			short3(c.median(func(r row) float64 { return r.RefuseP50 })),
			fmt.Sprintf("%.0f", c.median(func(r row) float64 { return float64(r.Opened) })),
			fmt.Sprintf("%.0f", c.median(func(r row) float64 { return float64(r.Goroutines) })),
			fmt.Sprintf("%.2f", c.median(func(r row) float64 { return r.SelfCPU })))
	}
}

// goals compares what was promised with what came out.
func (rs results) goals(t *report.Table) {
	const load = 10
	at := func(name string) results { return rs.of(experimentSame, name, "", load) }
	guard, short, max4 := at(nameGuard), at(nameGuardShort), at(nameMax4)
	if len(guard) == 0 || len(short) == 0 {
		return
	}
	t.Say("\n### The goals, at 10 × with statements of 4 ms\n\nGoodput is compared as the part of the processor time that strangers left.\n\n")
	t.Head("goal", "measured", "")
	// A goal is met if it is in every repetition, where got says which one was worst.
	verdict := func(goal, got string, met bool, always ...bool) {
		switch {
		case !met:
			t.Row(goal, got, "**missed**")
		case slices.Contains(always, false):
			t.Row(goal, got, "met in the median, **missed** in the worst repetition")
		default:
			t.Row(goal, got, "met")
		}
	}

	// By answers, as the goal has it; and by processor time, which is worth more the more
	// strangers come and go, and can err by some hundredths, beyond 1 too.
	ownPeak := func(of func(row) float64) float64 {
		peak := 0.0
		for _, f := range rs.factors(experimentSame) {
			peak = max(peak, rs.of(experimentSame, nameGuard, "", f).median(of))
		}
		return ratioOf(guard.median(of), peak)
	}
	own := ownPeak(goodput)
	verdict("goodput ≥ 0.95 × Lifeguard's own peak", fmt.Sprintf("%.2f × in answers per second, %.2f × by processor time", own, ownPeak(useful)), own >= 0.95)

	best, least := "", 0.0
	for _, name := range rs.contestants(experimentSame) {
		if find(name).guard || at(name).median(goodput) < 1 {
			continue
		}
		if x := guard.against(at(name)); best == "" || x < least {
			best, least = name, x
		}
	}
	raw := ratioOf(guard.median(goodput), at(best).median(goodput))
	verdict("goodput ≥ every rival's", fmt.Sprintf("%.2f × %s, the best of them (%.2f × in answers per second); queue=16: %.2f ×", least, cmp.Or(best, "nobody"), raw, short.against(at(best))), least >= 1)

	limit := milliseconds(deadline) * 0.75
	verdict(fmt.Sprintf("p99 of the answers ≤ 0.75 × deadline (%.0f ms) on defaults", limit), fmt.Sprintf("%.0f ms", guard.median(p99)), guard.median(p99) <= limit)
	half := ratioOf(short.median(p99), max4.median(p99))
	verdict("p99 ≤ half of tuned stdlib's with the short queue", fmt.Sprintf("%.0f ms, %.2f × the %.0f ms of %s", short.median(p99), half, max4.median(p99), nameMax4), half > 0 && half <= 0.5)
	quick := min(guard.median(func(r row) float64 { return r.Within1ms }), short.median(func(r row) float64 { return r.Within1ms }))
	verdict("99 % of refusals within 1 ms", fmt.Sprintf("%.1f %% (defaults), %.1f %% (queue=16)", 100*guard.median(func(r row) float64 { return r.Within1ms }), 100*short.median(func(r row) float64 { return r.Within1ms })), quick >= 0.99)
	dead := func(r row) float64 { return float64(r.Killed) }
	verdict("0 connections killed", fmt.Sprintf("median %.0f, worst of the repetitions %.0f (defaults); %.0f, %.0f (queue=16)", guard.median(dead), guard.worst(dead), short.median(dead), short.worst(dead)), guard.median(dead) == 0 && short.median(dead) == 0, guard.worst(dead) == 0, short.worst(dead) == 0)
	routines := func(r row) float64 { return float64(r.Goroutines) }
	// Beside those who wait or work some are on their way in, or out with a refusal: as
	// many as have a processor, and a few that lost theirs on the way.
	passing := 2 * float64(runtime.NumCPU())
	bound := func(queue float64) float64 { return queue + conns + passing }
	verdict(fmt.Sprintf("goroutines bounded by queue + limit (and %.0f on their way)", passing), fmt.Sprintf("%.0f, worst %.0f (defaults, queue 400); %.0f, worst %.0f (queue=16)", guard.median(routines), guard.worst(routines), short.median(routines), short.worst(routines)), guard.median(routines) <= bound(400) && short.median(routines) <= bound(16), guard.worst(routines) <= bound(400), short.worst(routines) <= bound(16))
	calm := rs.of(experimentSame, nameGuard, "", slices.Min(rs.factors(experimentSame)))
	heap := func(r row) float64 { return float64(r.Heap+r.Stacks) / 1024 }
	verdict("heap flat", fmt.Sprintf("+%.1f MB at the lightest load, +%.1f MB at 10 ×, stacks included", calm.median(heap), guard.median(heap)), guard.median(heap)-calm.median(heap) < 4)

	for _, v := range []string{variant20, variant12} {
		c := rs.of(experimentPriorities, nameGuard, v, 5)
		if len(c) == 0 {
			continue
		}
		got := fmt.Sprintf("%.1f %%", 100*c.median(share))
		if most, part := rs.possible(); v == variant20 && most > 0 {
			got += fmt.Sprintf("; %.3f × what the best contestant answers if nobody else comes, %.1f %%", part, 100*most)
		}
		verdict(fmt.Sprintf("Critical ≥ 99 %% in time at 5 ×, %s (%.2g × capacity)", v, 5*prioritiesOf[v]), got, c.median(share) >= 0.99)
	}
}

// about says on what, of what and when it was measured.
func (s *server) about(o options, began time.Time, missing []string) string {
	var b strings.Builder
	b.WriteString(report.Origin(began, s.version))
	fmt.Fprintf(&b, "%d repetitions; %.3g s measured in each cell after a ramp of %v.\n", o.reps, o.seconds, ramp)
	for _, m := range missing {
		fmt.Fprintf(&b, "\n**Left out** – %s.\n", m)
	}
	return b.String()
}

// facts says what the machine did meanwhile.
func (rs results) facts(t *report.Table) {
	var others, behind, behind50, capacity []float64
	for _, r := range rs {
		if r.Experiment == experimentNested {
			continue
		}
		others, behind, behind50 = append(others, r.OthersCPU), append(behind, r.BehindP99), append(behind50, r.BehindP50)
		if r.Experiment == experimentSame {
			capacity = append(capacity, r.Capacity)
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		slices.Sort(behind)
		t.Say("Programs that are not part of the measurement used %.2f processors in the median cell (%.2f to %.2f).\n", report.Median(others), others[0], others[len(others)-1])
		t.Say("The generator was %.1f ms late in the median call of the median cell, and %.0f ms at its p99 (worst cell %.0f ms).\n", report.Median(behind50), report.Median(behind), behind[len(behind)-1])
	}
	if len(capacity) > 0 {
		t.Say("Capacity, closed loop: %.0f to %.0f statements of 4 ms per second.\n", slices.Min(capacity), slices.Max(capacity))
	}
}

// publish writes the CSV, the plots and the tables.
func publish(o options, rows []row, about, text string) error {
	plots := filepath.Join(o.out, "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	data := filepath.Join(plots, "overload.csv")
	if err := writeCSV(data, rows); err != nil {
		return err
	}
	if err := os.WriteFile(aboutFile(data), []byte(about), 0o644); err != nil {
		return err
	}
	if err := drawPlots(plots, rows); err != nil {
		return err
	}
	return report.Publish(filepath.Join(o.out, "performance.md"), "overload", text)
}
