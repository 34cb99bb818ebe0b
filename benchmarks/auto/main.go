// Command auto compares lifeguard_limit=auto with fixed limits while the server is
// slowed down: docs/adaptive-limit.md shows its output. It starts a PostgreSQL of its
// own, and three phases run against it: undisturbed, disturbed, undisturbed again.
//
//	cd benchmarks && go run ./auto -out ../docs       # nine minutes
//	cd benchmarks && go run ./auto -quick             # two minutes, to stdout
//	cd benchmarks && go run ./auto -only locks-16     # to stdout
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/program"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const (
	deadline = 250 * time.Millisecond
	light    = "select sum(i) from generate_series(1, 2000) i"
	heavy    = "select sum(i), $1::int from generate_series(1, 40000) i"
	hot      = "update counters set n = n + 1 where id = 1"
)

// scenario is one kind of disturbance, and what is compared in it.
type scenario struct {
	name, title string
	maxConns    int      // pool_max_conns
	limits      []string // values of lifeguard_limit
	rate        float64  // arrivals as part of the undisturbed capacity
	disturb     func(ctx context.Context, dsn string) (stop func())
	locks       bool // part of the statements update one row
	onlyByName  bool
}

func scenarios() []scenario {
	few, many := strings.Fields("2 4 8 16 auto"), strings.Fields("8 16 64 auto")
	return []scenario{
		{name: "hog-16", title: "Six busy processes beside the server", maxConns: 16, limits: few, rate: 0.7, disturb: hogs},
		{name: "hog-64", title: "Six busy processes beside the server", maxConns: 64, limits: many, rate: 0.7, disturb: hogs},
		{name: "locks-16", title: "30 of 100 statements update one row; while it is locked, 50 ms at a time", maxConns: 16, limits: few, rate: 0.7, disturb: lockPileUp, locks: true},
		{name: "work-16", title: "Twenty connections of somebody else run heavy statements", maxConns: 16, limits: few, rate: 0.7, disturb: otherWork, onlyByName: true},
	}
}

// options are the flags.
type options struct {
	quick bool
	phase time.Duration
	reps  int
	out   string
	only  string
}

// second is what was seen in one second of a run.
type second struct {
	limit, answered, inTime, refused int
	times                            []time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hog" {
		hog()
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "phases of two seconds, once")
	flag.DurationVar(&o.phase, "phase", 6*time.Second, "length of each of the three phases")
	flag.IntVar(&o.reps, "reps", 2, "repetitions, of which the table shows medians")
	flag.StringVar(&o.out, "out", "", "docs folder: writes plots/auto*, and the tables in adaptive-limit.md")
	flag.StringVar(&o.only, "only", "", "the one scenario to run: hog-16, hog-64, locks-16 or work-16")
	program.Main(&o.quick, func() { o.phase, o.reps = 2*time.Second, 1 }, func(ctx context.Context) error {
		if o.phase < time.Second || o.phase%time.Second != 0 || o.reps < 1 {
			return errors.New("-phase is whole seconds, and -reps at least 1")
		}
		return run(ctx, o)
	})
}

func run(ctx context.Context, o options) error {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // Lifeguard's
	log.SetOutput(os.Stderr)                       // which SetDefault has changed too
	log.SetFlags(log.Ltime)
	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	dsn, _, err := server.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	postgres, err := prepare(ctx, dsn)
	if err != nil {
		return err
	}
	var all []result
	for _, s := range scenarios() {
		if o.only != s.name && (o.only != "" || s.onlyByName) {
			continue
		}
		r, err := s.run(ctx, dsn, o)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no scenario %q", o.only)
	}
	return publish(o, began, postgres, all)
}

// prepare makes what the statements need, and returns the server's version.
func prepare(ctx context.Context, dsn string) (version string, err error) {
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		return "", err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "create table counters (id int primary key, n int); insert into counters values (1, 0)"); err != nil {
		return "", err
	}
	err = db.QueryRowContext(ctx, "show server_version").Scan(&version)
	return version, err
}

