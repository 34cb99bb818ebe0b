//go:build linux

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"image/color"
	"os"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// cells answers questions about what was measured: always the median of the repetitions.
type cells []cell

func (cs cells) of(setting string, fsync bool, contestant string) cells {
	var out cells
	for _, c := range cs {
		if c.Setting == setting && c.Fsync == fsync && c.Contestant == contestant {
			out = append(out, c)
		}
	}
	return out
}

func (cs cells) median(of func(*cell) float64) float64 {
	var values []float64
	for i := range cs {
		values = append(values, of(&cs[i]))
	}
	return report.Median(values)
}

// against is the median of the ratios to what another took in the same repetition.
func (cs cells) against(other cells, of func(*cell) float64) float64 {
	var ratios []float64
	for i := range cs {
		for j := range other {
			if cs[i].Rep == other[j].Rep && of(&other[j]) > 0 {
				ratios = append(ratios, of(&cs[i])/of(&other[j]))
			}
		}
	}
	return report.Median(ratios)
}

func distinct[K comparable](cs cells, of func(*cell) K) (out []K) {
	for i := range cs {
		if k := of(&cs[i]); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// What the tables show.
func rate(c *cell) float64   { return c.perSecond() }
func client(c *cell) float64 { return c.perRow(c.Client) }
func server(c *cell) float64 { return c.perRow(c.Server) }
func allocs(c *cell) float64 { return float64(c.Allocs) / float64(c.Rows) }

// engaged is the part of the time in which a backend had or awaited a processor.
func engaged(c *cell) float64 { return (c.Server + c.Awaited).Seconds() / c.Wall.Seconds() }

func shown(name string) string {
	if name == nameGuard || name == nameGuard2 {
		return "**" + name + "**"
	}
	return name
}

// order is that of the tables: not that of a repetition.
var order = []string{nameGuard2, nameGuard, nameCopy, nameCopyAll, namePsql, nameUnnest, nameValues, nameGORM, nameBun}

func tables(all []cell, e extra, about string, o *options) string {
	cs, t := cells(all), &report.Table{}
	t.Say("%s", about)
	t.Say("%d rows of 4 columns, %d of 20; medians of %d repetitions. ", o.rows, o.wideRows, o.reps)
	t.Say("Programs that are not part of the measurement used %.2f processors in the median cell.\n", cs.median(func(c *cell) float64 { return c.Others.Seconds() / c.Wall.Seconds() }))
	cs.goals(t, &e)
	for _, fsync := range distinct(cs, func(c *cell) bool { return c.Fsync }) {
		for _, setting := range distinct(cs, func(c *cell) string { return c.Setting }) {
			cs.table(t, setting, fsync)
		}
	}
	e.say(t)
	return t.String()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (cs cells) table(t *report.Table, setting string, fsync bool) {
	base := cs.of(setting, fsync, nameCopy)
	t.Say("\n### %s, fsync %s\n\n", setting, onOff(fsync))
	t.Head("", "rows/s", "× "+nameCopy, "client CPU, µs/row", "×", "server CPU, µs/row", "backend has or awaits a CPU", "allocations/row")
	for _, name := range order {
		c := cs.of(setting, fsync, name)
		if len(c) == 0 {
			continue
		}
		of, allocated := fmt.Sprintf("%.0f %%", 100*c.median(engaged)), fmt.Sprintf("%.2f", c.median(allocs))
		if name == namePsql {
			of, allocated = "–", "–"
		}
		t.Row(shown(name), fmt.Sprintf("%.0f", c.median(rate)), fmt.Sprintf("%.2f", c.against(base, rate)),
			fmt.Sprintf("%.2f", c.median(client)/1000), fmt.Sprintf("%.2f", c.against(base, client)),
			fmt.Sprintf("%.2f", c.median(server)/1000), of, allocated)
	}
}

// goals compares what was promised with what came out; what is missed is bold.
func (cs cells) goals(t *report.Table, e *extra) {
	t.Say("\n### The goals\n\nWhat is **bold** misses its goal.\n\n")
	t.Head("", "one worker ÷ pgx.CopyFrom", "two workers ÷ pgx.CopyFrom", "one worker ÷ GORM", "client CPU ÷ pgx.CopyFrom's")
	t.Row("goal", "≥ 1.3", "≥ 1.7", "≥ 5", "≤ 0.20")
	worst := 0.0
	for _, fsync := range distinct(cs, func(c *cell) bool { return c.Fsync }) {
		for _, setting := range distinct(cs, func(c *cell) string { return c.Setting }) {
			base, one, two := cs.of(setting, fsync, nameCopy), cs.of(setting, fsync, nameGuard), cs.of(setting, fsync, nameGuard2)
			worst = max(worst, one.median(allocs))
			t.Row(setting+", fsync "+onOff(fsync),
				judged(one.against(base, rate), 1.3, true), judged(two.against(base, rate), 1.7, true),
				judged(one.against(cs.of(setting, fsync, nameGORM), rate), 5, true),
				judged(one.against(base, client), 0.2, false))
		}
	}
	t.Say("\n")
	t.Head("goal", "measured")
	t.Row("allocations per row through Add ≤ 1", judged(worst, 1, false)+" in the worst cell")
	t.Row("upsert ≥ 1.4 × VALUES 500 ON CONFLICT", judged(cells(e.upsertGuard).against(e.upsertValues, rate), 1.4, true))
	t.Row("one bad row: at most one more round of its chunk", fmt.Sprintf("%d chunks, %d sent", e.badRow.chunks, e.badRow.statements))
	if e.heapRows > 0 {
		t.Row(fmt.Sprintf("heap flat for %d rows", e.heapRows), fmt.Sprintf("%+.1f MiB from the first tenth to the last", mebibytes(e.heapLast)-mebibytes(e.heapFirst)))
	}
}

// judged shows a figure, bold if it misses the goal.
func judged(x, goal float64, least bool) string {
	text := fmt.Sprintf("%.2f", x)
	if least && x < goal || !least && x > goal {
		return "**" + text + "**"
	}
	return text
}

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }

func (e *extra) say(t *report.Table) {
	t.Say("\n### Upsert, one bad row, the heap\n\n")
	guard, values := cells(e.upsertGuard), cells(e.upsertValues)
	t.Say("Upserts of %d rows, half of whose keys are there; fsync off, commit every %d:\n\n", guard[0].Rows, chunk)
	t.Head("", "rows/s", "× "+nameValues, "client CPU, µs/row", "server CPU, µs/row", "backend has or awaits a CPU")
	for _, c := range []cells{guard, values} {
		t.Row(shown(c[0].Contestant), fmt.Sprintf("%.0f", c.median(rate)), fmt.Sprintf("%.2f", c.against(values, rate)),
			fmt.Sprintf("%.2f", c.median(client)/1000), fmt.Sprintf("%.2f", c.median(server)/1000), fmt.Sprintf("%.0f %%", 100*c.median(engaged)))
	}
	t.Say("\nOne row that a CHECK refuses, in %d chunks: %d statements instead of %d, %.2f × the time.\n",
		e.badRow.chunks, e.badRow.statements, e.badRow.chunks, seconds(e.badRow.bad)/seconds(e.badRow.clean))
	if e.heapRows > 0 {
		t.Say("\n%d rows through Add, %.0f a second: the heap's peak was %.1f MiB in the first tenth of them and %.1f MiB in the last, garbage included.\n",
			e.heapRows, e.heapRate, mebibytes(e.heapFirst), mebibytes(e.heapLast))
	}
}

func seconds(ds []time.Duration) float64 {
	var values []float64
	for _, d := range ds {
		values = append(values, d.Seconds())
	}
	return report.Median(values)
}

func writeCSV(file string, cs []cell) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	lines := [][]string{{"setting", "fsync", "contestant", "repetition", "rows", "seconds", "client_seconds", "server_seconds", "awaited_seconds", "others_seconds", "allocations"}}
	s := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 4, 64) }
	for _, c := range cs {
		lines = append(lines, []string{
			c.Setting, onOff(c.Fsync), c.Contestant, strconv.Itoa(c.Rep), strconv.Itoa(c.Rows),
			s(c.Wall), s(c.Client), s(c.Server), s(c.Awaited), s(c.Others), strconv.FormatUint(c.Allocs, 10),
		})
	}
	return w.WriteAll(lines)
}

