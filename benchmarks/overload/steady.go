//go:build linux

package main

import (
	"context"
	"log"
	"math"
)

// A machine whose processors are shared with others' is at times a third slower than a
// minute before. Where the load is as much as the server can do, with nothing to spare, such a
// minute decides the outcome: then a cell is offered what the server could do right before
// it, and is made again if the server can do something else right after it.
const (
	unsteady    = 0.08 // the capacities before and after a cell differ by more
	steadyTries = 6
)

// steadily measures a cell at the capacity of its own moment. The row says how often it was
// made; the steadiest one is kept.
func (p *plan) steadily(ctx context.Context, c cell, next func() statement) (best row, err error) {
	before, err := p.capacity(ctx, next)
	if err != nil {
		return best, err
	}
	tries, drift := steadyTries, math.Inf(1)
	if p.o.quick {
		tries = 1
	}
	for try := 1; ; try++ {
		c.Capacity = before
		r, err := p.s.run(ctx, c)
		if err != nil {
			return r, err
		}
		after, err := p.capacity(ctx, next)
		if err != nil {
			return r, err
		}
		if d := math.Abs(after/before - 1); d < drift {
			best, drift = r, d
		}
		best.Made, best.Drift = try, drift
		if drift <= unsteady || try == tries {
			return best, nil
		}
		log.Printf("%s, %s: capacity %.0f/s before, %.0f/s after; again", c.Contestant, c.Variant, before, after)
		before = after
	}
}
