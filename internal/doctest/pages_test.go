package doctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are README.md and docs, by their paths from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range append(paths, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.ToSlash(name)] = string(text)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

// anchors are the headings of a page as GitHub links to them.
func anchors(text string) (list []string) {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(m[1])
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return append(list, regexpAll(`<a (?:id|name)="([^"]+)"`, text)...)
}

func regexpAll(pattern, text string) (list []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	all := pages(t)
	for page, text := range all {
		for _, link := range regexpAll(`\]\(([^)\s]+)\)`, text) {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s: %s is not there", page, link)
					continue
				}
			}
			if to, known := all[target]; anchor != "" && known && !slices.Contains(anchors(to), anchor) {
				t.Errorf("%s: %s has no section %q", page, target, anchor)
			}
		}
	}
}

func TestTheIndexListsEveryPage(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile(filepath.Join(root, "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for page := range pages(t) {
		name := filepath.Base(page)
		if strings.HasPrefix(page, "docs/") && name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}

// commands are the lines of a page's shell blocks, and what its sentences say in `…`.
func commands(text string) (lines []string) {
	for _, block := range regexpAll("(?s)```(?:sh|console|bash)\n(.*?)```", text) {
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
			lines = append(lines, strings.TrimPrefix(line, "$ "))
		}
	}
	return append(lines, regexpAll("`((?:make|just|go run|lifeguard) [^`]+)`", text)...)
}

func TestEveryMakeTargetAndJustRecipeIsThere(t *testing.T) {
	t.Parallel()
	var known [2]string
	for i, file := range []string{"Makefile", "justfile"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		known[i] = string(text)
	}
	seen := 0
	for page, text := range pages(t) {
		for _, line := range commands(text) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			var pattern, in string
			switch words[0] {
			case "make":
				pattern, in = `(?m)^`+regexp.QuoteMeta(words[1])+`:`, known[0]
			case "just":
				pattern, in = `(?m)^@?`+regexp.QuoteMeta(words[1])+`[ :]`, known[1]
			default:
				continue
			}
			seen++
			if !regexp.MustCompile(pattern).MatchString(in) {
				t.Errorf("%s: %q: there is no such target", page, line)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands were found", seen)
	}
}

// TestEveryFlagOfTheCommandIsThere asks the command itself for what pages show of it.
func TestEveryFlagOfTheCommandIsThere(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "lifeguard.exe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/lifeguard").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	help := map[string]string{}
	seen := 0
	for page, text := range pages(t) {
		for _, line := range commands(text) {
			line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "go run ./cmd/"), "go run github.com/lifeguard-go/lifeguard/cmd/"), "|")
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "lifeguard" {
				continue
			}
			seen++
			name := words[1]
			if help[name] == "" {
				out, err := exec.CommandContext(t.Context(), binary, "help", name).CombinedOutput()
				if err != nil && name != "help" {
					t.Errorf("%s: %q: %s", page, line, out)
					continue
				}
				help[name] = string(out)
			}
			for _, flag := range regexpAll(` (-[a-z][a-z-]*)`, " "+strings.Join(words[2:], " ")) {
				if !strings.Contains(help[name], "\n  "+flag+" ") && !strings.Contains(help[name], "\n  "+flag+"\n") && flag != "-h" {
					t.Errorf("%s: %q: lifeguard %s has no flag %s", page, line, name, flag)
				}
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d commands were found", seen)
	}
}
