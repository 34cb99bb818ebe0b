package cacheproof

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model is a few registers. A write puts values into some of them at once, a read
// returns some of them at once: transactions and joins in their simplest form. Each value
// is written once, so a read tells whose write it has seen.
const (
	tables    = 3
	keys      = 3
	registers = tables * keys
)

type values [registers]int32

// assignment is a register and what is, or was, in it.
type assignment struct {
	register int
	value    int32
}

// record is one write, or one read, and when it was under way.
type record struct {
	client     int
	what       string // for who has to find out
	writes     []assignment
	reads      []int // registers
	answer     []int32
	begin, end time.Duration
	unknown    bool // a write without an answer: it may have happened at any time, or not at all
}

func (r *record) String() string {
	text := fmt.Sprintf("%v–%v  client %d  %s", r.begin, r.end, r.client, r.what)
	for _, w := range r.writes {
		text += fmt.Sprintf("  %d:=%d", w.register, w.value)
	}
	for i, register := range r.reads {
		text += fmt.Sprintf("  %d→%d", register, r.answer[i])
	}
	return text
}

// history is the reads and the writes of a run, each in the order in which they began.
//
// The checker searches for an order of the writes only. Among orders that explain the
// reads there is always one in which each read comes as early as it may, for a read changes
// nothing. So the reads are no operations of the checker but part of its state, which says
// which of them are explained. Otherwise it would try all orders of dozens of reads that are
// under way at once.
type history struct {
	start         values
	writes, reads []record
}

// newHistory leaves out the writes without an answer of which nobody has seen a value: they
// may as well not have happened. One that was seen happened before the first who saw it
// returned; and so did any other write.
func newHistory(start values, all []record) *history {
	h := &history{start: start}
	seen := make(map[int32]time.Duration) // when the first reader of a value returned
	for _, r := range all {
		for _, v := range r.answer {
			if at, ok := seen[v]; !ok || r.end < at {
				seen[v] = r.end
			}
		}
	}
	for _, r := range all {
		if len(r.writes) == 0 {
			h.reads = append(h.reads, r)
			continue
		}
		happened := !r.unknown
		for _, w := range r.writes {
			if at, ok := seen[w.value]; ok && (!happened || at < r.end) {
				happened, r.end = true, max(at, r.begin)
			}
		}
		if happened {
			h.writes = append(h.writes, r)
		}
	}
	inOrder := func(a, b record) int { return cmp.Compare(a.begin, b.begin) }
	slices.SortStableFunc(h.writes, inOrder)
	slices.SortStableFunc(h.reads, inOrder)
	return h
}

// point is a state of the model: after some of the writes, with some of the reads explained.
type point struct {
	values        values
	writes, reads bits
}

type bits []uint64

func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bits) with(i int) bits {
	b = slices.Clone(b)
	b[i/64] |= 1 << (i % 64)
	return b
}

func (b bits) first() int {
	for i, word := range b {
		if word != math.MaxUint64 {
			for j := range 64 {
				if word&(1<<j) == 0 {
					return 64*i + j
				}
			}
		}
	}
	return 64 * len(b)
}

// model has the indices of writes as inputs; the one behind the last is the end.
func (h *history) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any {
			return h.explain(point{h.start, make(bits, len(h.writes)/64+1), make(bits, len(h.reads)/64+1)})
		},
		Step: func(state, input, _ any) (bool, any) {
			p, n := state.(point), input.(int) //nolint:errcheck // there are no others
			if n == len(h.writes) {
				return p.reads.first() >= len(h.reads), p
			}
			w := &h.writes[n]
			for i := p.reads.first(); i < len(h.reads) && h.reads[i].begin < w.begin; i++ {
				if h.reads[i].end < w.begin && !p.reads.has(i) {
					return false, p // it was over when the write began, and should have seen something else
				}
			}
			p.writes = p.writes.with(n)
			for _, a := range w.writes {
				p.values[a.register] = a.value
			}
			return true, h.explain(p)
		},
		Equal: func(a, b any) bool {
			p, q := a.(point), b.(point) //nolint:errcheck // as above
			return p.values == q.values && slices.Equal(p.writes, q.writes) && slices.Equal(p.reads, q.reads)
		},
	}
}

