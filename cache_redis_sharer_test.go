package lifeguard_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// sharerEnv holds the job of a process that reads and writes counters through the driver,
// with lifeguard_redis, until its standard input ends. Each of its operations, and once in a
// while what its cache has done, goes to standard output.
const sharerEnv = "LIFEGUARD_TEST_SHARER"

// registers are tables with one counter each.
const registers = 3

const registerSchema = `create table r0 (v bigint not null); insert into r0 values (0);
	create table r1 (v bigint not null); insert into r1 values (0);
	create table r2 (v bigint not null); insert into r2 values (0);`

type sharerJob struct {
	DSN, Redis string
	Linger     time.Duration
	Quiet      bool // it does not write
}

// said is a line of a process: an operation as its caller saw it, on the machine's clock in
// ns; or what its cache has done so far.
type said struct {
	Process    int `json:"-"`
	Write      bool
	Register   int
	Start, End int64
	Value      int64
	Source     string
	Error      string
	Cache      *lifeguard.CacheStats
}

type sharer struct {
	db, plain *sql.DB
	of        *lifeguard.Connector
	mu        sync.Mutex // guards out
	out       *json.Encoder
}

// share is the main function of such a process.
func share(text string) int {
	var j sharerJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return shareFailed(err)
	}
	cfg, err := lifeguard.ParseConfig(withSettings(j.DSN, "lifeguard_cache=local", "lifeguard_redis="+j.Redis))
	if err != nil {
		return shareFailed(err)
	}
	lifeguard.ShareBriefly(&cfg, j.Linger)
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	w := &sharer{out: json.NewEncoder(os.Stdout)}
	if w.of, err = lifeguard.NewConnector(cfg); err != nil {
		return shareFailed(err)
	}
	w.db = sql.OpenDB(w.of)
	defer w.db.Close()
	if w.plain, err = sql.Open("pgx", j.DSN); err != nil {
		return shareFailed(err)
	}
	defer w.plain.Close()

	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { w.loop(ctx, w.read, 300*time.Microsecond) })
	}
	all.Go(func() { w.loop(ctx, w.readPlain, 5*time.Millisecond) })
	if !j.Quiet {
		all.Go(func() { w.loop(ctx, w.write, 60*time.Millisecond) })
	}
	all.Go(func() {
		w.loop(ctx, func(context.Context, int) { w.say(&said{Cache: w.of.Stats().Cache}) }, 100*time.Millisecond)
	})
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	all.Wait()
	return 0
}

func shareFailed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func (w *sharer) say(e *said) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(e)
}

func (w *sharer) loop(ctx context.Context, do func(ctx context.Context, register int), pause time.Duration) {
	for ctx.Err() == nil {
		// An operation that has begun ends by itself: what has become of it is known.
		do(context.Background(), rand.IntN(registers))
		<-time.After(rand.N(pause))
	}
}

func (w *sharer) read(ctx context.Context, register int) {
	before := w.of.Stats().Cache
	e := said{Register: register, Start: time.Now().UnixNano()}
	err := w.db.QueryRowContext(ctx, fmt.Sprintf("select v from r%d", register)).Scan(&e.Value)
	e.End = time.Now().UnixNano()
	// Another goroutine's hit may be taken for this one's, which is for people only.
	switch after := w.of.Stats().Cache; {
	case after.Redis.Hits > before.Redis.Hits:
		e.Source = "Redis"
	case after.Hits > before.Hits:
		e.Source = "memory"
	default:
		e.Source = "database"
	}
	w.tell(&e, err)
}

func (w *sharer) readPlain(ctx context.Context, register int) {
	e := said{Register: register, Start: time.Now().UnixNano(), Source: "plain pgx"}
	err := w.plain.QueryRowContext(ctx, fmt.Sprintf("select v from r%d", register)).Scan(&e.Value)
	e.End = time.Now().UnixNano()
	w.tell(&e, err)
}

func (w *sharer) write(ctx context.Context, register int) {
	e := said{Write: true, Register: register, Start: time.Now().UnixNano()}
	text := fmt.Sprintf("update r%d set v = v + 1 returning v", register)
	var err error
	if rand.IntN(2) == 0 {
		err = w.db.QueryRowContext(ctx, text).Scan(&e.Value)
	} else {
		err = lifeguard.Txn(ctx, w.db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, text).Scan(&e.Value)
		})
	}
	e.End = time.Now().UnixNano()
	w.tell(&e, err)
}

