package cacheproof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/lifeguard-go/lifeguard"
)

// soak returns how much of something a test does: n, or what the environment says.
func soak(name string, n int) int {
	if more, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return more
	}
	return n
}

// historyLength is how many operations are judged at once: the checker's time grows faster
// than their number.
const historyLength = 4000

// TestWhatReadersSeeIsLinearizable is as long as LIFEGUARD_PROOF_OPS says, of operations.
// Each history begins when all outcomes of the one before are known.
func TestWhatReadersSeeIsLinearizable(t *testing.T) {
	seed := uint64(soak("LIFEGUARD_PROOF_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("LIFEGUARD_PROOF_SEED=%d", seed)
	wanted := soak("LIFEGUARD_PROOF_OPS", 12_000)
	kinds := worldKinds
	if only := os.Getenv("LIFEGUARD_PROOF_WORLD"); only != "" {
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(k worldKind) bool { return k.name != only })
	}
	worlds := len(kinds)
	var total tally
	for i := range worlds {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		w := newWorld(t, kinds[i])
		var sum tally
		for sum.operations < wanted/worlds && !t.Failed() {
			h := newLinearHistory(w, r, min(historyLength, wanted/worlds))
			h.run(t)
			sum.add(h)
		}
		st := w.stats()
		t.Logf("%s: %v; %d hits, %d shared, %d misses, %d lost, %d late; invalidated %v, bypassed %v",
			w.name, &sum, st.Hits, st.Shared, st.Misses, w.proxy.lost.Load(), w.proxy.late.Load(), st.Invalidations, taken(st.Bypasses))
		sum.hits, sum.lost = st.Hits, w.proxy.lost.Load()
		total.join(&sum)
		if t.Failed() {
			return
		}
	}
	if worlds == len(worldKinds) {
		total.check(t)
	}
}

// tally counts what has happened, so that a run in which nothing did is noticed.
type tally struct {
	histories, operations, writes, unknown, seenUnknown int
	hits                                                uint64
	lost                                                int64
}

func (s *tally) String() string {
	return fmt.Sprintf("%d histories, %d operations, %d writes, %d of unknown outcome of which %d happened",
		s.histories, s.operations, s.writes, s.unknown, s.seenUnknown)
}

func (s *tally) add(h *linearHistory) {
	s.histories++
	s.operations += len(h.records)
	for i := range h.records {
		if len(h.records[i].writes) > 0 {
			s.writes++
		}
		if h.records[i].unknown {
			s.unknown++
		}
	}
	for _, w := range newHistory(values{}, h.records).writes {
		if w.unknown {
			s.seenUnknown++
		}
	}
}

func (s *tally) join(o *tally) {
	s.histories += o.histories
	s.operations += o.operations
	s.writes += o.writes
	s.unknown += o.unknown
	s.seenUnknown += o.seenUnknown
	s.hits += o.hits
	s.lost += o.lost
}

func (s *tally) check(t *testing.T) {
	t.Helper()
	t.Logf("together: %v, %d hits", s, s.hits)
	// What happens by chance to few is asked of long runs only, as make prove has them.
	long := s.operations >= 100_000
	if int(s.hits)*100 < s.operations || s.writes*100 < s.operations || s.unknown == 0 || s.lost == 0 || long && s.seenUnknown == 0 {
		t.Error("too little has happened to prove anything")
	}
}

// linearHistory is one run of clients until enough is recorded.
type linearHistory struct {
	w       *world
	r       *rand.Rand
	length  int64
	faults  int                  // what the network and the server suffer
	before  lifeguard.CacheStats // when it began
	begun   time.Time
	next    *atomic.Int32 // value
	done    atomic.Int64
	mu      sync.Mutex
	records []record // guarded by mu
	errors  []string // guarded by mu; what contradicts by itself

	opaque int                 // one in so many writes is one that nobody can see through
	tell   func(says, *record) // of writes, as they happen; nil but in a process that may be killed
}

// says is what is told of a write.
type says string

const (
	saysBegin says = "begin"
	saysEnd   says = "end"
	saysNot   says = "not" // it was never asked to commit
)

// nextValue is never zero, and never one that a table begins with.
var nextValue atomic.Int32

func newLinearHistory(w *world, r *rand.Rand, length int) *linearHistory {
	return &linearHistory{w: w, r: r, length: int64(length), begun: time.Now(), next: &nextValue, opaque: 30}
}

func (h *linearHistory) now() time.Duration { return time.Since(h.begun) }

func (h *linearHistory) run(t *testing.T) {
	t.Helper()
	w := h.w
	start := w.settle(t)
	h.before = *w.stats()
	h.faults = h.r.IntN(3) // none of them in a third of the histories
	w.proxy.lateAnswer.Store(int64(h.r.IntN(2)) * 100_000)
	if h.faults > 0 {
		// A lost connection fences everything off for a quarter of a second: with many of
		// them nothing is kept, with few the rest is proved.
		w.proxy.lostAnswer.Store([]int64{200, 200, 4_000}[h.r.IntN(3)])
		w.proxy.lateRequest.Store(15_000)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var clients, killer sync.WaitGroup
	over := make(chan struct{})
	for i := range 8 + h.r.IntN(25) {
		c := &client{h: h, id: i, r: rand.New(rand.NewPCG(h.r.Uint64(), uint64(i))), writer: i%6 == 0}
		clients.Go(func() { c.work(ctx) })
	}
	if h.faults == 2 {
		killer.Go(func() {
			tick := time.NewTicker(time.Duration(100+h.r.IntN(2)*600) * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-over:
					return
				case <-tick.C:
					_ = w.kill(ctx)
				}
			}
		})
	}
	clients.Wait()
	close(over)
	killer.Wait()
	w.proxy.lateAnswer.Store(0)
	w.proxy.lostAnswer.Store(0)
	w.proxy.lateRequest.Store(0)
	h.last(ctx)
	h.judge(t, start)
}

// last reads everything once more, when nobody writes, in every way.
func (h *linearHistory) last(ctx context.Context) {
	c := &client{h: h, id: 99, r: rand.New(rand.NewPCG(1, 1))}
	for range 2 {
		c.ask(ctx, h.w.plain, "plain", questions[len(questions)-1], 0)
		for _, q := range questions {
			for k := range keys {
				c.ask(ctx, h.w.db, "", q, k)
			}
		}
	}
	h.take(c)
}

func (h *linearHistory) judge(t *testing.T, start values) {
	t.Helper()
	for _, e := range h.errors {
		t.Error(e)
	}
	past := newHistory(start, h.records)
	switch past.check(time.Minute) {
	case porcupine.Illegal:
		t.Errorf("%s: not linearizable: %s\n%s", h.w.name, past.firstImpossible(), h.circumstances())
	case porcupine.Unknown:
		t.Errorf("%s: a history of %d operations took more than a minute to judge", h.w.name, len(h.records))
	case porcupine.Ok:
	}
}

// circumstances say whose mistake it may be: with neither a hit nor a shared result it is
// hardly the cache's.
func (h *linearHistory) circumstances() string {
	if h.w.of == nil { // it was played by other processes
		return ""
	}
	st := h.w.stats()
	return fmt.Sprintf("in this history: faults %d, %d operations, %d hits, %d shared, %d misses, invalidated %v",
		h.faults, len(h.records), st.Hits-h.before.Hits, st.Shared-h.before.Shared, st.Misses-h.before.Misses, st.Invalidations)
}

func (h *linearHistory) take(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, c.records...)
}

