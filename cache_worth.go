package lifeguard

import (
	"sync"
	"sync/atomic"
	"time"
)

// worth says whether keeping the results of a text pays. A fill costs its statement more
// than the plain query would: rows are copied, handed from one goroutine to another, and
// stored. A hit saves a whole query. So one hit pays for several fills, and a text that has
// not even that, because its tables are written all the time or its arguments do not come
// again, is switched off for a while:
//
//	      windows in a row that do not pay        the time is over
//	on ─────────────────────────────────► off ─────────────────────► on trial
//	▲                                      ▲  for twice as long          │
//	│  it pays                             └─────────────────────────────┤ one window decides,
//	└────────────────────────────────────────────────────────────────────┘ as long as a quarter of the pause
//
// A window lasts for a number of fills and for some time, and half of what was before it
// counts with it. So when a commit has made many results of a useful text invalid at once,
// and all of them have to be filled again, nothing happens: either there are soon hits among
// the fills, or the earlier ones still count.
//
// Only fills judge. A hit reads until, and adds to a count that is there anyway.
type worth struct {
	until atomic.Int64 // off until then, on the limiter's clock; 0 if it never was

	mu    sync.Mutex // guards what follows; never held while blocking
	begun bool       // there is a window
	began time.Duration
	base  uint64  // hits of the text when the window began
	fills float64 // in the window, and half of those before
	hits  float64 // up to the window, halved alike
	count int     // fills in the window
	bad   int     // windows in a row that did not pay
	trial bool
	pause time.Duration // how long it was off the last time
}

// worthRule is what is asked of a text.
type worthRule struct {
	fills  int           // of a window
	window time.Duration // that it lasts at least
	bad    int           // windows that do not pay before the text is switched off
	trial  int           // fills of a window on trial
	first  time.Duration // off for so long at first
	most   time.Duration // and at most
}

//nolint:gochecknoglobals // a constant
var usualWorth = worthRule{fills: 128, window: 5 * time.Second, bad: 3, trial: 32, first: 10 * time.Second, most: 10 * time.Minute}

// fillsPerHit is for how many fills one hit pays. A fill costs about a tenth of a local
// query of one row, and less of any other.
const fillsPerHit = 8

// off reports whether the text is switched off.
func (w *worth) off(l *limiter) bool {
	until := w.until.Load()
	return until != 0 && int64(l.now()) < until
}

// filled is called for each fill, with the hits that the text has had. It reports whether
// the text was switched off by it.
func (w *worth) filled(rule *worthRule, now time.Duration, hits uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.begun, w.began, w.base = true, now, hits
	}
	w.count++
	w.fills++
	least, lasts := rule.fills, rule.window
	if w.trial {
		least, lasts = rule.trial, max(rule.window, w.pause/4)
	}
	if w.count < least || now-w.began < lasts {
		return false
	}
	pays := (w.hits+float64(hits-w.base))*fillsPerHit >= w.fills
	w.hits = (w.hits + float64(hits-w.base)) / 2
	w.fills /= 2
	w.count, w.began, w.base = 0, now, hits
	if pays {
		w.bad, w.trial, w.pause = 0, false, 0
		return false
	}
	w.bad++
	if w.bad < rule.bad && !w.trial {
		return false
	}
	w.pause = min(max(2*w.pause, rule.first), rule.most)
	w.begun, w.trial, w.hits, w.fills = false, true, 0, 0
	w.until.Store(int64(now + w.pause))
	return true
}

// filling counts a miss that is sent to the server for a result to keep.
func (q *queryCache) filling(t *cachedText) {
	q.counts.misses.Add(1)
	if t.worth.filled(&q.rule, q.core.limiter.now(), t.hits.sum()) {
		q.core.cfg.Logger.Debug("lifeguard: the hits of a statement do not pay for its fills; it is not cached for a while",
			"pool", q.core.cfg.Name, "summary", t.statement.Summary)
	}
}
