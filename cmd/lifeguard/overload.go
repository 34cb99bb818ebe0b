package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// deadline is what each request of an overload allows itself.
	deadline = 250 * time.Millisecond
	// statementTime is what one statement costs when it runs alone.
	statementTime = 4 * time.Millisecond
	// calibrationTime is how long the capacity is measured.
	calibrationTime = 1500 * time.Millisecond
	// quietLimit bounds the wait for a server that is still busy with the last turn.
	quietLimit = 20 * time.Second
	// turnTime is how long one contestant has the server to itself.
	turnTime = 2 * time.Second
)

// overload compares two ways to reach one server, under the same load.
//
// They take turns. At the same time they would fight for the same few cores, and the
// connection storm of one would be blamed on the other. Each has its own sql.DB from
// the first turn to the last, turns start on a quiet server, and who goes first changes
// from round to round.
type overload struct {
	t       *target
	out     output
	control *pgx.Conn // looks at the server from outside
	work    int       // how many numbers the statement adds up
	rate    float64   // requests per second
	rivals  []*contestant
}

// statement costs processor time on the server, and nothing else.
const statement = "select sum(sqrt(n)) from generate_series(1, $1::int) n"

func runOverload(ctx context.Context, t *target, o demoOptions, out output) (err error) {
	v := &overload{t: t, out: out}
	if v.control, err = pgx.ConnectConfig(ctx, t.config.ConnConfig); err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
		defer cancel()
		err = errors.Join(err, v.control.Close(end))
	}()
	capacity, err := v.calibrate(ctx)
	if err != nil {
		return err
	}
	v.rate = capacity * o.overload
	v.introduce(o, capacity)

	plain := newPlain(t)
	defer func() { err = errors.Join(err, plain.db.Close()) }()
	guarded, err := newGuarded(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guarded.db.Close()) }()
	v.rivals = []*contestant{plain, guarded}

	if err := v.compete(ctx, o.duration); err != nil && ctx.Err() == nil {
		return err
	}
	v.report()
	return nil
}

// calibrate finds out how much work takes statementTime, and how many such statements
// the server answers per second when pool_max_conns connections are kept busy.
func (v *overload) calibrate(ctx context.Context) (capacity float64, err error) {
	const sample = 20_000
	fastest := time.Hour
	for range 10 {
		began := time.Now()
		if _, err := v.control.Exec(ctx, statement, sample); err != nil {
			return 0, fmt.Errorf("calibrate: %w", err)
		}
		fastest = min(fastest, time.Since(began))
	}
	v.work = int(sample * float64(statementTime) / float64(fastest))

	conns := v.conns()
	plain := newPlain(v.t)
	defer func() { err = errors.Join(err, plain.db.Close()) }()
	plain.db.SetMaxOpenConns(conns)
	plain.db.SetMaxIdleConns(conns)
	for _, forTime := range []time.Duration{calibrationTime / 5, calibrationTime} { // the first opens the connections
		answered := new(histogram)
		began := time.Now()
		if err := closedLoop(ctx, plain.db, v.work, conns, forTime, answered); err != nil {
			return 0, fmt.Errorf("calibrate: %w", err)
		}
		capacity = float64(answered.count()) / time.Since(began).Seconds()
	}
	if capacity == 0 {
		return 0, errors.New("calibrate: the server answered nothing")
	}
	return capacity, nil
}

// conns is pool_max_conns in force.
func (v *overload) conns() int {
	if v.t.config.MaxConns == 0 {
		return 10 // Lifeguard's default
	}
	return v.t.config.MaxConns
}

func (v *overload) introduce(o demoOptions, capacity float64) {
	fmt.Fprintf(v.out, `
The statement costs the server %v of processor time; %d connections kept busy answer
%s of them per second. Now %s × that arrives, %s requests per second at random
(Poisson) times, whether or not the earlier ones are done. Each has a deadline of %v.

  pgx/stdlib   as sql.Open("pgx", dsn) gives it, nothing else set
  Lifeguard    as sql.Open("lifeguard", dsn) gives it, with pool_max_conns=%d

They take turns of up to %v, on a server that is quiet at the start of each: on few
cores one would otherwise pay for the other. %v for each in all.

`, statementTime, v.conns(), thousands(int(capacity)), strconv.FormatFloat(o.overload, 'g', -1, 64),
		thousands(int(v.rate)), deadline, v.conns(), turnTime, o.duration)
}

// compete gives each contestant its time, in turns. What was measured before an error,
// such as the end of ctx, stays.
func (v *overload) compete(ctx context.Context, each time.Duration) error {
	v.printHeader()
	for round := 0; each > 0; round++ {
		turn := min(each, turnTime)
		each -= turn
		for i := range v.rivals {
			c := v.rivals[(i+round)%len(v.rivals)]
			if err := v.awaitQuiet(ctx); err != nil {
				return err
			}
			runtime.GC() // each starts with the other's garbage gone
			c.takeTurn(ctx, v, turn)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitQuiet waits until the server has nothing to do for the demo any more: cancelled
// statements may be at work there when their callers have long gone, and thousands of
// attempts to connect may wait to be accepted. A connection of our own stands behind
// all of these.
func (v *overload) awaitQuiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	last, err := pgx.ConnectConfig(ctx, v.t.config.ConnConfig)
	if err != nil {
		return fmt.Errorf("wait for a quiet server: %w", err)
	}
	if err := last.Close(ctx); err != nil {
		return fmt.Errorf("wait for a quiet server: %w", err)
	}
	for {
		var busy int
		err := v.control.QueryRow(ctx, `select count(*) from pg_stat_activity where pid <> pg_backend_pid()
			and application_name = current_setting('application_name') and state is distinct from 'idle'`).Scan(&busy)
		if err != nil {
			return fmt.Errorf("wait for a quiet server: %w", err)
		}
		if busy == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a quiet server: %d statements still run", busy)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
