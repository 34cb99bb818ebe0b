package cacheproof

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A mutant is the product with a mistake in it, which one of the proofs has to find. The
// sources stay as they are: the compiler is told to read others instead.
type mutant struct {
	name    string
	proof   proof
	env     []string
	patches []patch
}

type patch struct{ file, before, after string }

// proof is a test that has to fail, and what it then says.
type proof struct{ dir, test, says string }

var (
	linear   = proof{".", "TestWhatReadersSeeIsLinearizable", "not linearizable"}
	sessions = proof{"../..", "TestAHistoryIsTheSameWithAndWithoutTheCache$/^one_session$/.*", "cached "} // settings that outlive a checkout
	shared   = proof{"../..", "TestProcessesThatShareSeeOneDatabase|TestAWriterWithoutRedisKeepsTheOthersFromServing", "register "}
	bypasses = proof{"../..", "TestAWriterWithoutRedisKeepsTheOthersFromServing", "the others bypass"}
	restarts = proof{"../../cache/rediscache", "TestWhatARestartBringsBackIsForgotten", "what was there before is served"}
	counts   = proof{"../../cache/rediscache", "TestTooManyCountsAreForgottenAllAtOnce", "stands again"}
	rowwise  = proof{"../..", "TestRowsAreTheSameWithAndWithoutTheCache", "cache_rows_test.go"}
	rowTexts = proof{"../..", "TestWhichTextsAreAboutOneRow", "one row: true"}
	forgets  = proof{"../catalog", "TestACatalogServesManySessionsAndForgets", "generation 1 after 1"}
	lockstep = proof{"../..", "TestAProgramDoesTheSameWithAndWithoutTheCache", "a program of"}
)

// longer is for mistakes that only show when two goroutines meet.
var longer = []string{"LIFEGUARD_PROOF_OPS=400000", "LIFEGUARD_PROOF_WORLD=checkout"}

// steps is for mistakes that need a setting and a result that depends on it.
var steps = []string{"LIFEGUARD_TEST_HISTORY=4000"}

// more is for mistakes that need the right statements in the right order.
var more = []string{"LIFEGUARD_PROOF_PROGRAMS=150"}

