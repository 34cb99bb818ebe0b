package sqltext

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// corpus returns the statements of testdata/*.sql, by file. Lines of "%%" divide
// them, since semicolons are part of what is tested.
func corpus(tb testing.TB) map[string][]string {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.sql")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no corpus: %v", err)
	}
	statements := make(map[string][]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		statements[file] = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n%%\n")
	}
	return statements
}

func TestTheCorpusReadsAsTheGoldenFilesSay(t *testing.T) {
	t.Parallel()
	for file, statements := range corpus(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			for _, sql := range statements {
				fmt.Fprintln(&b, describe(sql))
			}
			golden := strings.TrimSuffix(file, ".sql") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compareBlocks(t, b.String(), string(want))
		})
	}
}

func describe(sql string) string {
	st := Analyze(sql)
	head := []string{st.Kind.String(), "op=" + st.Kind.Op().String()}
	for _, f := range []struct {
		flag Flags
		name string
	}{
		{Locking, "locking"},
		{ModifyingCTE, "modifying-cte"},
		{SelectInto, "select-into"},
		{ExplainAnalyze, "explain-analyze"},
		{Malformed, "malformed"},
		{Truncated, "truncated"},
	} {
		if st.Flags.Has(f.flag) {
			head = append(head, f.name)
		}
	}
	if st.Statements > 1 {
		head = append(head, fmt.Sprintf("statements=%d", st.Statements))
	}
	return fmt.Sprintf("%s\n%s\n%s\n%s\n%016x\n",
		strings.ReplaceAll(sql, "\n", "\n\t"), strings.Join(head, " "), st.Summary, st.Normalized, st.Fingerprint)
}

func compareBlocks(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	if len(g) != len(w) {
		t.Errorf("%d blocks, the golden file has %d; run with -update and review", len(g), len(w))
	}
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("block %d\ngot\n%s\nwant\n%s", i+1, g[i], w[i])
		}
	}
}
