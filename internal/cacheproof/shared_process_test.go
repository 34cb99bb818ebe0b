package cacheproof

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// sharerEnv holds the job of a process that plays its part in histories of several. It reads
// one command for each from its standard input, and tells what happens on its standard
// output: writes as they begin and end, so that they are known if it is killed.
const sharerEnv = "LIFEGUARD_PROOF_SHARER"

type sharerJob struct {
	Shared, Plain string // DSNs
	Begun         int64  // when the clock of all histories began
	Number        int32  // of the process; no other one has it
}

type sharerCommand struct {
	Warm    bool // read until memory and Redis have answered
	Length  int
	Clients int
	Seed    uint64
}

// line is what a process says.
type line struct {
	Says    says      `json:",omitempty"`
	Write   *written  `json:",omitempty"`
	Reads   []written `json:",omitempty"`
	Errors  []string  `json:",omitempty"`
	Done    bool      `json:",omitempty"`
	Hits    uint64    `json:",omitempty"`
	InRedis uint64    `json:",omitempty"`
	Bare    uint64    `json:",omitempty"`
}

// written is a record as it is written.
type written struct {
	Client     int
	What       string
	Writes     [][2]int32 `json:",omitempty"`
	Reads      []int      `json:",omitempty"`
	Answer     []int32    `json:",omitempty"`
	Begin, End time.Duration
	Unknown    bool `json:",omitempty"`
}

func write(r *record) *written {
	w := &written{Client: r.client, What: r.what, Reads: r.reads, Answer: r.answer, Begin: r.begin, End: r.end, Unknown: r.unknown}
	for _, a := range r.writes {
		w.Writes = append(w.Writes, [2]int32{int32(a.register), a.value}) //nolint:gosec // small
	}
	return w
}

// record is the inverse. Clients of different processes are different.
func (w *written) record(process int) record {
	r := record{client: process*1000 + w.Client, what: w.What, reads: w.Reads, answer: w.Answer, begin: w.Begin, end: w.End, unknown: w.Unknown}
	for _, a := range w.Writes {
		r.writes = append(r.writes, assignment{int(a[0]), a[1]})
	}
	return r
}

// share is the main function of such a process.
func share(text string) int {
	var j sharerJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return shareFailed(err)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	w := &world{name: "shared"}
	var err error
	if w.db, err = sql.Open("lifeguard", j.Shared); err != nil {
		return shareFailed(err)
	}
	defer w.db.Close()
	w.db.SetMaxIdleConns(40)
	if w.of, err = lifeguard.FromDB(w.db); err != nil {
		return shareFailed(err)
	}
	if w.plain, err = sql.Open("pgx", j.Plain); err != nil {
		return shareFailed(err)
	}
	defer w.plain.Close()
	w.plain.SetMaxOpenConns(3)
	nextValue.Store(j.Number * 20_000_000)

	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(l line) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(l)
	}
	commands := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var c sharerCommand
		if err := commands.Decode(&c); err != nil {
			return 0 // no more
		}
		if c.Warm {
			w.warm(time.Minute)
		}
		h := newLinearHistory(w, rand.New(rand.NewPCG(c.Seed, uint64(j.Number))), c.Length) //nolint:gosec // small
		h.begun = time.Unix(0, j.Begun)
		h.opaque = 300 // each has all processes learn everything anew
		h.tell = func(s says, r *record) { say(line{Says: s, Write: write(r)}) }
		h.play(c.Clients)
		done := line{Done: true, Errors: h.errors}
		for i := range h.records {
			if len(h.records[i].writes) == 0 {
				done.Reads = append(done.Reads, *write(&h.records[i]))
			}
		}
		st := w.stats()
		done.Hits, done.InRedis, done.Bare = st.Hits, st.Redis.Hits, st.Redis.Unannounced
		say(done)
	}
}

func shareFailed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// warm reads until memory and Redis have answered.
func (w *world) warm(patience time.Duration) {
	before := w.stats()
	for begun := time.Now(); time.Since(begun) < patience; {
		if st := w.stats(); st.Hits > before.Hits && st.Redis.Lookups["same"] > before.Redis.Lookups["same"] {
			return
		}
		for _, q := range questions {
			_, _ = readRegisters(context.Background(), w.db, q.text, q.arg(0)...)
		}
		sleep(5 * time.Millisecond)
	}
}

// play has clients work until enough is recorded, and the outcome of all is known.
func (h *linearHistory) play(clients int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range clients {
		c := &client{h: h, id: i, r: rand.New(rand.NewPCG(h.r.Uint64(), uint64(i))), writer: i%3 == 0}
		all.Go(func() { c.work(ctx) })
	}
	all.Wait()
	h.last(ctx)
	for st := h.w.stats(); st.Unsettled+st.Redis.Underway > 0 && ctx.Err() == nil; st = h.w.stats() {
		sleep(10 * time.Millisecond)
	}
}