// drawPlot draws how fast everybody is with fsync on, as multiples of pgx.CopyFrom.
func drawPlot(file string, all []cell) error {
	cs := cells(all)
	const fsync = true
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Text = "Rows per second, as multiples of pgx.CopyFrom; commit every 10,000, fsync on"
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White
	p.X.Min = 0
	p.Legend.Left, p.Legend.Top = false, true
	p.Legend.XOffs = vg.Points(163)
	p.Add(plotter.NewGrid())
	names := slices.DeleteFunc(slices.Clone(order), func(name string) bool { return len(cs.of(cs[0].Setting, fsync, name)) == 0 })
	slices.Reverse(names) // the first above
	settings := distinct(cs, func(c *cell) string { return c.Setting })
	hues := []color.RGBA{{0, 70, 200, 255}, {0, 150, 240, 255}, {230, 159, 0, 255}}
	const thick = 6
	for i, setting := range settings {
		var values plotter.Values
		for _, name := range names {
			values = append(values, cs.of(setting, fsync, name).against(cs.of(setting, fsync, nameCopy), rate))
		}
		bars, err := plotter.NewBarChart(values, vg.Points(thick))
		if err != nil {
			return err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, hues[i%len(hues)], 0
		bars.Offset = vg.Points(thick * (float64(len(settings)-1)/2 - float64(i)))
		p.Add(bars)
		p.Legend.Add(setting, bars)
	}
	p.NominalY(names...)
	var ticks plot.ConstantTicks
	for x := 0.0; x <= p.X.Max+0.25; x += 0.5 {
		ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprintf("%g ×", x)})
		p.X.Max = max(p.X.Max, x)
	}
	p.X.Tick.Marker = ticks
	return report.SavePlot(p, file, vg.Points(170))
}
