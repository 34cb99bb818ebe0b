package report

import (
	"errors"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// SavePlot writes a plot of 640 × 320 points, of which it leaves some for the legend at the
// right.
func SavePlot(p *plot.Plot, file string, legend vg.Length) error {
	const width, height = 640, 320
	w, err := draw.NewFormattedCanvas(vg.Points(width), vg.Points(height), filepath.Ext(file)[1:])
	if err != nil {
		return err
	}
	area := draw.New(w)
	area.SetColor(color.White)
	area.Fill(area.Path())
	p.Draw(draw.Crop(area, 0, -legend, 0, 0))
	return writeCanvas(w, file)
}

func writeCanvas(w vg.CanvasWriterTo, file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = w.WriteTo(f)
	return err
}
