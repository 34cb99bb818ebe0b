//go:build linux

package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// look is how a contestant's line is drawn: Lifeguard's are thick and of one hue.
type look struct {
	color color.RGBA
	width vg.Length
	dash  []vg.Length
}

var looks = map[string]look{
	nameDefaults:   {color.RGBA{120, 120, 120, 255}, vg.Points(1.2), []vg.Length{vg.Points(1), vg.Points(2)}},
	nameMax4:       {color.RGBA{213, 94, 0, 255}, vg.Points(1.2), nil},
	nameMax25:      {color.RGBA{230, 159, 0, 255}, vg.Points(1.2), nil},
	nameOverPool:   {color.RGBA{204, 121, 167, 255}, vg.Points(1.2), []vg.Length{vg.Points(4), vg.Points(2)}},
	namePgxpool:    {color.RGBA{140, 86, 75, 255}, vg.Points(1.2), []vg.Length{vg.Points(2), vg.Points(2)}},
	nameBouncer:    {color.RGBA{0, 130, 90, 255}, vg.Points(1.2), nil},
	nameGuard:      {color.RGBA{0, 70, 200, 255}, vg.Points(2.6), nil},
	nameGuardShort: {color.RGBA{0, 150, 240, 255}, vg.Points(2.6), nil},
	nameGuardCoDel: {color.RGBA{90, 60, 200, 255}, vg.Points(2.2), []vg.Length{vg.Points(6), vg.Points(3)}},
	nameGuardAuto:  {color.RGBA{30, 30, 90, 255}, vg.Points(2.2), []vg.Length{vg.Points(2), vg.Points(3)}},
}

// drawPlots makes the plots of the statements that all take 4 ms.
func drawPlots(dir string, rows []row) error {
	rs := results(rows)
	if len(rs.factors(experimentSame)) < 2 {
		return nil
	}
	for _, p := range []struct {
		file, title, label string
		of                 func(row) float64
		top                float64
	}{
		{"overload-goodput.svg", "Answers within the deadline", "% of the processor time", func(r row) float64 { return 100 * r.Useful }, 105},
		{"overload-p99.svg", "p99 of the answers that came in time", "ms (deadline 250)", p99, 260},
	} {
		if err := drawOne(filepath.Join(dir, p.file), p.title, p.label, p.top, rs, p.of); err != nil {
			return err
		}
	}
	return nil
}

func drawOne(file, title, label string, top float64, rs results, of func(row) float64) error {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Text = title
	p.Y.Label.Text, p.Y.Min, p.Y.Max = label, 0, top
	p.X.Label.Text = "offered ÷ capacity"
	p.X.Scale = plot.LogScale{}
	factors := rs.factors(experimentSame)
	ticks := make(plot.ConstantTicks, len(factors))
	for i, f := range factors {
		ticks[i] = plot.Tick{Value: f, Label: fmt.Sprintf("%g", f)}
	}
	p.X.Tick.Marker = ticks
	p.Y.Tick.Marker = evenly(top)
	p.Add(plotter.NewGrid())
	p.Legend.Left, p.Legend.Top = false, true
	p.Legend.XOffs = vg.Points(163)
	p.Legend.Padding, p.Legend.YOffs = vg.Points(2), -vg.Points(10)
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White

	for _, name := range rs.contestants(experimentSame) {
		var line plotter.XYs
		for _, f := range factors {
			c := rs.of(experimentSame, name, "", f)
			y := c.median(of)
			if len(c) == 0 || c.median(goodput) < 1 && label[0] == 'm' || math.IsNaN(y) {
				continue // no answers, no latency
			}
			line = append(line, plotter.XY{X: f, Y: y})
		}
		if len(line) == 0 {
			continue
		}
		l, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return err
		}
		style := looks[name]
		l.Color, l.Width, l.Dashes = style.color, style.width, style.dash
		points.Color, points.Radius, points.Shape = style.color, vg.Points(2), draw.CircleGlyph{}
		p.Add(l, points)
		p.Legend.Add(name, l, points)
	}
	return report.SavePlot(p, file, 170)
}

// evenly puts labels at round numbers.
func evenly(top float64) plot.ConstantTicks {
	step := 50.0
	if top < 200 {
		step = 20
	}
	var ticks plot.ConstantTicks
	for v := 0.0; v <= top; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
	}
	return ticks
}
