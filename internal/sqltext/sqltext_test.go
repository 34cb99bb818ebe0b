package sqltext

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTextsThatDifferOnlyInTheirDataShareAFingerprint(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{
			"SELECT * FROM t WHERE id = 1", "select * from T where ID=$1", "SELECT * FROM t WHERE id = -1.5e3;",
			"SELECT * FROM t WHERE id = 'x' -- c", "SELECT * FROM t WHERE id = $a$x$a$", "SELECT * FROM t WHERE id = - - 1",
			"SELECT * FROM t WHERE id = ?", "/* c */ SELECT * FROM t WHERE id = E'\\''", "SELECT * FROM t WHERE id = U&'x'",
		},
		{"SELECT 1 WHERE a IN (1)", "SELECT 1 WHERE a IN (1, 2)", "SELECT 1 WHERE a IN ($1,$2,$3)", "SELECT 1 WHERE a IN (NULL, -1)"},
		{
			"INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t(a,b) VALUES ($1,$2),($3,$4)",
			"INSERT INTO t (a, b) VALUES (NULL, 'x'), (DEFAULT, TRUE), (3, 4)",
		},
		{"SELECT a[1], ARRAY[1, 2]", "SELECT a[2], ARRAY['x']"},
		{"SELECT 1 WHERE (a, b) IN ((1, 2))", "SELECT 1 WHERE (a, b) IN ((1, 2), (3, 4))"},
		{"VALUES (1::int, now())", "VALUES (1::int, now()), (2::int, now())"},
	} {
		for _, sql := range same[1:] {
			if a, b := Analyze(same[0]), Analyze(sql); a.Fingerprint != b.Fingerprint {
				t.Errorf("%q: %q\n%q: %q", same[0], a.Normalized, sql, b.Normalized)
			}
		}
	}
}

func TestTextsThatMeanSomethingElseHaveOtherFingerprints(t *testing.T) {
	t.Parallel()
	seen := make(map[uint64]string)
	for _, sql := range []string{
		`SELECT a FROM t`, `SELECT "A" FROM t`, `SELECT a FROM u`, `SELECT a FROM t LIMIT 1`, `SELECT a, a FROM t`,
		`SELECT f(1)`, `SELECT f(1, 2)`, `SELECT 1::int`, `SELECT 1::text`, `SELECT a - 1`, `SELECT a + 1`, `SELECT -a`,
		`SELECT a->1`, `SELECT a->>1`, `SELECT a IS NULL`, `SELECT a IS NOT NULL`, `SELECT a IS TRUE`,
		`INSERT INTO t (a) VALUES (1)`, `INSERT INTO t (a, b) VALUES (1, 2)`, `SELECT 1; SELECT 1`, `SELECT 1`,
	} {
		st := Analyze(sql)
		if other, ok := seen[st.Fingerprint]; ok {
			t.Errorf("%q and %q are both %q", sql, other, st.Normalized)
		}
		seen[st.Fingerprint] = sql
	}
}

// The value is written down, because dashboards and logs of different versions
// are compared by it.
func TestTheFingerprintIsFNV1aOfTheNormalForm(t *testing.T) {
	t.Parallel()
	if got := fingerprint([]byte("foobar")); got != 0x85944171f73967e8 { // from the FNV authors' test vectors
		t.Errorf("fingerprint(foobar) = %#x", got)
	}
}

func TestEveryKindHasANameAndAnOp(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for k := range kinds + 1 {
		names[k.String()] = true
		if k.Op() >= Ops {
			t.Errorf("%v has op %d", k, k.Op())
		}
	}
	if len(names) != int(kinds)+1 || Lock.String() != "lock" || kinds.String() != "unknown" {
		t.Errorf("%d names for %d kinds: %v", len(names), kinds, names)
	}
	ops := make(map[string]bool)
	for op := range Ops {
		ops[op.String()] = true
	}
	if len(ops) != int(Ops) {
		t.Errorf("ops: %v", ops)
	}
}

