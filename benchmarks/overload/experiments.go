//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
)

// The experiments, as the CSV names them.
const (
	experimentSame       = "same"       // every statement takes 4 ms
	experimentMix        = "mix"        // 90 % take 1 ms, 10 % take 50 ms
	experimentPriorities = "priorities" // Critical and Normal statements of 4 ms
	experimentHeavy      = "heavy"      // light statements beside heavy ones
	experimentNested     = "nested"     // transactions that ask for a second connection
	experimentRetry      = "retry"      // clients that try again at once
)

// script is what happens in a cell.
type script struct {
	arrivals func() []call
	call     func(ctx context.Context, s *session, c *call) error
	beside   func(ctx context.Context, s *session)         // until its context ends; may be nil
	after    func(calls []call, r *row)                    // may be nil
	instead  func(ctx context.Context, s *session, r *row) // of the load
}

// script makes the cell's script, and who plays it.
func (c *cell) script() (*contestant, script) {
	who := find(c.Contestant)
	do := script{
		arrivals: func() []call { return poisson(c.Seed, c.Factor*c.Capacity, c.length()) },
		call: func(ctx context.Context, s *session, one *call) error {
			return s.do(ctx, c.Args.statement(one.class))
		},
	}
	switch c.Experiment {
	case experimentMix:
		do.arrivals = func() []call {
			calls := poisson(c.Seed, c.Factor*c.Capacity, c.length())
			draw := mixed(c.Seed)
			for i := range calls {
				calls[i].class = draw()
			}
			return calls
		}
	case experimentPriorities:
		do.arrivals, do.call = c.prioritised()
	case experimentHeavy:
		do.call = func(ctx context.Context, s *session, _ *call) error {
			return s.do(ctx, c.Args.statement(classLight))
		}
		if c.Variant == variantBeside {
			do.beside = c.reports
		}
	case experimentNested:
		who, do.instead = c.nested(who)
	case experimentRetry:
		do.call, do.after = c.retrying()
	}
	return who, do
}

// mixed draws the classes of the mix.
func mixed(seed uint64) func() uint8 {
	r := rand.New(rand.NewPCG(seed, 7))
	return func() uint8 {
		if r.Float64() < 0.1 {
			return classOther
		}
		return classLight
	}
}

// prioritised has a share of the statements be Critical. Normal ones are the row's
// other class; where they stay away, the same Critical ones come.
func (c *cell) prioritised() (func() []call, func(context.Context, *session, *call) error) {
	arrivals := func() []call {
		share := prioritiesOf[c.Variant]
		critical := poisson(c.Seed, share*c.Factor*c.Capacity, c.length())
		if c.Variant == variantOnly20 {
			return critical
		}
		normal := poisson(c.Seed+1000, (1-share)*c.Factor*c.Capacity, c.length())
		for i := range normal {
			normal[i].class = classOther
		}
		return merge(critical, normal)
	}
	return arrivals, func(ctx context.Context, s *session, one *call) error {
		if one.class != classOther {
			ctx = lifeguard.WithPriority(ctx, lifeguard.Critical)
		}
		return s.do(ctx, c.Args.statement(classMedium))
	}
}

// prioritiesOf is the Critical share of each variant. 20 % of 5 × is as much as the
// server can do, with nothing to spare; 12 % of 5 × is 60 % of that. What becomes of the 20 %
// when nobody else comes is the most that a priority could do for them.
var prioritiesOf = map[string]float64{variant20: 0.20, variantOnly20: 0.20, variant12: 0.12}

const (
	variant20     = "20 % Critical"
	variantOnly20 = "20 % Critical, nobody else"
	variant12     = "12 % Critical"
	variantAlone  = "alone"
	variantBeside = "beside heavy"
)

// reports are 32 clients that run one heavy statement after the other, without
// deadlines.
func (c *cell) reports(ctx context.Context, s *session) {
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.do(context.WithoutCancel(ctx), c.Args.statement(classOther)); err != nil {
					pause(ctx, 50*time.Millisecond) // refused: the short queue is full
				}
			}
		})
	}
	wg.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Variants of the nested transactions.
const (
	variantPlain   = ""
	variantTimeout = "queue_timeout=1s"
	variantScope   = "Scope"
	variantRefuse  = "Scope, nested=refuse"
)

// nestedLimit is what each of the nested requests allows itself.
const nestedLimit = 5 * time.Second

