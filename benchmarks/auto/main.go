// Command auto compares lifeguard_limit=auto with fixed limits while the server is
// slowed down: docs/adaptive-limit.md shows its output. It starts a PostgreSQL of its
// own, and three phases run against it: undisturbed, disturbed, undisturbed again.
//
//	cd benchmarks && go run ./auto -svg ../docs/plots
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
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const (
	deadline = 250 * time.Millisecond
	light    = "select sum(i) from generate_series(1, 2000) i"
	heavy    = "select sum(i), $1::int from generate_series(1, 40000) i"
	hot      = "update counters set n = n + 1 where id = 1"
)

// What is compared, from the flags.
var (
	maxConns    int
	contestants []string
)

// scenario is one kind of disturbance.
type scenario struct {
	name, title string
	rate        float64 // arrivals as part of the undisturbed capacity
	disturb     func(ctx context.Context, dsn string) (stop func())
}

// second is what was seen in one second of a run.
type second struct {
	limit, answered, inTime, refused int
	times                            []time.Duration
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 && os.Args[1] == "hog" {
		hog()
	}
	phase := flag.Duration("phase", 10*time.Second, "length of each of the three phases")
	reps := flag.Int("reps", 3, "repetitions, of which the table shows medians")
	svg := flag.String("svg", "", "folder for the plots")
	limits := flag.String("limits", "1 2 4 8 16 auto", "values of lifeguard_limit to compare")
	flag.IntVar(&maxConns, "max", 16, "pool_max_conns")
	only := flag.String("only", "", "the one scenario to run")
	flag.Parse()
	contestants = strings.Fields(*limits)

	if err := run(*phase, *reps, *svg, *only); err != nil {
		log.Fatal(err)
	}
}

func run(phase time.Duration, reps int, svg, only string) error {
	ctx := context.Background()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	dsn, _, err := server.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	if err := prepare(ctx, dsn); err != nil {
		return err
	}
	for _, s := range []scenario{
		{"hog", "six busy processes beside the server", 0.7, hogs},
		{"locks", "30 of 100 statements update one row; while it is locked, 50 ms at a time", 0.7, lockPileUp},
		{"work", "twenty connections of somebody else run heavy statements", 0.7, otherWork},
	} {
		if only != "" && only != s.name {
			continue
		}
		if err := s.run(ctx, dsn, phase, reps, svg); err != nil {
			return err
		}
	}
	return nil
}

func prepare(ctx context.Context, dsn string) error {
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "create table counters (id int primary key, n int); insert into counters values (1, 0)")
	return err
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

func (s scenario) run(ctx context.Context, dsn string, phase time.Duration, reps int, svg string) error {
	locks := s.name == "locks"
	top, err := capacity(ctx, dsn, locks)
	if err != nil {
		return err
	}
	rate := s.rate * top
	fmt.Printf("\n### %s\n\nCapacity %.0f/s, offered %.0f/s, deadline %v, pool_max_conns %d, %d repetitions, %d cores.\n\n", s.title, top, rate, deadline, maxConns, reps, runtime.NumCPU())
	runs := map[string][][]second{}
	for range reps {
		for _, limit := range contestants {
			r, err := s.one(ctx, dsn, limit, rate, phase, locks)
			if err != nil {
				return err
			}
			runs[limit] = append(runs[limit], r)
		}
	}
	table(runs, int(phase.Seconds()))
	if svg == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(svg, fmt.Sprintf("auto-%s-%d.svg", s.name, maxConns)), plot(s.title, runs, int(phase.Seconds())), 0o644)
}

// one runs the three phases against one limit: open-loop Poisson arrivals.
func (s scenario) one(ctx context.Context, dsn, limit string, rate float64, phase time.Duration, locks bool) ([]second, error) {
	db, err := sql.Open("lifeguard", fmt.Sprintf("%s&pool_max_conns=%d&pool_min_conns=%d&lifeguard_limit=%s", dsn, maxConns, maxConns, limit))
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
		if i >= len(seconds) {
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
			err := statement(bounded, db, locks)
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
	clients.Wait()
	return seconds, nil
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

// summary is one phase of one run.
type summary struct{ inTime, p99, limit float64 }

func summarise(seconds []second) (s summary) {
	var times []time.Duration
	for _, second := range seconds {
		s.inTime += float64(second.inTime) / float64(len(seconds))
		s.limit += float64(second.limit) / float64(len(seconds))
		times = append(times, second.times...)
	}
	slices.Sort(times)
	if len(times) > 0 {
		s.p99 = float64(times[len(times)*99/100]) / 1e6
	}
	return s
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func table(runs map[string][][]second, phase int) {
	fmt.Println("| limit | in time/s, before | disturbed | after | p99 ms, before | disturbed | after | mean limit, before | disturbed | after |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, limit := range contestants {
		fmt.Printf("| %s |", limit)
		for _, pick := range []func(summary) float64{
			func(s summary) float64 { return s.inTime },
			func(s summary) float64 { return s.p99 },
			func(s summary) float64 { return s.limit },
		} {
			for p := range 3 {
				var values []float64
				for _, r := range runs[limit] {
					values = append(values, pick(summarise(r[p*phase:(p+1)*phase])))
				}
				fmt.Printf(" %.*f |", precision(median(values)), median(values))
			}
		}
		fmt.Println()
	}
}

func precision(v float64) int {
	if v < 20 {
		return 1
	}
	return 0
}
