package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is a random load: shapes of statements and how often each comes.
type crowd struct {
	limit   int
	holds   []time.Duration // by shape
	shapes  []int           // one is drawn for each caller
	callers int
	gap     time.Duration // between two callers
}

func randomCrowd(rng *rand.Rand) crowd {
	c := crowd{limit: 1 + rng.IntN(10), callers: 50 + rng.IntN(300), gap: time.Duration(rng.IntN(3)) * time.Millisecond}
	for i := range 1 + rng.IntN(6) {
		hold := time.Duration(1+rng.IntN(20)) * time.Millisecond
		if rng.IntN(3) == 0 {
			hold *= 10
		}
		c.holds = append(c.holds, hold)
		for range 1 + rng.IntN(8)*rng.IntN(8) {
			c.shapes = append(c.shapes, i)
		}
	}

	return c
}

// fate is what became of one caller.
type fate struct {
	inTime   bool
	reviewed bool // refused for its deadline after it had waited
}

// fates lets the crowd of a seed come, and half of the slots go if shrink.
func fates(t *testing.T, seed uint64, review, shrink bool) []fate {
	t.Helper()
	var got []fate
	var mu sync.Mutex // guards got
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := randomCrowd(rng)
		l := testLimiter(t, limiterConfig{limit: c.limit})
		l.probing = !review // which also takes the gaps between grants out of the check on arrival
		got = make([]fate, c.callers)
		for i := range got {
			shape := c.shapes[rng.IntN(len(c.shapes))]
			r := request{fingerprint: uint64(shape + 1), class: Priority(rng.IntN(4) / 3)}
			if rng.IntN(4) == 0 {
				r.tenant = fmt.Sprint(rng.IntN(4))
			}
			deadline := time.Duration(20+rng.IntN(1500)) * time.Millisecond
			hold := c.holds[shape]/2 + time.Duration(rng.Int64N(int64(c.holds[shape])))
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				s, err := l.acquire(ctx, r)
				if err != nil {
					o, ok := errors.AsType[*OverloadError](err)
					mu.Lock()
					got[i].reviewed = ok && o.Waited > 0
					mu.Unlock()

					return
				}
				s.begin(SlotExecuting, "", r.fingerprint)
				sleep(hold)
				mu.Lock()
				got[i].inTime = ctx.Err() == nil
				mu.Unlock()
				l.release(s)
			}()
			synctest.Wait()
			sleep(c.gap)
		}
		if shrink {
			l.setLimit(max(c.limit/2, 1))
		}
		sleep(time.Minute)
		synctest.Wait()
		mu.Lock() // orders what follows after what they wrote
		defer mu.Unlock()
	})

	return got
}

// The same load with and without the review: whom the review refuses would hardly ever
// have been served in time, and, since nobody waits behind them, as many others are.
// Not never, since the first few hold times are not those of all shapes.
func TestWhomAReviewRefusesWouldHaveBeenLate(t *testing.T) {
	t.Parallel()
	for _, shrink := range []bool{false, true} {
		refused, wrong, with, without := 0, 0, 0, 0
		for seed := range uint64(40) {
			reviewed, left := fates(t, seed, true, shrink), fates(t, seed, false, shrink)
			for i, f := range reviewed {
				if f.inTime {
					with++
				}
				if left[i].inTime {
					without++
				}
				if f.reviewed {
					refused++
					if left[i].inTime {
						wrong++
					}
				}
			}
		}
		if refused < 200 || wrong > refused/50 || with < without*97/100 {
			t.Errorf("shrink %v: %d refused while waiting, %d of them wrongly; in time: %d, without review %d", shrink, refused, wrong, with, without)
		}
	}
}