func (w *sharer) tell(e *said, err error) {
	if err != nil {
		e.Error = err.Error()
	}
	w.say(e)
}

// sharers are processes that share a database.
type sharers struct {
	t     testing.TB
	cmds  []*exec.Cmd
	ends  []io.Closer
	lines sync.WaitGroup

	mu     sync.Mutex // guards what follows
	said   []said
	latest []*lifeguard.CacheStats
}

// start starts one more process, and returns its number.
func (s *sharers) start(j sharerJob) int {
	s.t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), os.Args[0]) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), sharerEnv+"="+string(text))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	n := len(s.cmds)
	s.cmds, s.ends = append(s.cmds, cmd), append(s.ends, in)
	s.mu.Lock()
	s.latest = append(s.latest, nil)
	s.mu.Unlock()
	s.lines.Go(func() {
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			var e said
			if json.Unmarshal(line, &e) == nil { // the last line of one that was killed is cut off
				s.hear(n, e)
			}
			if err != nil {
				return
			}
		}
	})
	return n
}

func (s *sharers) hear(n int, e said) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Cache != nil {
		s.latest[n] = e.Cache
		return
	}
	e.Process = n
	s.said = append(s.said, e)
}

// stats are the latest of a process.
func (s *sharers) stats(n int) *lifeguard.CacheStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest[n] == nil {
		return &lifeguard.CacheStats{Redis: &lifeguard.RedisStats{}}
	}
	return s.latest[n]
}

// serve waits until each of some processes has answered from memory, and from Redis, again.
func (s *sharers) serve(processes ...int) {
	s.t.Helper()
	for _, n := range processes {
		before := s.stats(n)
		eventually(s.t, fmt.Sprintf("process %d serves", n), func() bool {
			now := s.stats(n)
			return now.Hits > before.Hits+10 && now.Redis.Hits > before.Redis.Hits
		})
	}
}

// end stops them, and returns what they saw.
func (s *sharers) end() []said {
	s.t.Helper()
	for _, end := range s.ends {
		_ = end.Close()
	}
	s.lines.Wait()
	for _, cmd := range s.cmds {
		_ = cmd.Wait()
	}
	return s.said
}

// notLinearizable returns the first thing that one counter could not have shown. The counters
// only grow, by one at a time, so that a history is linearizable if and only if nobody reads
// less than what somebody had read or written before he asked, and nobody more than what was
// being written; what is written PostgreSQL sees to.
func notLinearizable(all []said) string {
	for register := range registers {
		var starts []said
		for _, e := range all {
			if e.Register == register && e.Error == "" {
				starts = append(starts, e)
			}
		}
		ends := slices.Clone(starts)
		slices.SortFunc(starts, func(a, b said) int { return int(a.Start - b.Start) })
		slices.SortFunc(ends, func(a, b said) int { return int(a.End - b.End) })
		began := make(map[int64]int64) // of writes
		for _, e := range starts {
			if e.Write {
				began[e.Value] = e.Start
			}
		}
		var most said // what was known when one began
		n := 0
		for _, e := range starts {
			for ; n < len(ends) && ends[n].End < e.Start; n++ {
				if ends[n].Value > most.Value {
					most = ends[n]
				}
			}
			if e.Value < most.Value || e.Write && e.Value == most.Value {
				return fmt.Sprintf("register %d: process %d has %d from %s, %d µs after process %d had %d from %s",
					register, e.Process, e.Value, e.Source, (e.Start-most.End)/1000, most.Process, most.Value, most.Source)
			}
			if at, ours := began[e.Value]; !e.Write && ours && at > e.End {
				return fmt.Sprintf("register %d: %d was read before it was written", register, e.Value)
			}
		}
	}
	return ""
}

func newSharers(t testing.TB) *sharers {
	t.Helper()
	s := &sharers{t: t}
	t.Cleanup(func() {
		for _, cmd := range s.cmds {
			_ = cmd.Process.Kill() // after a failure
		}
		s.lines.Wait()
	})
	return s
}
