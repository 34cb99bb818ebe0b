//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// row is what one cell gave: one contestant, one load, one repetition. Its fields are
// the columns of the CSV.
type row struct {
	Experiment string  `csv:"experiment"` // same, mix, priorities …
	Contestant string  `csv:"contestant"`
	Variant    string  `csv:"variant"` // of an extra experiment
	Factor     float64 `csv:"factor"`  // offered ÷ capacity
	Rep        int     `csv:"rep"`

	Capacity float64 `csv:"capacity_per_s"` // closed loop, this repetition
	Offered  float64 `csv:"offered_per_s"`
	Goodput  float64 `csv:"goodput_per_s"`
	Useful   float64 `csv:"useful"` // processor time of the answers in time ÷ what strangers left
	P50      float64 `csv:"p50_ms"` // answered in time, from when it was due
	P99      float64 `csv:"p99_ms"`

	Share      float64 `csv:"answered_share"`       // of all calls but the other class's
	Main       float64 `csv:"main_offered_per_s"`   // calls but the other class's
	OtherP99   float64 `csv:"other_p99_ms"`         // of the other class, where there are two
	OtherShare float64 `csv:"other_answered_share"` //

	RefuseP50 float64 `csv:"no_answer_p50_ms"` // from the call to the error
	RefuseP99 float64 `csv:"no_answer_p99_ms"`
	Within1ms float64 `csv:"no_answer_within_1ms"` // share of them

	Calls    int `csv:"calls"`
	Late     int `csv:"late"`
	Expired  int `csv:"expired"`
	Refused  int `csv:"refused"`
	TooMany  int `csv:"too_many_clients"`
	Failed   int `csv:"failed"`
	Dropped  int `csv:"dropped"`
	Full     int `csv:"refused_queue_full"`
	Deadline int `csv:"refused_deadline"`
	CoDel    int `csv:"refused_codel"`
	Timeout  int `csv:"refused_timeout"`

	Opened     int64 `csv:"connections_opened"` // whole cell, the first ones too
	Killed     int64 `csv:"connections_killed"` // Lifeguard's own count; -1 unknown
	Goroutines int   `csv:"goroutines"`
	Heap       int64 `csv:"heap_kb"`
	Stacks     int64 `csv:"stacks_kb"`

	ServerCPU  float64 `csv:"server_cpu"` // processors
	BouncerCPU float64 `csv:"bouncer_cpu"`
	SelfCPU    float64 `csv:"self_cpu"`
	OthersCPU  float64 `csv:"others_cpu"` // programs that are not ours

	BehindP50 float64 `csv:"generator_behind_p50_ms"`
	BehindP99 float64 `csv:"generator_behind_p99_ms"`
	Quiet     float64 `csv:"quiet_after_ms"` // until the server was idle again

	Work    float64 `csv:"useful_cpu"` // processors that worked for answers in time
	Seconds float64 `csv:"seconds"`    // an extra experiment's result in time
	Tries   float64 `csv:"tries_per_user"`
	Made    int     `csv:"times_made"` // where a cell is made again if the server's capacity changes
	Drift   float64 `csv:"drift"`      // of the capacity during the cell
	Error   string  `csv:"first_error"`
}

// cell is one measurement to make: what a process of its own is told. A process each,
// because what a contestant leaves behind (goroutines that still connect or clean up,
// heap) would be counted as the next one's.
type cell struct {
	Experiment string
	Variant    string
	Contestant string
	Factor     float64
	Rep        int
	Capacity   float64
	Seed       uint64
	Measured   time.Duration

	DSN     string
	Args    arguments
	Machine machine
}

// warmLoop is how long a fresh contestant is used gently before the load comes.
const warmLoop = 200 * time.Millisecond

// ramp is how long a load is offered before it counts.
const ramp = 400 * time.Millisecond

func (c *cell) length() time.Duration { return ramp + c.Measured }

// run has a process of its own make the measurement, and counts connections.
func (s *server) run(ctx context.Context, c cell) (row, error) {
	c.DSN, c.Args = s.dsn, s.args
	if find(c.Contestant).behind {
		if err := s.bouncerAlive(ctx); err != nil {
			return row{}, err
		}
		c.DSN = s.bouncer.dsn
	}
	c.Machine = s.machine
	before, err := s.sessions(ctx)
	if err != nil {
		return row{}, err
	}
	r, err := inOwnProcess(ctx, c)
	if err != nil {
		return r, err
	}
	quiet, err := s.quiet(ctx)
	if err != nil {
		return r, err
	}
	after, err := s.sessions(ctx)
	r.Opened = after - before
	r.Quiet = milliseconds(quiet)
	return r, err
}

// cellFlag makes this program a cell's process.
const cellFlag = "-cell"

func inOwnProcess(ctx context.Context, c cell) (r row, err error) {
	in, err := json.Marshal(c)
	if err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, cellFlag)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w", c.Contestant, c.Experiment, err)
	}
	return r, json.Unmarshal(out, &r)
}

