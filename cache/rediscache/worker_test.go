package rediscache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// workerEnv holds a job for a process that reads and writes counters.
const workerEnv = "LIFEGUARD_REDISCACHE_WORKER"

// registers are tables with one counter each.
const registers = 3

type job struct {
	Redis, PostgreSQL, Fault string
	Linger, Duration         time.Duration
}

// The faults that are planted.
const (
	faultCaptureLate = "the proof is taken after the query"
	faultNoIntent    = "no intent before COMMIT"
	faultNoBump      = "the intent is lowered after COMMIT"
)

// event is one operation as its caller saw it, on the machine's clock in ns.
type event struct {
	Write      bool
	Register   int
	Start, End int64
	Value      int64
	Source     string
}

type worker struct {
	job
	space *rediscache.Space
	db    *pgxpool.Pool

	mu   sync.Mutex // guards what follows
	out  *json.Encoder
	held [registers]struct { // memory of this process
		proof string
		value int64
	}
}

// work is the main function of the process. Its events go to standard output.
func work() int {
	var j job
	if err := json.Unmarshal([]byte(os.Getenv(workerEnv)), &j); err != nil {
		return failed(err)
	}
	tier, err := rediscache.OpenBriefly(j.Redis, rediscache.Options{Budget: patient}, j.Linger)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.Duration)
	defer cancel()
	db, err := pgxpool.New(context.Background(), j.PostgreSQL)
	if err != nil {
		return failed(err)
	}
	defer db.Close()
	w := &worker{job: j, space: tier.Space("a server/5"), db: db, out: json.NewEncoder(os.Stdout)}
	var wg sync.WaitGroup
	wg.Go(func() { w.watch(ctx) })
	for range 2 {
		wg.Go(func() { w.loop(ctx, w.read, 100*time.Microsecond) })
	}
	wg.Go(func() { w.loop(ctx, w.write, 20*time.Millisecond) })
	wg.Wait()
	return 0
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func (w *worker) loop(ctx context.Context, do func(register int) bool, pause time.Duration) {
	for ctx.Err() == nil {
		if !do(rand.IntN(registers)) {
			return
		}
		<-time.After(rand.N(pause))
	}
}

// watch is what a process does that sees all writers: here all follow the protocol.
func (w *worker) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if seen, err := w.space.Watch(ctx, 0, false); err == nil {
			_, _ = w.space.Watch(ctx, seen.Moment+1000, false)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (w *worker) say(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(e)
}

func (w *worker) query(register int) (v int64, err error) {
	err = w.db.QueryRow(context.Background(), fmt.Sprintf("select v from r%d", register)).Scan(&v)
	return v, err
}

func (w *worker) read(register int) bool {
	ctx := context.Background()
	e := event{Register: register, Start: time.Now().UnixNano(), Source: "database"}
	q := rediscache.Question{Key: fmt.Appendf(nil, "r%d", register), Relations: []uint32{uint32(register) + 1}, Value: true} //nolint:gosec // small
	w.mu.Lock()
	held := w.held[register]
	w.mu.Unlock()
	q.Have = held.proof
	a, err := w.space.Look(ctx, q)
	if err != nil {
		a = rediscache.Answer{State: rediscache.Unconfirmed}
	}
	switch a.State {
	case rediscache.Same:
		e.Value, e.Source = held.value, "memory"
	case rediscache.Found:
		e.Source = "redis"
		if e.Value, err = strconv.ParseInt(string(a.Value), 10, 64); err != nil {
			return failed(err) == 0
		}
		w.hold(register, a.Proof, e.Value)
	default:
		if e.Value, err = w.query(register); err != nil {
			return failed(err) == 0
		}
		<-time.After(rand.N(time.Millisecond))
		if w.Fault == faultCaptureLate {
			if a, err = w.space.Look(ctx, q); err != nil {
				return true
			}
		}
		if a.State == rediscache.Miss {
			w.hold(register, a.Proof, e.Value)
			_ = w.space.Fill(ctx, q, a, strconv.AppendInt(nil, e.Value, 10))
		}
	}
	e.End = time.Now().UnixNano()
	w.say(e)
	return true
}

func (w *worker) hold(register int, proof string, value int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[register].proof, w.held[register].value = proof, value
}

func (w *worker) write(register int) bool {
	ctx := context.Background()
	e := event{Write: true, Register: register, Start: time.Now().UnixNano(), Source: "database"}
	seen, err := w.space.Watch(ctx, 0, false)
	if err != nil {
		return true // it cannot place its intent, so it does not write
	}
	writes := rediscache.Writes{Relations: []uint32{uint32(register) + 1}, Catalog: seen.Catalog} //nolint:gosec // small
	var i *rediscache.Intent
	if w.Fault != faultNoIntent {
		if i, err = w.space.Place(ctx, writes); err != nil {
			return true
		}
	}
	if err := w.db.QueryRow(ctx, fmt.Sprintf("update r%d set v = v + 1 returning v", register)).Scan(&e.Value); err != nil {
		return failed(err) == 0
	}
	<-time.After(rand.N(2 * time.Millisecond))
	if i == nil {
		if i, err = w.space.Place(ctx, writes); err != nil {
			return true
		}
	}
	end := i.Bump
	if w.Fault == faultNoBump {
		end = i.Lower
	}
	if _, err := end(ctx); err != nil {
		return true // nobody is told that it has happened
	}
	e.End = time.Now().UnixNano()
	w.say(e)
	return true
}