var mutants = []mutant{
	{"versions captured after the query", linear, longer, []patch{{
		"cache_fill.go", "\t\tr.q.keep(key, k,",
		"\t\tif s, ok := r.ruling.capture(r.args); ok {\n\t\t\tr.snapshot = s\n\t\t}\n\t\tr.q.keep(key, k,",
	}}},
	{"a fence lowered before the bump", linear, longer, []patch{
		// The pause stands for a goroutine that is not scheduled.
		{"cache/ledger.go", "\tf.once()\n\tfor _, r := range f.behind {\n\t\tr.version", "\tf.once()\n\tf.lower()\n\ttime.Sleep(time.Millisecond)\n\tfor _, r := range f.behind {\n\t\tr.version"},
		{"cache/ledger.go", "\t\tf.ledger.onBump()\n\t}\n\tf.lower()\n}", "\t\tf.ledger.onBump()\n\t}\n}"},
		{"cache/ledger.go", "\t\"sync/atomic\"\n", "\t\"sync/atomic\"\n\t\"time\"\n"},
	}},
	{"a flight whose name has no versions", linear, longer, []patch{{
		"cache/flight.go", "\tname := s.name(key)\n", "\tname := key\n",
	}}},
	{"a fence raised when COMMIT has been sent", linear, longer, []patch{
		{"cache_tx.go", "\treturn w, w.raise(ctx, &tx.writes)\n", "\tw.late = func() { _ = w.raise(ctx, &tx.writes) }\n\treturn w, nil\n"},
		{"cache_write.go", "type writing struct {\n", "type writing struct {\n\tlate func()\n"},
		{"cache_write.go", "\tw.over = true\n\tph := w.ph\n", "\tw.over = true\n\tif w.late != nil {\n\t\tw.late()\n\t}\n\tph := w.ph\n"},
	}},
	{"an unknown outcome taken for a rollback", linear, longer, []patch{{
		"cache_write.go", "\t\tw.q.unsettled.add(ph, w.fence, w.schema != ruledOut)\n\t\treturn\n", "\t\tw.fence.Lower()\n\t\treturn\n",
	}}},
	{"an unknown outcome taken for a commit that is over", linear, longer, []patch{{
		"cache_write.go", "\t\tw.q.unsettled.add(ph, w.fence, w.schema != ruledOut)\n\t\treturn\n", "\t\tw.fence.Bump()\n\t\treturn\n",
	}}},
	{"no fences", linear, longer, []patch{{
		"cache/ledger.go", "func (d *dependencies) fenced() bool {\n", "func (d *dependencies) fenced() bool {\n\tif d.ledger != nil {\n\t\treturn false\n\t}\n",
	}}},
	{"no bumps", linear, longer, []patch{{"cache/ledger.go", "\t\tr.version.Add(1)\n", "\t\t_ = r\n"}}},
	{"triggers ignored", linear, longer, []patch{{
		"cache_effects.go", "\t\tdoes.saidOf(&v.analysis, text)\n",
		"\t\tsaid := v.analysis\n\t\tsaid.Everything = said.Everything && len(said.Writes) == 0\n\t\tdoes.saidOf(&said, text)\n",
	}}},
	{"COMMIT without a fence", lockstep, more, []patch{{"cache_tx.go", "\tif tx.writes.None() && tx.schema == ruledOut {\n", "\tif true {\n"}}},
	{"SET not noticed", sessions, steps, []patch{{"cache_write.go", "\tif does.settings.Change() {\n", "\tif does.settings.Change() && q == nil {\n"}}},
	{"search_path not in the key", sessions, steps, []patch{{
		"internal/catalog/session.go", "\tkey, err := json.Marshal(state)", "\tstate.Schemas = nil\n\tdelete(state.Settings, \"search_path\")\n\tkey, err := json.Marshal(state)",
	}}},
	{"TimeZone not in the key", sessions, steps, []patch{{
		"internal/catalog/session.go", "\tkey, err := json.Marshal(state)", "\tdelete(state.Settings, \"TimeZone\")\n\tkey, err := json.Marshal(state)",
	}}},
	{"a write that the other processes do not hear of", shared, nil, []patch{{
		"cache_fence.go", "\tif s == nil || f.local == nil && !what.schema {\n", "\tif s == nil || f.local != nil {\n",
	}}},
	{"an announcement that is taken back after COMMIT", shared, nil, []patch{{
		"cache_fence.go", "\tf.shared.settle(true)\n", "\tf.shared.settle(false)\n",
	}}},
	{"Redis asked for the proof after the query", shared, nil, []patch{{
		"cache_fill.go", "\t\tr.q.keep(key, k,",
		"\t\ttime.Sleep(3 * time.Millisecond)\n\t\tif a, err := r.ruling.shared.space.Look(r.ruling.shared.ctx, r.shared.question); err == nil && a.Proof != \"\" {\n\t\t\tr.shared.answer = a\n\t\t}\n\t\tr.q.keep(key, k,",
	}, {"cache_fill.go", "\t\"sync/atomic\"\n", "\t\"sync/atomic\"\n\t\"time\"\n"}}},
	{"a writer without Redis that tells nobody", bypasses, nil, []patch{
		{"cache_redis_keep.go", "\tif err := k.lock(ctx, lockOut); err != nil {\n", "\tif err := k.lock(ctx, k.lockOf(k.server)); err != nil {\n"},
		{"cache_redis_keep.go", "\treturn k.letGoBut(ctx, lockOut)\n", "\treturn nil\n"},
	}},
	{"a Redis that has restarted taken for the one before", restarts, nil, []patch{{
		"cache/rediscache/scripts.go", "  local whole = h[1] == run and size == n\n", "  local whole = size == n\n",
	}}},
	{"a process of Redis that never learns who it is", restarts, nil, []patch{{
		"cache/rediscache/scripts.go", "  if not run then run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end\n", "  if not run then run = redis.call('HGET', S, 'home') or 'somebody' end\n",
	}}},
	{"counts that begin anew in an old era", counts, nil, []patch{{
		"cache/rediscache/scripts.go", "  era = ARGV[1]\n  redis.call('HSET', S, 'era', era)\n  local counts", "  local counts",
	}}},
	{"no closure over foreign keys", lockstep, more, []patch{{
		"internal/catalog/load.go", "'delete', k.confdeltype IN ('c', 'n', 'd'), 'update', k.confupdtype IN ('c', 'n', 'd')", "'delete', false, 'update', false",
	}}},
	{"a row's write that nobody meets who reads the table", rowwise, nil, []patch{{
		"cache/rows.go", "\tknown.any.fences.Add(1)\n\tstripe.fences.Add(1)\n\treturn &known.any, stripe\n",
		"\tstripe.fences.Add(2)\n\treturn stripe, stripe\n",
	}}},
	{"a row's reader who does not meet writes of the table", rowwise, nil, []patch{{
		"cache/rows.go", "states: []*state{&r.table}", "states: nil",
	}}},
	{"a key that is set taken for the row's", rowTexts, nil, []patch{{
		"internal/catalog/row.go", "\tif slices.Contains(r.sets, column) {\n", "\tif slices.Contains(r.sets, column) && column == \"\" {\n",
	}}},
	{"OR taken for AND's brackets", rowwise, nil, []patch{{
		"internal/catalog/row.go", "case t.word(\"or\"), t.word", "case t.word",
	}}},
	{"the writes of rows in a transaction lost", rowwise, nil, []patch{{
		"cache_tx.go", "\tdoes.addTo(&tx.writes)\n", "\ttx.writes.Add(does.relations...)\n",
	}}},
	{"a foreign key to the own table ignored", rowTexts, nil, []patch{{
		"internal/catalog/row_facts.go", "slices.ContainsFunc(r.Keys, r.isAffected)", "slices.ContainsFunc(r.Keys, func(key) bool { return false })",
	}}},
	{"the catalog never forgotten", forgets, nil, []patch{{
		"internal/catalog/catalog.go", "func (c *Catalog) Forget() { c.generations.Load().Next() }", "func (c *Catalog) Forget() {}",
	}}},
}

