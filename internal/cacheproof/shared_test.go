package cacheproof

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// sharedProcesses is how many play a history together.
const sharedProcesses = 3

// TestWhatProcessesSeeThroughRedisIsLinearizable has processes share a database by
// lifeguard_redis. It is as long as LIFEGUARD_PROOF_SHARED_OPS says, of operations, which
// LIFEGUARD_PROOF_SHARED_WORLDS databases have part in at once, for most of the time is spent
// waiting: for six seconds after each thing that Redis loses. In between something bad
// happens; see misfortunes.
func TestWhatProcessesSeeThroughRedisIsLinearizable(t *testing.T) {
	seed := uint64(soak("LIFEGUARD_PROOF_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("LIFEGUARD_PROOF_SEED=%d", seed)
	wanted, worlds := soak("LIFEGUARD_PROOF_SHARED_OPS", 5_000), soak("LIFEGUARD_PROOF_SHARED_WORLDS", 1)
	var mu sync.Mutex
	var sum tally
	var did sharedDeeds
	var turn, played atomic.Int32
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				s := newSharedWorld(t, rand.New(rand.NewPCG(seed, 77+uint64(i)))) //nolint:gosec // small
				s.turn, s.played = &turn, &played
				own := s.play(t, wanted)
				mu.Lock()
				defer mu.Unlock()
				sum.join(own)
				did.join(&s.did)
			})
		}
	})
	t.Logf("%v; %v", &sum, &did)
	if did.hits*200 < uint64(sum.operations) || did.inRedis == 0 || did.misfortunes["killed"] == 0 || did.misfortunes["flushed"] == 0 || sum.writes*200 < sum.operations { //nolint:gosec // not negative
		t.Error("too little has happened to prove anything")
	}
	if sum.operations < 100_000 {
		return
	}
	if did.hits*50 < uint64(sum.operations) || did.bare == 0 || sum.seenUnknown == 0 { //nolint:gosec // not negative
		t.Error("too little has happened for a long run")
	}
	for _, m := range misfortunes {
		if did.misfortunes[m.name] == 0 {
			t.Errorf("in a long run nothing %s", m.name)
		}
	}
}

// sharedDeeds are what processes have done, and what was done to them.
type sharedDeeds struct {
	hits, inRedis, bare uint64
	misfortunes         map[string]int // by name
	warming, playing    time.Duration
	judging             time.Duration // while the next history is played
}

func (d *sharedDeeds) String() string {
	return fmt.Sprintf("%d hits in memory, %d in Redis, %d writes without Redis; %v; %v to get warm, %v at work, %v to judge",
		d.hits, d.inRedis, d.bare, d.misfortunes, d.warming.Round(time.Second), d.playing.Round(time.Second), d.judging.Round(time.Second))
}

func (d *sharedDeeds) join(o *sharedDeeds) {
	d.hits, d.inRedis, d.bare = d.hits+o.hits, d.inRedis+o.inRedis, d.bare+o.bare
	d.warming, d.playing, d.judging = d.warming+o.warming, d.playing+o.playing, d.judging+o.judging
	if d.misfortunes == nil {
		d.misfortunes = make(map[string]int)
	}
	for name, n := range o.misfortunes {
		d.misfortunes[name] += n
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
	did       sharedDeeds
	turn      *atomic.Int32 // the latest misfortune's, of all worlds
	played    *atomic.Int32 // operations, of all worlds
}

// sharedProcess is one of them.
type sharedProcess struct {
	number int32
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan line
	cable  *cable.Cable

	hits, inRedis, bare uint64 // as it said last
}

// application is its application_name.
func (p *sharedProcess) application() string { return fmt.Sprintf("shared%d", p.number) }

func newSharedWorld(t *testing.T, r *rand.Rand) *sharedWorld {
	t.Helper()
	s := &sharedWorld{r: r, plainDSN: pgtest.DSN(t), begun: time.Now(), did: sharedDeeds{misfortunes: make(map[string]int)}}
	var err error
	if s.plain, err = sql.Open("pgx", s.plainDSN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.plain.Close() })
	if _, err := s.plain.ExecContext(t.Context(), worldSchema); err != nil {
		t.Fatal(err)
	}
	redis := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no", "enable-debug-command": "yes"}})
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
	p := &sharedProcess{number: s.number, lines: make(chan line, 100), cable: cable.New(t, s.redis.Host)}
	through := *s.redis
	through.Host = p.cable.Addr()
	text, err := json.Marshal(sharerJob{
		Shared: fmt.Sprintf("%s&lifeguard_cache=local&lifeguard_redis=%s&application_name=%s", s.plainDSN, through.String(), p.application()),
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

// play has histories played until all worlds have enough operations, and each judged.
func (s *sharedWorld) play(t *testing.T, wanted int) *tally {
	t.Helper()
	var sum tally
	var judging sync.WaitGroup
	defer judging.Wait()
	for n := 0; (int(s.played.Load()) < wanted || s.did.inRedis == 0 && n < 6) && !t.Failed(); n++ {
		// In a short run the first is undisturbed, and the second is disturbed.
		h, start := s.history(t, n, min(historyLength, max(wanted/2, 1000)))
		sum.add(h)
		s.played.Add(int32(len(h.records))) //nolint:gosec // some thousands
		judging.Wait()
		judging.Go(func() {
			begun := time.Now()
			h.judge(t, start)
			s.did.judging += time.Since(begun)
		})
	}
	return &sum
}

// history has all processes play, and disturbs them.
func (s *sharedWorld) history(t *testing.T, n, length int) (*linearHistory, values) {
	t.Helper()
	s.settle(t)
	start, err := readRegisters(t.Context(), s.plain, everything)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for _, p := range s.processes {
		c := sharerCommand{Warm: n != 1 || length == historyLength, Length: length / sharedProcesses, Clients: 3 + s.r.IntN(8), Seed: s.r.Uint64()}
		if err := json.NewEncoder(p.in).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	h := &linearHistory{w: &world{name: "shared"}, r: s.r}
	var all sync.WaitGroup
	first := make(chan struct{})
	var began sync.Once
	for _, p := range s.processes {
		all.Go(func() { s.hear(h, p, func() { began.Do(func() { close(first) }) }) })
	}
	<-first // somebody writes: they are warm
	s.did.warming += time.Since(begun)
	begun = time.Now()
	var victims []*sharedProcess
	if n > 0 {
		victims = s.disturb(t, n)
	}
	all.Wait()
	s.did.playing += time.Since(begun)
	for i, p := range s.processes {
		s.did.hits, s.did.inRedis, s.did.bare = s.did.hits+p.hits, s.did.inRedis+p.inRedis, s.did.bare+p.bare
		p.cable.Set(cable.Intact)
		if slices.Contains(victims, p) {
			s.bury(t, p)
			s.processes[i] = s.start(t)
		}
		p.hits, p.inRedis, p.bare = 0, 0, 0
	}
	return h, values(start)
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
	left := ""
	for begun := time.Now(); time.Since(begun) < 2*time.Minute; sleep(5 * time.Millisecond) {
		if err := s.plain.QueryRowContext(t.Context(), `select coalesce(string_agg(concat_ws(' ', state, wait_event, query_start, query), e'\n'), '')
			from pg_stat_activity where datname = current_database() and application_name = $1`, p.application()).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == "" {
			return
		}
	}
	t.Fatalf("a killed process has backends after two minutes:\n%s", left)
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
