package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkPlan looks whether what make would execute can be: that each go test of the plan has
// tests, benchmarks or fuzz targets that its patterns match, and each go run a program.
func (w *workplace) checkPlan(t *testing.T, plan string, want []string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(plan, text) {
			t.Errorf("%q is not in the plan\n%s", text, plan)
		}
	}
	if strings.TrimSpace(plan) == "" {
		t.Error("nothing is planned")
	}
	for _, step := range steps(strings.ReplaceAll(plan, "\\\n", " ")) {
		if len(step.words) < 3 || step.words[0] != "go" || strings.Contains(strings.Join(step.words, " "), "$") && step.words[1] != "test" {
			continue
		}
		dir, rest := step.dir, step.words[1:]
		if rest[0] == "-C" {
			dir, rest = filepath.Join(dir, rest[1]), rest[2:]
		}
		if len(rest) > 3 && rest[1] == "-C" {
			dir, rest = filepath.Join(dir, rest[2]), append(rest[:1:1], rest[3:]...)
		}
		switch rest[0] {
		case "run":
			if rest[1] != "." && !strings.HasPrefix(rest[1], "./") {
				continue // from elsewhere
			}
			if names := functions(t, filepath.Join(root, dir, rest[1]), `main`); len(names) == 0 {
				t.Errorf("%q: there is no program", strings.Join(step.words, " "))
			}
		case "test":
			checkPatterns(t, dir, rest)
		}
	}
}

func checkPatterns(t *testing.T, dir string, words []string) {
	t.Helper()
	text := strings.Join(words, " ")
	for i, word := range words[:len(words)-1] {
		kind := map[string]string{"-run": "Test", "-bench": "Benchmark", "-fuzz": "Fuzz"}[word]
		if kind == "" || words[i+1] == "^$" {
			continue
		}
		pattern, err := regexp.Compile(words[i+1])
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		matched := 0
		for _, p := range words {
			if p != "." && !strings.HasPrefix(p, "./") {
				continue
			}
			for _, name := range functions(t, filepath.Join(root, dir, p), kind+`\w+`) {
				if pattern.MatchString(name) {
					matched++
				}
			}
		}
		if matched == 0 {
			t.Errorf("%q: %s %s matches nothing", text, word, words[i+1])
		}
	}
}

// functions are the names in a package that match a pattern.
func functions(t *testing.T, dir, pattern string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, regexpAll(`(?m)^func (`+pattern+`)\(`, string(text))...)
	}
	return names
}

// step is a command of a plan, and the folder in which it stands.
type step struct {
	dir   string
	words []string
}

// steps parts what make prints as a shell would, as far as this Makefile needs it: quotes,
// separators, cd, and assignments in front.
func steps(plan string) (list []step) {
	dir, word, words, quote := ".", "", []string{}, rune(0)
	endWord := func() {
		if word != "" {
			words, word = append(words, word), ""
		}
	}
	end := func() {
		endWord()
		for len(words) > 0 && (strings.Contains(words[0], "=") || words[0] == "do" || words[0] == "@set" || words[0] == "then") {
			words = words[1:]
		}
		if len(words) > 1 && words[0] == "cd" {
			dir = words[1]
		} else if len(words) > 0 {
			list = append(list, step{dir, words})
		}
		words = nil
	}
	for _, r := range plan {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote = r
		case r == '\n' || r == ')':
			end()
			dir = "."
		case strings.ContainsRune(";&|>(", r):
			end()
		case r == ' ' || r == '\t':
			endWord()
		default:
			word += string(r)
		}
	}
	end()
	return list
}
