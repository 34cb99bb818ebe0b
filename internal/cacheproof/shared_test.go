package cacheproof

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// sharedProcesses is how many play a history together.
const sharedProcesses = 3

// TestWhatProcessesSeeThroughRedisIsLinearizable has processes share a database by
// lifeguard_redis. It is as long as LIFEGUARD_PROOF_SHARED_OPS says, of operations. In
// between one of them is killed, or cut off from Redis, and Redis is flushed or stands still.
func TestWhatProcessesSeeThroughRedisIsLinearizable(t *testing.T) {
	seed := uint64(soak("LIFEGUARD_PROOF_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("LIFEGUARD_PROOF_SEED=%d", seed)
	wanted := soak("LIFEGUARD_PROOF_SHARED_OPS", 5_000)
	s := newSharedWorld(t, rand.New(rand.NewPCG(seed, 77)))
	var sum tally
	for n := 0; sum.operations < wanted && !t.Failed(); n++ {
		// In a short run the first is undisturbed, and the second is disturbed twice.
		length := min(historyLength, max(wanted/2, 1000))
		sum.add(s.history(t, n, length))
	}
	t.Logf("%v; %d hits in memory, %d in Redis, %d writes without Redis; killed %d, cut off %d, flushed %d, stood still %d",
		&sum, s.hits, s.inRedis, s.bare, s.killed, s.cut, s.flushed, s.paused)
	if s.hits*50 < uint64(sum.operations) || s.inRedis == 0 || s.killed == 0 || s.flushed == 0 || sum.writes*200 < sum.operations { //nolint:gosec // not negative
		t.Error("too little has happened to prove anything")
	}
	if sum.operations >= 100_000 && (s.bare == 0 || s.cut == 0 || s.paused == 0 || sum.seenUnknown == 0) {
		t.Error("too little has happened for a long run")
	}
}

// sharedWorld is a database that processes share.
type sharedWorld struct {
	r         *rand.Rand
	plainDSN  string
	plain     *sql.DB
	redis     *url.URL
	begun     time.Time
	processes []*sharedProcess
	number    int32 // of the latest process

	hits, inRedis, bare          uint64
	killed, cut, flushed, paused int
}

// sharedProcess is one of them.
type sharedProcess struct {
	number int32
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan line
	cable  *cable

	hits, inRedis, bare uint64 // as it said last
}

func newSharedWorld(t *testing.T, r *rand.Rand) *sharedWorld {
	t.Helper()
	s := &sharedWorld{r: r, plainDSN: pgtest.DSN(t), begun: time.Now()}
	var err error
	if s.plain, err = sql.Open("pgx", s.plainDSN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.plain.Close() })
	if _, err := s.plain.ExecContext(t.Context(), worldSchema); err != nil {
		t.Fatal(err)
	}
	redis := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	if s.redis, err = url.Parse(redis.URL()); err != nil {
		t.Fatal(err)
	}
	for range sharedProcesses {
		s.processes = append(s.processes, s.start(t))
	}
	return s
}

func (s *sharedWorld) start(t *testing.T) *sharedProcess {
	t.Helper()
	s.number++
	p := &sharedProcess{number: s.number, lines: make(chan line, 100), cable: newCable(t, s.redis.Host)}
	through := *s.redis
	through.Host = p.cable.listener.Addr().String()
	text, err := json.Marshal(sharerJob{
		Shared: fmt.Sprintf("%s&lifeguard_cache=local&lifeguard_redis=%s&application_name=shared%d", s.plainDSN, through.String(), s.number),
		Plain:  s.plainDSN, Begun: s.begun.UnixNano(), Number: s.number,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this program
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), sharerEnv+"="+string(text)), os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for lines := bufio.NewReader(out); ; {
			text, err := lines.ReadBytes('\n')
			var l line
			if json.Unmarshal(text, &l) == nil { // the last line of one that was killed is cut off
				p.lines <- l
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.in.Close()
		_ = p.cmd.Process.Kill()
		for range p.lines {
		}
		_ = p.cmd.Wait()
	})
	return p
}

// history has all processes play, disturbs them, and judges what they saw.
func (s *sharedWorld) history(t *testing.T, n, length int) *linearHistory {
	t.Helper()
	s.settle(t)
	start, err := readRegisters(t.Context(), s.plain, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.processes {
		c := sharerCommand{Warm: n != 1 || length == historyLength, Length: length / sharedProcesses, Clients: 3 + s.r.IntN(8), Seed: s.r.Uint64()}
		if err := json.NewEncoder(p.in).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	var victim *sharedProcess
	h := &linearHistory{w: &world{name: "shared"}, r: s.r}
	var all sync.WaitGroup
	first := make(chan struct{})
	var began sync.Once
	for _, p := range s.processes {
		all.Go(func() { s.hear(h, p, func() { began.Do(func() { close(first) }) }) })
	}
	<-first // somebody writes: they are warm
	if n > 0 {
		victim = s.disturb(t, n)
	}
	all.Wait()
	for i, p := range s.processes {
		s.hits, s.inRedis, s.bare = s.hits+p.hits, s.inRedis+p.inRedis, s.bare+p.bare
		p.cable.set(true)
		if p == victim {
			s.bury(t, p)
			s.processes[i] = s.start(t)
		}
		p.hits, p.inRedis, p.bare = 0, 0, 0
	}
	h.judge(t, values(start))
	return h
}

// disturb does something bad, and returns the process that it has killed.
func (s *sharedWorld) disturb(t *testing.T, n int) (victim *sharedProcess) {
	t.Helper()
	p := s.processes[s.r.IntN(len(s.processes))]
	sleep(time.Duration(1+s.r.IntN(300)) * time.Millisecond)
	what := s.r.IntN(5)
	if n == 1 || what == 0 { // whatever the chance
		s.killed++
		_ = p.cmd.Process.Kill()
		victim = p
	}
	if n == 1 || what == 1 {
		s.flushed++
		redisSays(t, s.redis.Host, "FLUSHALL")
	}
	switch what {
	case 2, 3:
		s.cut++
		p.cable.set(false)
		sleep(time.Duration(1+s.r.IntN(4)) * time.Second)
		if s.r.IntN(2) == 0 {
			p.cable.set(true)
		}
	case 4:
		s.paused++
		redisSays(t, s.redis.Host, "CLIENT PAUSE 1500 ALL")
	}
	return victim
}

// hear collects what a process says until it is done, or dead.
func (s *sharedWorld) hear(h *linearHistory, p *sharedProcess, begun func()) {
	open := make(map[int32]written) // writes that have begun, by their first value
	for l := range p.lines {
		if l.Write != nil {
			begun()
			key := l.Write.Writes[0][1]
			delete(open, key)
			switch l.Says {
			case saysBegin:
				open[key] = *l.Write
			case saysEnd:
				h.note(l.Write.record(int(p.number)))
			case saysNot:
			}
			continue
		}
		for i := range l.Reads {
			h.note(l.Reads[i].record(int(p.number)))
		}
		for _, e := range l.Errors {
			h.contradiction("%s", e)
		}
		if l.Done {
			begun()
			p.hits, p.inRedis, p.bare = l.Hits, l.InRedis, l.Bare
			return
		}
	}
	begun()
	for _, w := range open { // it was killed: nobody knows what has become of them
		w.Unknown, w.End = true, time.Since(s.begun)
		h.note(w.record(int(p.number)))
	}
}

func (h *linearHistory) note(r record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, r)
}

// bury waits until nothing of a process that was killed is left on the server.
func (s *sharedWorld) bury(t *testing.T, p *sharedProcess) {
	t.Helper()
	name := fmt.Sprintf("shared%d", p.number)
	for begun := time.Now(); time.Since(begun) < time.Minute; sleep(5 * time.Millisecond) {
		left := 0
		if err := s.plain.QueryRowContext(t.Context(), "select count(*) from pg_stat_activity where application_name = $1", name).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
	}
	t.Fatal("a killed process has backends after a minute")
}

// settle is for what was killed; the others have said that they are done.
func (s *sharedWorld) settle(t *testing.T) {
	t.Helper()
	for _, p := range s.processes {
		if p.cmd.ProcessState != nil {
			t.Fatal("a process has ended")
		}
	}
}

// redisSays sends a command past all cables.
func redisSays(t *testing.T, host, command string) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "+OK\r\n" {
		t.Fatalf("Redis says %q to %s: %v", answer, command, err)
	}
}

// cable leads to Redis, and can be cut.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards what follows
	whole bool
	ends  map[net.Conn]struct{}
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, to: to, whole: true, ends: make(map[net.Conn]struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.set(false)
		all.Wait()
	})
	return c
}

// set mends the cable, or cuts it.
func (c *cable) set(whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = whole
	if !whole {
		for end := range c.ends {
			_ = end.Close()
		}
	}
}

func (c *cable) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if !c.whole {
		c.mu.Unlock()
		return
	}
	c.ends[near], c.ends[far] = struct{}{}, struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.ends, near)
		delete(c.ends, far)
	}()
	var back sync.WaitGroup
	back.Go(func() {
		defer near.Close()
		_, _ = io.Copy(near, far)
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}