// nested has eight requests begin a transaction each and ask the database for a second
// connection while they hold it.
func (c *cell) nested(who *contestant) (*contestant, func(context.Context, *session, *row)) {
	own := *who
	mark := func(ctx context.Context) context.Context { return ctx }
	switch c.Variant {
	case variantTimeout:
		own.open = openGuard("lifeguard_queue_timeout=1s")
	case variantScope:
		mark = lifeguard.Scope
	case variantRefuse:
		own.open, mark = openGuard("lifeguard_nested=refuse"), lifeguard.Scope
	}
	return &own, func(ctx context.Context, s *session, r *row) { c.storm(ctx, s, r, mark) }
}

// storm measures how long it takes until the last of them is through or has given up
// (Seconds), until somebody else gets an answer (P99), and how many got both of theirs
// (Share).
func (c *cell) storm(ctx context.Context, s *session, r *row, mark func(context.Context) context.Context) {
	const requests = 2 * conns
	var (
		wg, begun         sync.WaitGroup
		through, detected atomic.Int64
		light             = c.Args.statement(classLight)
		start             = time.Now()
	)
	begun.Add(conns)
	for i := range requests {
		ready := func() {}
		if i < conns { // the first four hold everything before anybody asks again
			ready = func() { begun.Done(); begun.Wait() }
		} else {
			begun.Wait()
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, nestedLimit)
			defer cancel()
			err := nest(mark(ctx), s.db, light, ready)
			switch {
			case err == nil:
				through.Add(1)
			case errors.Is(err, lifeguard.ErrNestedAcquire):
				detected.Add(1)
			}
		})
	}
	probed := make(chan time.Duration, 1)
	go func() { // somebody else, with the usual deadline, again and again
		for {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			err := s.do(ctx, light)
			cancel()
			if err == nil || time.Since(start) > 2*nestedLimit {
				probed <- time.Since(start)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	r.P99 = milliseconds(<-probed)
	r.Calls, r.Share, r.Refused = requests, ratio(int(through.Load()), requests), int(detected.Load())
}

// nest begins a transaction, calls ready, and asks for a second connection.
func nest(ctx context.Context, db *sql.DB, st statement, ready func()) error {
	tx, err := db.BeginTx(ctx, nil)
	ready()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var n int64
	if err := tx.QueryRowContext(ctx, st.text, st.arg).Scan(&n); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, st.text, st.arg).Scan(&n); err != nil {
		return err
	}
	return tx.Commit()
}

// tries is how often a client asks, at once again and with a fresh deadline each time.
const tries = 4

// retrying makes calls that ask up to four times. A user whose last try was answered
// counts as served, however long that took.
func (c *cell) retrying() (func(context.Context, *session, *call) error, func([]call, *row)) {
	var asked atomic.Int64
	ask := func(ctx context.Context, s *session, _ *call) error {
		own := context.WithoutCancel(ctx)
		var err error
		for range tries {
			asked.Add(1)
			attempt, cancel := context.WithTimeout(own, deadline)
			err = s.do(attempt, c.Args.statement(classMedium))
			cancel()
			if err == nil {
				return nil
			}
		}
		return err
	}
	return ask, func(calls []call, r *row) {
		var good []time.Duration
		for i := range calls {
			if one := &calls[i]; one.at >= ramp && (one.kind == answered || one.kind == late) {
				good = append(good, one.total)
			}
		}
		r.Goodput = float64(len(good)) / c.Measured.Seconds()
		r.Share = ratio(len(good), r.Calls)
		r.P50, r.P99 = milliseconds(quantile(good, 0.5)), milliseconds(quantile(good, 0.99))
		r.Tries = float64(asked.Load()) / float64(max(len(calls), 1))
	}
}

// plan is a measuring run under way.
type plan struct {
	o    options
	s    *server
	who  []string
	rows []row
}

func (o options) measured() time.Duration {
	return time.Duration(o.seconds * float64(time.Second))
}

func (o options) loadFactors() []float64 {
	var out []float64
	for s := range strings.SplitSeq(o.factors, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			log.Fatalf("-factors: %v", err)
		}
		out = append(out, f)
	}
	return out
}