// capacity is what four closed-loop clients get done per second.
func capacity(ctx context.Context, dsn string, locks bool) (float64, error) {
	db, err := sql.Open("lifeguard", dsn+"&lifeguard_limit=4")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if statement(ctx, db, locks) == nil {
					mu.Lock()
					n++
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	return float64(n) / 3, nil
}

func statement(ctx context.Context, db *sql.DB, locks bool) (err error) {
	var sum, n int64
	switch r := rand.Float64(); {
	case locks && r < 0.3:
		_, err = db.ExecContext(ctx, hot)
	case r < 0.9:
		err = db.QueryRowContext(ctx, light).Scan(&sum)
	default:
		err = db.QueryRowContext(ctx, heavy, 1).Scan(&sum, &n)
	}
	return err
}

// result is a scenario and what was seen in it.
type result struct {
	scenario
	capacity float64
	reps     int
	phase    int                   // seconds
	runs     map[string][][]second // by limit
}

func (s scenario) run(ctx context.Context, dsn string, o options) (result, error) {
	top, err := capacity(ctx, dsn, s.locks)
	r := result{scenario: s, capacity: top, reps: o.reps, phase: int(o.phase.Seconds()), runs: map[string][][]second{}}
	if err != nil {
		return r, err
	}
	for i := range o.reps {
		for _, limit := range s.limits {
			one, err := s.one(ctx, dsn, limit, s.rate*top, o.phase)
			if err != nil {
				return r, err
			}
			r.runs[limit] = append(r.runs[limit], one)
			log.Printf("%s, repetition %d: limit %s", s.name, i+1, limit)
		}
	}
	return r, nil
}

// one runs the three phases against one limit: open-loop Poisson arrivals.
func (s scenario) one(ctx context.Context, dsn, limit string, rate float64, phase time.Duration) ([]second, error) {
	db, err := sql.Open("lifeguard", fmt.Sprintf("%s&pool_max_conns=%d&pool_min_conns=%d&lifeguard_limit=%s", dsn, s.maxConns, s.maxConns, limit))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		return nil, err
	}
	seconds := make([]second, 3*int(phase.Seconds()))
	var mu sync.Mutex
	var clients sync.WaitGroup
	start := time.Now()
	var stop func()
	for next := start; ; {
		at := time.Since(start)
		i := int(at.Seconds())
		if i >= len(seconds) || ctx.Err() != nil {
			break
		}
		switch {
		case stop == nil && at >= phase && at < 2*phase:
			stop = s.disturb(ctx, dsn)
		case stop != nil && at >= 2*phase:
			stop()
			stop = nil
		}
		mu.Lock()
		seconds[i].limit = connector.Stats().Limiter.Limit
		mu.Unlock()
		clients.Go(func() {
			sent := time.Now()
			bounded, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			err := statement(bounded, db, s.locks)
			took := time.Since(sent)
			mu.Lock()
			defer mu.Unlock()
			second := &seconds[i]
			switch {
			case errors.Is(err, lifeguard.ErrOverloaded):
				second.refused++
			case err == nil:
				second.answered++
				second.times = append(second.times, took)
				if took <= deadline {
					second.inTime++
				}
			}
		})
		next = next.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		time.Sleep(time.Until(next))
	}
	if stop != nil { // interrupted
		stop()
	}
	clients.Wait()
	return seconds, ctx.Err()
}

// hogs starts busy processes, which compete with the server for its cores.
func hogs(context.Context, string) func() {
	var started []*exec.Cmd
	for range 6 {
		cmd := exec.Command(os.Args[0], "hog")
		if err := cmd.Start(); err != nil {
			log.Fatal(err)
		}
		started = append(started, cmd)
	}
	return func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

func hog() {
	end := time.Now().Add(time.Minute) // whatever becomes of the parent
	for time.Now().Before(end) {
	}
	os.Exit(0)
}

// background opens a plain database with n goroutines that do something until stopped.
func background(ctx context.Context, dsn string, n int, do func(context.Context, *sql.DB)) func() {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	for range n {
		work.Go(func() {
			for ctx.Err() == nil {
				do(ctx, db)
			}
		})
	}
	return func() {
		cancel()
		work.Wait()
		_ = db.Close()
	}
}

func lockPileUp(ctx context.Context, dsn string) func() {
	return background(ctx, dsn, 1, func(ctx context.Context, db *sql.DB) {
		_, _ = db.ExecContext(ctx, "with held as materialized (select * from counters where id = 1 for update) select pg_sleep(0.05) from held")
	})
}

func otherWork(ctx context.Context, dsn string) func() {
	return background(ctx, dsn, 20, func(ctx context.Context, db *sql.DB) {
		_, _ = db.ExecContext(ctx, "select sum(i) from generate_series(1, 40000) i")
	})
}
