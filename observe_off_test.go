package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// sendingBare, observeBare and executedBare are sending, observe and executed without a
// look at spans: what BenchmarkObserveSpansOff compares with. A test keeps them the same.

func (c *Conn) sendingBare(ctx context.Context, st *sqltext.Statement, do verb) (context.Context, event) {
	e := event{st: st, verb: do, slot: c.slot.index, wait: c.wait, cache: c.asked}
	if c.core.groups != nil {
		c.core.groups.noted(c.ph, st)
	}
	e.sent = c.slot.begin(SlotExecuting, st.Summary, st.Fingerprint)
	if c.admitted > 0 {
		e.open = e.sent - c.admitted
	}
	c.wait, c.admitted, c.asked = 0, 0, cacheAnswer{}
	return ctx, e
}

func (co *core) observeBare(ctx context.Context, e *event) {
	if e.err != nil {
		if errors.Is(e.err, driver.ErrBadConn) {
			return
		}
		co.metrics.failed(e.err, e.lost)
		if e.lost {
			co.journal.lost(ctx, e)
		}
	}
	if e.verb == verbExecute {
		co.metrics.executedBare(e)
		co.top.add(e.slot, e)
	}
	if slow := co.cfg.Slow; slow > 0 && e.wait+e.open+e.took >= slow {
		co.journal.slow(ctx, e)
	}
}

func (m *metrics) executedBare(e *event) {
	op, bucket := e.st.Kind.Op(), bucketOf(durationBounds, e.first)
	t := &m.counts[e.slot&(countShards-1)]
	t.queries[op][outcomeOf(e.err)].Add(1)
	if m.native != nil {
		m.native.observe(op, e, false)
		return
	}
	t.times[op].add(bucket, e.first)
}

// withoutSpans is what has to be taken out of each function, or put in its place, for its
// counterpart above: all that a statement pays for spans that are off.
var withoutSpans = []struct {
	file, function string
	replace        []string
}{
	{"conn_observe.go", "func (c *Conn) sending", []string{"\tif c.core.tracing != nil && do != verbPing {\n\t\tctx, e.span = c.core.tracing.start(ctx, e, c.ph)\n\t}\n", ""}},
	{"observe.go", "func (co *core) observe", []string{
		"\tif e.span != nil {\n\t\tco.tracing.end(e)\n\t}\n", "",
		"\t\tif co.tracing != nil {\n\t\t\tco.tracing.record(ctx, e)\n\t\t}\n", "",
		"co.metrics.executed(", "co.metrics.executedBare(",
	}},
	{"metrics.go", "func (m *metrics) executed", []string{
		"\texemplary := e.sampled() && m.wantsExemplar(op, bucket, e)\n", "",
		"observe(op, e, exemplary)", "observe(op, e, false)",
		"\tif exemplary {\n\t\tm.exemplars[op][bucket].Store(&prometheus.Exemplar{Value: e.first.Seconds(), Labels: e.exemplar(), Timestamp: time.Now()})\n\t}\n", "",
	}},
}

func TestWhatSpansOffAreComparedWithDiffersInNothingElse(t *testing.T) {
	t.Parallel()
	for _, f := range withoutSpans {
		want := functionText(t, f.file, f.function+"(")
		for i := 0; i < len(f.replace); i += 2 {
			if strings.Count(want, f.replace[i]) != 1 {
				t.Errorf("%s: %s has not once:\n%s", f.file, f.function, f.replace[i])
			}
			want = strings.Replace(want, f.replace[i], f.replace[i+1], 1)
		}
		want = strings.Replace(want, f.function+"(", f.function+"Bare(", 1)
		if have := functionText(t, "observe_off_test.go", f.function+"Bare("); have != want {
			t.Errorf("compared is\n%s\nand should be\n%s", have, want)
		}
	}
}

// functionText returns a function's source, from its first line to its last.
func functionText(t *testing.T, file, begin string) string {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut("\n"+string(source), "\n"+begin)
	text, _, ended := strings.Cut(rest, "\n}\n")
	if !found || !ended {
		t.Fatalf("%s has no %s", file, begin)
	}
	return begin + text + "\n}\n"
}

// unobserved returns a connection that holds a slot, and its core, with spans off.
func unobserved(t testing.TB) (*Conn, *core) {
	t.Helper()
	l := newLimiter(limiterConfig{limit: 8, queueTimeout: time.Minute})
	t.Cleanup(l.close)
	s, err := l.acquire(t.Context(), request{fingerprint: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.release(s) })
	cfg := Config{Name: "shop", MaxConns: 10, Slow: time.Minute, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Histograms: HistogramsClassic}
	m, err := registerMetrics(&cfg, func() Stats { return Stats{} })
	if err != nil {
		t.Fatal(err)
	}
	co := &core{cfg: cfg, limiter: l, metrics: m, journal: newJournal(&cfg, l.now)}
	if co.tracing, err = newTracing(&cfg, "shop"); err != nil || co.tracing != nil {
		t.Fatalf("spans are not off: %v, %v", co.tracing, err)
	}
	return &Conn{core: co, slot: s}, co
}

func TestObservingAStatementAllocatesNothing(t *testing.T) {
	c, co := unobserved(t)
	ctx, st := t.Context(), numbered(1)
	n := testing.AllocsPerRun(1000, func() {
		ctx, e := c.sending(ctx, st, verbExecute)
		e.first, e.took = time.Millisecond, time.Millisecond
		co.observe(ctx, &e)
	})
	if n != 0 {
		t.Errorf("%v allocations for each statement", n)
	}
}

// BenchmarkObserveSpansOff is what spans that are off cost a statement: the sending and the
// observing of one as they are, and without the five comparisons that look for spans, in
// turns of a thousand. A turn can only be too slow, never too quick, so the least of each is
// taken; ns/off is the difference. Its last digit is where the code happens to lie in memory.
func BenchmarkObserveSpansOff(b *testing.B) {
	c, co := unobserved(b)
	ctx, st := b.Context(), numbered(1)
	const turn = 1000
	asIs := func() {
		for range turn {
			ctx, e := c.sending(ctx, st, verbExecute)
			e.first, e.took = time.Millisecond, time.Millisecond
			co.observe(ctx, &e)
		}
	}
	bare := func() {
		for range turn {
			ctx, e := c.sendingBare(ctx, st, verbExecute)
			e.first, e.took = time.Millisecond, time.Millisecond
			co.observeBare(ctx, &e)
		}
	}
	least := [2]time.Duration{math.MaxInt64, math.MaxInt64}
	b.ReportAllocs()
	for b.Loop() {
		for i, run := range []func(){asIs, bare} {
			began := time.Now()
			run()
			least[i] = min(least[i], time.Since(began))
		}
	}
	b.ReportMetric(0, "ns/op") // of two thousand
	b.ReportMetric(float64(least[0])/turn, "ns/statement")
	b.ReportMetric(float64(least[0]-least[1])/turn, "ns/off")
}
