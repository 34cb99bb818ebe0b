package lifeguard

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// cachedText is one SQL text.
type cachedText struct {
	text      string
	statement *sqltext.Statement
	candidate catalog.Candidate
	option    CacheOption // of the hints
	gate      catalog.Reason
	sighted   atomic.Bool
	hits      striped
	worth     worth
	reported  atomic.Uint64             // of the hits: what the top queries know already
	rulings   atomic.Pointer[[]*ruling] // one per session; replaced, never changed
}

// textTable is the texts that are known, with what the server said about them: the memory
// that the cache takes beside lifeguard_cache_size, 8 MiB at most.
//
// It has two generations, as [sqltext.Cache] has and for the same reason: what is asked
// for stays, what is written once and never again leaves, and a look-up takes no lock.
type textTable struct {
	young, old atomic.Pointer[textGeneration]
	turn       sync.Mutex // held to swap generations; a reader never waits for it
	top        *topQueries
}

type textGeneration struct {
	number uint64
	texts  sync.Map // from string to *cachedText
	bytes  atomic.Int64
}

const (
	maxTextsBytes = 4 << 20  // of a generation, estimated
	maxTextBytes  = 32 << 10 // a longer text is not remembered
	textOverhead  = 900      // of a text, beside itself: its entry, its statement
	rulingBytes   = 500      // of a ruling, beside its lists
	maxRulings    = 16       // of one text
)

func newTextTable(top *topQueries) *textTable {
	t := &textTable{top: top}
	t.young.Store(new(textGeneration))
	t.old.Store(new(textGeneration))
	return t
}

// find returns a text if it is known.
func (t *textTable) find(query string) *cachedText {
	if known, ok := t.young.Load().texts.Load(query); ok {
		return known.(*cachedText) //nolint:errcheck,forcetypeassert // nothing else is in there
	}
	known, ok := t.old.Load().texts.Load(query)
	if !ok {
		return nil
	}
	return t.add(known.(*cachedText)) //nolint:errcheck,forcetypeassert // as above
}

// add makes a text known, and returns the one that is.
func (t *textTable) add(text *cachedText) *cachedText {
	size := text.bytes()
	g := t.young.Load()
	if g.bytes.Load()+size > maxTextsBytes {
		// Whoever does not get the lock leaves this text out rather than wait.
		if !t.turn.TryLock() {
			return text
		}
		if t.young.Load() == g {
			t.old.Load().report(t.top)
			t.old.Store(g)
			t.young.Store(&textGeneration{number: g.number + 1})
		}
		t.turn.Unlock()
		g = t.young.Load()
	}
	known, loaded := g.texts.LoadOrStore(text.text, text)
	if !loaded {
		g.bytes.Add(size)
	}
	return known.(*cachedText) //nolint:errcheck,forcetypeassert // nothing else is in there
}

// report tells the top queries of the hits since the last time.
func (t *textTable) report() {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.young.Load().report(t.top)
	t.old.Load().report(t.top)
}

func (g *textGeneration) report(top *topQueries) {
	for _, known := range g.texts.Range {
		t := known.(*cachedText) //nolint:errcheck,forcetypeassert // nothing else is in there
		now := t.hits.sum()
		if n := now - t.reported.Swap(now); n > 0 {
			top.hit(t.statement.Fingerprint, n)
		}
	}
}

// grown counts what was learnt about a text that is known already.
func (t *textTable) grown(by int64) { t.young.Load().bytes.Add(by) }

// bytes is about what both generations take.
func (t *textTable) bytes() int64 { return t.young.Load().bytes.Load() + t.old.Load().bytes.Load() }

// bytes is about what a text takes with its rulings.
func (t *cachedText) bytes() int64 {
	size := int64(len(t.text) + len(t.statement.Normalized) + textOverhead)
	if list := t.rulings.Load(); list != nil {
		for _, v := range *list {
			size += v.bytes()
		}
	}
	return size
}

func (v *ruling) bytes() int64 {
	return int64(rulingBytes + 12*len(v.analysis.Reads) + 4*len(v.analysis.Writes))
}

// find returns a text if it is known.
func (q *queryCache) find(query string) *cachedText { return q.texts.find(query) }

// text returns what is known about a text, which is then known.
func (q *queryCache) text(query string) *cachedText {
	if t := q.find(query); t != nil {
		return t
	}
	t := &cachedText{text: strings.Clone(query), statement: q.core.known.Analyze(query)}
	t.candidate, t.gate = catalog.Gate(t.text)
	if t.option, _ = readHints(t.text); t.option == NoCache && t.gate == "" {
		t.gate = bypassNoCache // so the server is never asked about it
	}
	if len(query) > maxTextBytes {
		return t
	}
	return q.texts.add(t)
}

// in returns what the server said about the text in this session.
func (t *cachedText) in(s *cacheSession) *ruling {
	list := t.rulings.Load()
	if list == nil {
		return nil
	}
	for _, v := range *list {
		if v.session == s {
			return v
		}
	}
	return nil
}

// add remembers a ruling, and forgets those of other generations.
func (t *cachedText) add(v *ruling) {
	for {
		old := t.rulings.Load()
		list := []*ruling{v}
		if old != nil {
			for _, o := range *old {
				if o.session != v.session && o.session.generation == v.session.generation && len(list) < maxRulings {
					list = append(list, o)
				}
			}
		}
		if t.rulings.CompareAndSwap(old, &list) {
			return
		}
	}
}
