package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// plot draws limit, answers in time and p99 over time, one curve per limit: the median
// of the repetitions. SVG by hand: three panels of polylines need no library.
func plot(res *result) []byte {
	const width, height, left, top, gap = 860, 170, 60, 40, 40
	colours := []string{"#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#084594"}
	colour := func(c int) string {
		if res.limits[c] == "auto" {
			return "#d94801"
		}
		return colours[c%len(colours)]
	}
	panels := []struct {
		name string
		of   func(second) float64
	}{
		{"limit", func(s second) float64 { return float64(s.limit) }},
		{"answers in time, per second", func(s second) float64 { return float64(s.inTime) }},
		{"p99 of the answered, ms", p99},
	}
	var out bytes.Buffer
	total := top + len(panels)*(height+gap)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", left+width+90, total)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`+"\n", left, res.title)
	n := 3 * res.phase
	x := func(i int) float64 { return left + width*(float64(i)+0.5)/float64(n) }
	for p, panel := range panels {
		y0 := top + p*(height+gap) + 10
		curves, highest := map[string][]float64{}, 1.0
		for _, limit := range res.limits {
			for i := range n {
				var values []float64
				for _, r := range res.runs[limit] {
					values = append(values, panel.of(r[i]))
				}
				v := report.Median(values)
				curves[limit] = append(curves[limit], v)
				highest = max(highest, v)
			}
		}
		fmt.Fprintf(&out, `<rect x="%g" y="%d" width="%g" height="%d" fill="#f3f3f3"/>`+"\n", x(res.phase)-0.5*width/float64(n), y0, float64(width)/3, height)
		fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", left, y0, width, height)
		fmt.Fprintf(&out, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%.0f</text><text x="%d" y="%d" text-anchor="end">0</text>`+"\n",
			left+5, y0-4, panel.name, left-5, y0+10, highest, left-5, y0+height)
		for c, limit := range res.limits {
			var points bytes.Buffer
			for i, v := range curves[limit] {
				fmt.Fprintf(&points, "%.1f,%.1f ", x(i), float64(y0+height)-v/highest*(height-5))
			}
			stroke := 1.3
			if limit == "auto" {
				stroke = 2.5
			}
			fmt.Fprintf(&out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%g"/>`+"\n", points.Bytes(), colour(c), stroke)
			if p == 0 {
				fmt.Fprintf(&out, `<text x="%d" y="%d" fill="%s">limit %s</text>`+"\n", left+width+10, y0+15+18*c, colour(c), limit)
			}
		}
	}
	fmt.Fprintf(&out, `<text x="%d" y="%d">grey: disturbed; %d s each</text></svg>`+"\n", left+width-150, total-12, res.phase)
	return out.Bytes()
}

func p99(s second) float64 {
	if len(s.times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.times))
	return float64(sorted[len(sorted)*99/100]) / float64(time.Millisecond)
}
