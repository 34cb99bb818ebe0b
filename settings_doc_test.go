package lifeguard_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard"
)

var update = flag.Bool("update", false, "write generated parts of the documentation")

const (
	settingsBegin = "<!-- settings:begin -->"
	settingsEnd   = "<!-- settings:end -->"
)

// settingsTable is the README's table, made from the code's.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("\n\n| DSN key | environment | default | meaning |\n|---|---|---|---|\n")
	for _, s := range lifeguard.Settings() {
		value := s.Default
		if value == "" {
			value = "–"
		}
		cells := []string{"`" + s.Key + "`", "`" + s.Env + "`", value, s.Doc}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	b.WriteString("\n")
	return b.String()
}

func TestTheReadmeListsEverySetting(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(readme), settingsBegin)
	have, after, foundEnd := strings.Cut(rest, settingsEnd)
	if !found || !foundEnd {
		t.Fatalf("README.md has no %s … %s", settingsBegin, settingsEnd)
	}

	want := settingsTable()
	if have == want {
		return
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+settingsBegin+want+settingsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table of settings in README.md is out of date; run\n\n\tgo test -run TestTheReadmeListsEverySetting -update .\n\nhave:%swant:%s", have, want)
}

// Every Go snippet of the README stands in example_test.go, but for those that are marked: the
// module examples runs them, for they need other libraries.
func TestTheReadmeShowsCodeThatRuns(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	flush := func(code string) string { // indentation differs
		return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(code, "")
	}

	snippets := regexp.MustCompile("(?s)(<!-- run: [a-z]+ -->\n)?```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	ran := 0
	for _, snippet := range snippets {
		if snippet[1] != "" {
			continue
		}
		ran++
		if !strings.Contains(flush(string(examples)), flush(snippet[2])) {
			t.Errorf("not in example_test.go:\n%s", snippet[2])
		}
	}
	if ran < 5 {
		t.Errorf("only %d snippets were found", ran)
	}
}
