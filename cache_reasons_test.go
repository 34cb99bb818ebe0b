package lifeguard

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The page has a row for each reason, and each reason a sentence.
func TestThePageOnTheCacheListsEveryReason(t *testing.T) {
	const page, begin, end = "docs/cache.md", "<!-- reasons:begin -->", "<!-- reasons:end -->"
	var want strings.Builder
	want.WriteString("\n\n| reason | why |\n|---|---|\n")
	for _, reason := range bypassReasons {
		sentence := sentences[reason]
		if sentence == "" {
			t.Errorf("%s has no sentence in cache_reasons.go", reason)
		}
		fmt.Fprintf(&want, "| `%s` | %s |\n", reason, sentence)
	}
	want.WriteString("\n")
	if len(sentences) != len(bypassReasons) {
		t.Errorf("there are %d sentences for %d reasons", len(sentences), len(bypassReasons))
	}

	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	have, after, foundEnd := strings.Cut(rest, end)
	switch {
	case !found || !foundEnd:
		t.Fatalf("%s has no %s … %s", page, begin, end)
	case have == want.String():
	case flag.Lookup("update").Value.String() == "true": // of the external tests
		if err := os.WriteFile(page, []byte(before+begin+want.String()+end+after), 0o644); err != nil { //nolint:gosec // a page
			t.Fatal(err)
		}
	default:
		t.Errorf("the reasons in %s are out of date; run make settings", page)
	}
}