// explain marks the reads that return what there is now, if all that was over when they
// began is done.
func (h *history) explain(p point) point {
	p.reads = slices.Clone(p.reads)
	for again := true; again; {
		again = false
		limit := h.unfinished(p)
		for i := p.reads.first(); i < len(h.reads) && h.reads[i].begin <= limit; i++ {
			if !p.reads.has(i) && h.reads[i].sees(&p.values) {
				p.reads[i/64] |= 1 << (i % 64)
				again = true
			}
		}
	}
	return p
}

// unfinished returns when the first of what is not done was over: nothing that began later
// may come before it.
func (h *history) unfinished(p point) time.Duration {
	limit := time.Duration(math.MaxInt64)
	for _, of := range []struct {
		list []record
		done bits
	}{{h.writes, p.writes}, {h.reads, p.reads}} {
		for i := of.done.first(); i < len(of.list) && of.list[i].begin <= limit; i++ {
			if !of.done.has(i) {
				limit = min(limit, of.list[i].end)
			}
		}
	}
	return limit
}

func (r *record) sees(v *values) bool {
	for i, register := range r.reads {
		if v[register] != r.answer[i] {
			return false
		}
	}
	return true
}

// check asks whether the history could come from one database that everybody talked to, one
// at a time.
func (h *history) check(limit time.Duration) porcupine.CheckResult {
	last := time.Duration(0)
	list := make([]porcupine.Operation, 0, len(h.writes)+1)
	for i := range h.writes {
		w := &h.writes[i]
		list = append(list, porcupine.Operation{ClientId: i, Input: i, Call: int64(w.begin), Return: int64(w.end)})
		last = max(last, w.end)
	}
	end := int64(last) + 1
	list = append(list, porcupine.Operation{ClientId: len(h.writes), Input: len(h.writes), Call: end, Return: end + 1})
	return porcupine.CheckOperationsTimeout(h.model(), list, limit)
}

// until is the history as it was known at a time: reads that were over, writes that had begun.
func (h *history) until(at time.Duration) *history {
	u := &history{start: h.start}
	for _, w := range h.writes {
		if w.begin <= at {
			if w.end > at {
				w.end = h.over()
			}
			u.writes = append(u.writes, w)
		}
	}
	for _, r := range h.reads {
		if r.end <= at {
			u.reads = append(u.reads, r)
		}
	}
	return u
}

func (h *history) over() (last time.Duration) {
	for i := range h.writes {
		last = max(last, h.writes[i].end)
	}
	for i := range h.reads {
		last = max(last, h.reads[i].end)
	}
	return last
}

// firstImpossible finds the first read that cannot be explained, and describes it with what
// had to do with the same registers.
func (h *history) firstImpossible() string {
	byEnd := slices.Clone(h.reads)
	slices.SortStableFunc(byEnd, func(a, b record) int { return cmp.Compare(a.end, b.end) })
	low, high := -1, len(byEnd)-1 // with the reads to low all is well, to high not
	for high-low > 1 {
		middle := (low + high) / 2
		if h.until(byEnd[middle].end).check(10*time.Second) == porcupine.Illegal {
			high = middle
		} else {
			low = middle
		}
	}
	if high < 0 {
		return "the writes alone"
	}
	bad := &byEnd[high]
	var near []string
	for _, r := range slices.SortedFunc(slices.Values(slices.Concat(h.writes, byEnd[:high])), func(a, b record) int { return cmp.Compare(a.end, b.end) }) {
		if r.begin <= bad.end && r.touches(bad.reads) {
			near = append(near, r.String())
		}
	}
	return fmt.Sprintf("cannot be explained:\n  %v\nof the same registers, before:\n  %s", bad, strings.Join(near[max(0, len(near)-25):], "\n  "))
}

func (r *record) touches(list []int) bool {
	for _, w := range r.writes {
		if slices.Contains(list, w.register) {
			return true
		}
	}
	return slices.ContainsFunc(r.reads, func(i int) bool { return slices.Contains(list, i) })
}