// all runs every experiment, repetition by repetition.
func (p *plan) all(ctx context.Context) error {
	rivals := []string{nameMax4, nameMax25, namePgxpool, nameBouncer, nameGuard, nameGuardShort, nameGuardCoDel}
	medium := func() statement { return p.s.args.statement(classMedium) }
	light := func() statement { return p.s.args.statement(classLight) }
	for rep := range p.o.reps {
		draw := mixed(uint64(rep))
		steps := []struct {
			experiment string
			capacityOf func() statement
			factors    []float64
			variants   []string
			who        []string
		}{
			{experimentSame, medium, p.o.loadFactors(), nil, p.who},
			{experimentMix, func() statement { return p.s.args.statement(draw()) }, []float64{2, 10}, nil, p.who},
			{experimentPriorities, medium, []float64{5}, []string{variant20, variantOnly20, variant12}, []string{nameMax4, namePgxpool, nameGuard, nameGuardShort}},
			{experimentHeavy, light, []float64{0.3}, []string{variantAlone, variantBeside}, []string{nameMax4, nameMax25, namePgxpool, nameBouncer, nameGuard, nameGuardShort}},
			{experimentRetry, medium, []float64{2}, nil, rivals},
			{experimentNested, nil, []float64{0}, []string{variantPlain}, []string{nameMax4, nameOverPool, nameGuard}},
			{experimentNested, nil, []float64{0}, []string{variantTimeout, variantScope, variantRefuse}, []string{nameGuard}},
		}
		for i, step := range steps {
			if p.o.skip != "" && program.Selected(p.o.skip, step.experiment) {
				continue
			}
			c := cell{Experiment: step.experiment, Rep: rep, Measured: p.o.measured()}
			if step.capacityOf != nil {
				var err error
				if c.Capacity, err = p.capacity(ctx, step.capacityOf); err != nil {
					return err
				}
				log.Printf("repetition %d, %s: capacity %.0f/s", rep+1, step.experiment, c.Capacity)
			}
			for j, factor := range step.factors {
				c.Factor, c.Seed = factor, p.o.seed+uint64(rep*10_000+i*100+j)
				measure := p.s.run
				if step.experiment == experimentPriorities {
					measure = func(ctx context.Context, c cell) (row, error) { return p.steadily(ctx, c, medium) }
				}
				if err := p.round(ctx, c, step.variants, step.who, measure); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// round has all contestants play the same cell, in an order of its own.
func (p *plan) round(ctx context.Context, c cell, variants, who []string, measure func(context.Context, cell) (row, error)) error {
	if variants == nil {
		variants = []string{""}
	}
	var cells []cell
	for _, c.Variant = range variants {
		for _, c.Contestant = range who {
			if slices.Contains(p.who, c.Contestant) {
				cells = append(cells, c)
			}
		}
	}
	r := rand.New(rand.NewPCG(c.Seed, 1))
	r.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
	for _, c := range cells {
		r, err := measure(ctx, c)
		if err != nil {
			return err
		}
		p.rows = append(p.rows, r)
		log.Print(r.line())
	}
	return nil
}

// line is for whoever watches.
func (r *row) line() string {
	return fmt.Sprintf("%-10s %-22s %-13s %4g×  good %4.0f of %-5.0f p50 %5.1f p99 %5.1f  share %.3f, other %.3f %5.1f  no answer: p50 %.3f p99 %.3f ≤1ms %.3f  expired %d refused %d (%d %d %d %d) 53300 %d failed %d dropped %d  opened %d killed %d  goro %d heap %d+%d k  cpu server %.2f self %.2f others %.2f  behind %.2f %.1f quiet %.0f  %.2fs tries %.1f %s",
		r.Experiment, r.Contestant, r.Variant, r.Factor, r.Goodput, r.Offered, r.P50, r.P99, r.Share, r.OtherShare, r.OtherP99, r.RefuseP50, r.RefuseP99, r.Within1ms,
		r.Expired, r.Refused, r.Full, r.Deadline, r.CoDel, r.Timeout, r.TooMany, r.Failed, r.Dropped, r.Opened, r.Killed, r.Goroutines, r.Heap, r.Stacks,
		r.ServerCPU, r.SelfCPU, r.OthersCPU, r.BehindP50, r.BehindP99, r.Quiet, r.Seconds, r.Tries, r.Error)
}

// capacity is what pgxpool's four connections answer per second when four workers keep
// them busy: no queue, no refusals, no deadline.
func (p *plan) capacity(ctx context.Context, next func() statement) (float64, error) {
	sess, err := find(namePgxpool).open(ctx, p.s.dsn)
	if err != nil {
		return 0, err
	}
	defer sess.close()
	if _, err := closedLoop(ctx, sess, next, conns, 200*time.Millisecond); err != nil {
		return 0, err
	}
	return closedLoop(ctx, sess, next, conns, 1500*time.Millisecond)
}
