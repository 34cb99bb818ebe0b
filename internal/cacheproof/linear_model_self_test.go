package cacheproof

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// naive gives every record to the checker as it is, as its documentation has it.
func naive(start values, all []record) porcupine.CheckResult {
	m := porcupine.Model{
		Init: func() any { return start },
		Step: func(state, input, _ any) (bool, any) {
			s, r := state.(values), input.(*record) //nolint:errcheck // the model has no others
			if !r.sees(&s) {
				return false, s
			}
			for _, w := range r.writes {
				s[w.register] = w.value
			}
			return true, s
		},
	}
	var list []porcupine.Operation
	for i := range all {
		r := all[i]
		if r.unknown {
			r.end = time.Hour
		}
		list = append(list, porcupine.Operation{ClientId: i, Input: &r, Call: int64(r.begin), Return: int64(r.end)})
	}
	return porcupine.CheckOperationsTimeout(m, list, time.Minute)
}

// TestTheCheckerFindsWhatTheNaiveOneFinds holds the history's own reductions against a
// checker without them, on small histories that are right, and on ones that nearly are.
func TestTheCheckerFindsWhatTheNaiveOneFinds(t *testing.T) {
	t.Parallel()
	right, wrong := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := smallHistory(r)
		want := naive(values{}, all)
		h := newHistory(values{}, all)
		if got := h.check(time.Minute); got != want {
			t.Fatalf("seed %d: %v, but naively %v: %v", seed, got, want, all)
		}
		if want == porcupine.Ok {
			right++
		} else {
			wrong++
			_ = h.firstImpossible()
		}
	}
	t.Logf("%d right, %d wrong", right, wrong)
	if right < 300 || wrong < 300 {
		t.Errorf("%d right and %d wrong histories prove little", right, wrong)
	}
}

// smallHistory is one that really happened, whose times are widened by chance, with some
// answers of earlier times and lost answers.
func smallHistory(r *rand.Rand) (all []record) {
	var past []values
	state, now := values{}, time.Duration(10)
	for i := range 4 + r.IntN(8) {
		now += 10
		rec := record{client: i, begin: now - time.Duration(r.IntN(14)), end: now + time.Duration(r.IntN(14))}
		if r.IntN(2) == 0 {
			for _, at := range r.Perm(3)[:1+r.IntN(2)] {
				rec.writes = append(rec.writes, assignment{at, int32(i + 1)})
				if r.IntN(8) > 0 || !rec.unknown {
					state[at] = int32(i + 1)
				}
			}
			rec.unknown = r.IntN(4) == 0
		} else {
			from := state
			if len(past) > 0 && r.IntN(2) == 0 {
				from = past[len(past)-1-r.IntN(min(3, len(past)))]
			}
			for _, at := range r.Perm(3)[:1+r.IntN(2)] {
				rec.reads, rec.answer = append(rec.reads, at), append(rec.answer, from[at])
			}
		}
		past = append(past, state)
		all = append(all, rec)
	}
	return all
}