// cellMain is the whole of such a process.
func cellMain(ctx context.Context) error {
	var c cell
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	log.SetOutput(io.Discard) // Lifeguard says there what it refuses
	r, err := c.measure(ctx)
	if err != nil {
		log.SetOutput(os.Stderr)
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// measure opens the contestant, offers the load, and reads the instruments.
func (c *cell) measure(ctx context.Context) (row, error) {
	r := row{Experiment: c.Experiment, Contestant: c.Contestant, Variant: c.Variant, Factor: c.Factor, Rep: c.Rep, Capacity: c.Capacity, Killed: -1}
	who, do := c.script()
	sess, err := who.open(ctx, c.DSN)
	if err != nil {
		return r, err
	}
	if _, err := closedLoop(ctx, sess, func() statement { return c.Args.statement(classLight) }, conns, warmLoop); err != nil {
		return r, err
	}
	if do.instead != nil {
		do.instead(ctx, sess, &r)
		r.guard(sess)
		return r, nil
	}

	calls := do.arrivals()
	runtime.GC()
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	var unborn atomic.Int64
	watch := watchPeaks(&unborn)
	start := c.Machine.processorTime()
	beside, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if do.beside != nil {
			do.beside(beside, sess)
		}
	}()
	drive(ctx, calls, &unborn, func(ctx context.Context, one *call) error { return do.call(ctx, sess, one) })
	used := c.Machine.processorTime().since(start)
	elapsed := time.Since(start.at)
	watch.end()
	stop()
	<-done
	r.guard(sess)
	sess.close()

	r.summarise(calls, ramp, c.length())
	if do.after != nil {
		do.after(calls, &r)
	}
	r.Goroutines = watch.goroutines
	r.Heap = int64(watch.heap-min(watch.heap, mem.HeapAlloc)) >> 10
	r.Stacks = int64(watch.stacks-min(watch.stacks, mem.StackInuse)) >> 10
	processors := func(d time.Duration) float64 { return d.Seconds() / elapsed.Seconds() }
	r.ServerCPU, r.BouncerCPU, r.SelfCPU = processors(used.server), processors(used.bouncer), processors(used.self)
	r.OthersCPU = max(0, processors(used.busy-used.server-used.bouncer-used.self))
	r.Useful = r.Work / (float64(runtime.NumCPU()) - r.OthersCPU)
	return r, nil
}

// guard notes what Lifeguard itself has counted.
func (r *row) guard(s *session) {
	st, ok := s.guardStats()
	if !ok {
		return
	}
	r.Killed = 0
	for why, n := range st.Pool.Closed {
		if n > 0 && why != "closed" {
			r.Killed += int64(n)
		}
	}
}

// Classes of calls. The row's main numbers are those of all but classOther.
const (
	classMedium = iota
	classLight
	classOther // the heavy statements of the mix, Normal priority
)

// arguments make statements of 1, 4 and 50 ms of processor time.
type arguments struct{ Light, Medium, Heavy int64 }

func (a arguments) statement(class uint8) statement {
	switch class {
	case classLight:
		return statement{textPlain, a.Light}
	case classOther:
		return statement{textHeavy, a.Heavy}
	}
	return statement{textPlain, a.Medium}
}

// summarise fills in what the calls say. Those that were due before warm are the ramp.
func (r *row) summarise(calls []call, warm, last time.Duration) {
	var (
		good, other, bad, behind []time.Duration
		of                       [2]int
		quick                    int
	)
	for i := range calls {
		c := &calls[i]
		if c.at < warm {
			continue
		}
		r.Calls++
		behind = append(behind, c.behind)
		into, n := &good, &of[0]
		if c.class == classOther {
			into, n = &other, &of[1]
		}
		*n++
		switch c.kind {
		case answered:
			*into = append(*into, c.total)
			r.Work += r.cost(c.class).Seconds()
		case dropped:
			r.Dropped++
		case late:
			r.Late++
		default:
			r.count(c)
			bad = append(bad, c.took)
			if c.took <= time.Millisecond {
				quick++
			}
		}
	}
	window := (last - warm).Seconds()
	r.Work /= window
	r.Offered = float64(r.Calls) / window
	r.Goodput = float64(len(good)+len(other)) / window
	r.Main = float64(of[0]) / window
	r.Share, r.OtherShare = ratio(len(good), of[0]), ratio(len(other), of[1])
	r.OtherP99 = milliseconds(quantile(other, 0.99))
	if r.Experiment == experimentMix {
		good = slices.Concat(good, other)
	}
	r.P50, r.P99 = milliseconds(quantile(good, 0.5)), milliseconds(quantile(good, 0.99))
	r.RefuseP50, r.RefuseP99 = milliseconds(quantile(bad, 0.5)), milliseconds(quantile(bad, 0.99))
	r.Within1ms = ratio(quick, len(bad))
	r.BehindP50, r.BehindP99 = milliseconds(quantile(behind, 0.5)), milliseconds(quantile(behind, 0.99))
}

// cost is the processor time that a statement takes on the server, as calibrated.
func (r *row) cost(class uint8) time.Duration {
	switch {
	case class == classLight || r.Experiment == experimentHeavy:
		return time.Millisecond
	case class == classOther && r.Experiment == experimentMix:
		return 50 * time.Millisecond
	}
	return 4 * time.Millisecond
}

// count notes why a call got no answer.
func (r *row) count(c *call) {
	switch c.kind {
	case expired:
		r.Expired++
	case tooMany:
		r.TooMany++
	case refused:
		r.Refused++
	default:
		r.Failed++
		if r.Error == "" {
			r.Error = c.err.Error()
		}
	}
	switch c.reason {
	case lifeguard.ReasonQueueFull:
		r.Full++
	case lifeguard.ReasonDeadline:
		r.Deadline++
	case lifeguard.ReasonCoDel:
		r.CoDel++
	case lifeguard.ReasonTimeout:
		r.Timeout++
	}
}

func ratio(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
