package main

import (
	"fmt"
	"strings"
	"time"
)

// A progress shows how far a long step has come: on a terminal as a bar that is drawn
// over and over, elsewhere as a line at every tenth.
type progress struct {
	out   output
	label string
	total int
	now   func() time.Time

	began  time.Time
	shown  int // tenths, or on a terminal redraws
	latest int
}

func newProgress(out output, label string, total int) *progress {
	p := &progress{out: out, label: label, total: total, now: time.Now}
	p.began = p.now()
	return p
}

// reached shows that done of the total are done.
func (p *progress) reached(done int) {
	p.latest = done
	tenths := done * 10 / p.total
	switch {
	case p.out.terminal:
		fmt.Fprintf(p.out, "\r%s\x1b[K", p.line(done, true))
	case tenths > p.shown:
		fmt.Fprintln(p.out, p.line(done, false))
	}
	p.shown = tenths
}

// end leaves the line that a bar is drawn on.
func (p *progress) end() {
	if p.out.terminal && p.latest > 0 {
		fmt.Fprintln(p.out)
	}
}

const barWidth = 24

func (p *progress) line(done int, bar bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s ", p.label)
	if bar {
		full := done * barWidth / p.total
		b.WriteString("[" + strings.Repeat("█", full) + strings.Repeat("░", barWidth-full) + "] ")
	}
	fmt.Fprintf(&b, "%3d %%  %s of %s", done*100/p.total, thousands(done), thousands(p.total))
	spent := p.now().Sub(p.began)
	if spent <= 0 || done == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "  %s/s", thousands(int(float64(done)/spent.Seconds())))
	if done < p.total {
		left := time.Duration(float64(spent) / float64(done) * float64(p.total-done))
		fmt.Fprintf(&b, "  %s left", duration(left))
	} else {
		fmt.Fprintf(&b, "  in %s", duration(spent))
	}
	return b.String()
}