func TestEveryKeywordIsFoundInAnyCase(t *testing.T) {
	t.Parallel()
	for _, w := range []string{"materialized", "concurrently", "as", "with", "abort", "window", "analyse", "in", "or"} {
		if a, b := lookupWord(w), lookupWord(strings.ToUpper(w)); a == noWord || a != b {
			t.Errorf("%s: %d and %d", w, a, b)
		}
	}
	for _, w := range []string{"", "a", "xyz", "materializedx", "ſelect", "\x00"} {
		if got := lookupWord(w); got != noWord {
			t.Errorf("%q is keyword %d", w, got)
		}
	}
}

func TestASummaryIsCutAtAWord(t *testing.T) {
	t.Parallel()
	tables := make([]string, 100)
	for i := range tables {
		tables[i] = fmt.Sprintf("table_%03d", i)
	}
	got := Analyze("SELECT * FROM " + strings.Join(tables, ", ")).Summary
	if len(got) > maxSummary || len(got) < maxSummary-20 || !strings.HasPrefix("SELECT "+strings.Join(tables, " ")+" ", got+" ") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	long := Analyze(`SELECT * FROM "` + strings.Repeat("ü", 200) + `", t`).Summary
	if long != "SELECT" {
		t.Errorf("a name that does not fit: %q", long)
	}
}

func TestALongNormalFormIsCutAndItsOwnNormalForm(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{"a + ", "f(1), ", "(a, (b, ", "VALUES (a", "x.y::int - -1 ", "'a' b;", "$1,", "a\xff"} {
		sql := "SELECT " + strings.Repeat(piece, 20000)
		if err := checkStatement(sql); err != nil {
			t.Errorf("%q: %v", piece, err)
		}
	}
	st := Analyze("SELECT " + strings.Repeat("a + ", 20000) + "1 FROM t")
	if !st.Flags.Has(Truncated) || !strings.HasSuffix(st.Normalized, " "+ellipsis) || st.Summary != "SELECT t" {
		t.Errorf("%v %q …%q", st.Flags, st.Summary, st.Normalized[len(st.Normalized)-20:])
	}
}

func TestABatchOfAnySizeHasOneFingerprint(t *testing.T) {
	t.Parallel()
	want := Analyze(batchText(1))
	for _, rows := range []int{2, 100, 5000} {
		if got := Analyze(batchText(rows)); got.Normalized != want.Normalized {
			t.Errorf("%d rows: %.200s", rows, got.Normalized)
		}
	}
}

// hostile returns texts of about n bytes on which a careless reader would be
// quadratic, or recurse.
func hostile(n int) []string {
	var texts []string
	for _, piece := range []string{
		"(", ")", "[", "((a),", "+", "-+", "=+", "+/", "'", "' '\n", `"`, "$", "$a", "$a$", "$$ $a$ ", "/*", "/**/", "--\n", "*/",
		"\x00", "\xff", "\\", "a.", ".", "..", ";", "a;", ",", "(1),", "VALUES(1),", "VALUES ", "WITH a AS (", "WITH ", "a,",
		"SELECT * FROM a,", "1e", "0x", "1_", "E'\\", "U&", "CASE ", "f(-", "- ", "?", "((1,2),", "x AS (SELECT * FROM ",
	} {
		texts = append(texts, strings.Repeat(piece, n/len(piece)+1), "SELECT "+strings.Repeat(piece, n/len(piece)+1)+" 1")
	}
	var b strings.Builder
	for b.WriteString("WITH a AS (SELECT 1)"); b.Len() < n; {
		fmt.Fprintf(&b, ", c%06d AS (SELECT * FROM c%06d)", b.Len(), b.Len())
	}
	return append(texts, b.String()+" SELECT 1")
}

// A quadratic step would take half a minute for these. The limit leaves room for the
// race detector on a busy machine, and the better of two looks counts.
func TestHostileTextsTakeLinearTime(t *testing.T) {
	t.Parallel()
	for _, sql := range hostile(1 << 18) {
		var took time.Duration
		for range 2 {
			start := time.Now()
			Analyze(sql)
			if took = time.Since(start); took <= 5*time.Second {
				break
			}
		}
		if took > 5*time.Second {
			t.Errorf("%.20q… of %d bytes took %v", sql, len(sql), took)
		}
	}
}