func (h *linearHistory) contradiction(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors = append(h.errors, fmt.Sprintf(format, args...))
}

// client is one goroutine of a history.
type client struct {
	h       *linearHistory
	id      int
	r       *rand.Rand
	writer  bool
	records []record
}

func (c *client) work(ctx context.Context) {
	defer c.h.take(c)
	for c.h.done.Add(1) < c.h.length && ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		writes := c.writer && c.r.IntN(3) > 0
		if impatient := c.r.IntN(60); impatient == 0 || writes && impatient < 5 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(c.r.IntN(5000))*time.Microsecond)
		}
		switch {
		case writes:
			c.write(ctx)
			sleep(3 * time.Millisecond)
		case c.r.IntN(20) == 0:
			c.ask(ctx, c.h.w.plain, "plain", questions[c.r.IntN(len(questions))], c.r.IntN(keys))
		default:
			c.ask(ctx, c.h.w.db, "", questions[c.r.IntN(len(questions))], c.r.IntN(keys))
		}
		cancel()
		if c.r.IntN(8) == 0 {
			sleep(time.Millisecond)
		}
	}
}

// ask records a read, if it succeeds.
func (c *client) ask(ctx context.Context, q querier, how string, what question, k int) {
	begin := c.h.now()
	got, err := readRegisters(ctx, q, what.text, what.arg(k)...)
	end := c.h.now()
	if err != nil {
		return
	}
	of := what.of(k)
	if len(got) != len(of) {
		c.h.contradiction("%s %s: %v", what.text, how, got)
		return
	}
	c.records = append(c.records, record{
		client: c.id, what: strings.TrimSpace(how + " " + what.text), reads: of, answer: got, begin: begin, end: end,
	})
}

// some returns registers, in an order in which nobody waits for each other, and new values.
func (c *client) some(most int) (list []assignment) {
	for _, r := range c.r.Perm(registers)[:1+c.r.IntN(most)] {
		list = append(list, assignment{r, c.h.next.Add(1)})
	}
	slices.SortFunc(list, func(a, b assignment) int { return a.register - b.register })
	return list
}

// write records a write. Only one that was never asked to commit has surely not happened.
func (c *client) write(ctx context.Context) {
	kinds := writeKinds
	if c.r.IntN(c.h.opaque) == 0 {
		kinds = opaqueKinds
	}
	kind := kinds[c.r.IntN(len(kinds))]
	if kind.puts && !c.h.w.puts {
		return
	}
	writes := c.some(kind.most)
	if len(writes) == 2 && tableOf(writes[0].register) == tableOf(writes[1].register) {
		writes = writes[:1] // one statement changes a row of a table once
	}
	if kind.puts {
		writes[0].register = 2*keys + c.r.IntN(keys)
	}
	r := record{client: c.id, what: kind.name, writes: writes, begin: c.h.now()}
	if c.h.tell != nil {
		c.h.tell(saysBegin, &r)
	}
	err := kind.do(ctx, c, writes)
	r.end, r.unknown = c.h.now(), err != nil
	says := saysEnd
	if errors.Is(err, errNotAsked) {
		says = saysNot
	} else {
		c.records = append(c.records, r)
	}
	if c.h.tell != nil {
		c.h.tell(says, &r)
	}
}

// transaction begins one and hands it over.
func (c *client) transaction(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := c.h.w.db.BeginTx(ctx, nil)
	if err != nil {
		return errNotAsked
	}
	defer tx.Rollback()
	return do(tx)
}

// taken are the counts that are not zero.
func taken(counts map[string]uint64) map[string]uint64 {
	counts = maps.Clone(counts)
	maps.DeleteFunc(counts, func(_ string, n uint64) bool { return n == 0 })
	return counts
}