// TestEachMistakeIsFound builds the product with each mistake and runs a proof on it. It
// takes many minutes, so it runs only if LIFEGUARD_PROOF_MUTANTS says so: "all", or a part
// of a name.
func TestEachMistakeIsFound(t *testing.T) {
	which := os.Getenv("LIFEGUARD_PROOF_MUTANTS")
	if which == "" {
		t.Skip("LIFEGUARD_PROOF_MUTANTS is not set")
	}
	green := make(map[string]bool) // proofs, as they are run
	for _, m := range mutants {
		if which != "all" && !strings.Contains(m.name, which) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			if as := m.proof.test + strings.Join(m.env, " "); !green[as] {
				m.passes(t)
				green[as] = true
			}
			m.isFound(t)
		})
	}
}

// TestEachMistakeFitsTheSources says at once if a change of the sources has left a mutant
// without its mistake.
func TestEachMistakeFitsTheSources(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.sources(t, t.TempDir()) })
	}
}

func (m *mutant) isFound(t *testing.T) {
	t.Helper()
	took, out, err := m.run(t, m.sources(t, t.TempDir()))
	if err == nil {
		t.Fatalf("nobody has noticed in %v:\n%s", took, last(out, 1000))
	}
	at := strings.Index(string(out), m.proof.says)
	if at < 0 {
		t.Fatalf("it fails, but not because of that:\n%s", last(out, 3000))
	}
	t.Logf("found in %v: %.400s", took, out[at:])
}

// passes fails the test if the mutant's proof is red for the sources as they are: then it
// would find nothing.
func (m *mutant) passes(t *testing.T) {
	t.Helper()
	took, out, err := m.run(t, nil)
	if err != nil {
		t.Fatalf("%s is red without any mistake, after %v: %v\n%s", m.proof.test, took, err, last(out, 3000))
	}
	t.Logf("%s is green in %v without a mistake", m.proof.test, took)
}

// run builds the proof with other sources in place of those that are named, and runs it.
func (m *mutant) run(t *testing.T, sources map[string]string) (took time.Duration, out []byte, err error) {
	t.Helper()
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": sources})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	binary := filepath.Join(dir, "proof.test")
	build := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-c", "-o", binary, ".")
	build.Dir = m.proof.dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("does not build: %v\n%s", err, out)
	}
	run := exec.CommandContext(ctx, binary, "-test.run", "^"+m.proof.test+"$", "-test.v", "-test.failfast", "-test.timeout", "7m")
	run.Dir, run.Env = m.proof.dir, append(os.Environ(), m.env...)
	begun := time.Now()
	out, err = run.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("--- PASS: "+m.proof.test)) {
		t.Fatalf("%s was not run:\n%s", m.proof.test, last(out, 1000))
	}
	return time.Since(begun).Round(time.Second), out, err
}

func last(out []byte, n int) []byte { return out[max(0, len(out)-n):] }

// sources writes the changed files and returns what they stand for.
func (m *mutant) sources(t *testing.T, dir string) map[string]string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	replace := make(map[string]string)
	for _, p := range m.patches {
		original := filepath.Join(root, p.file)
		changed, ok := replace[original]
		if !ok {
			changed = filepath.Join(dir, strings.ReplaceAll(p.file, "/", "_"))
		}
		from := original
		if ok {
			from = changed
		}
		source, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), p.before) {
			t.Fatalf("%s has changed: there is no %q to replace", p.file, p.before)
		}
		if err := os.WriteFile(changed, []byte(strings.ReplaceAll(string(source), p.before, p.after)), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[original] = changed
	}
	if len(replace) == 0 {
		t.Fatal("the mutant has no mistake")
	}
	return replace
}
