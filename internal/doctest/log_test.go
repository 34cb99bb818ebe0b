package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logLine is a row of the page's table of log lines.
type logLine struct {
	levels   string   // "Warn, Info"
	messages []string // one that ends in … is how a message begins
	found    bool
}

// logTable reads the section Log of docs/observability.md.
func logTable(t *testing.T) []*logLine {
	t.Helper()
	_, section, _ := strings.Cut(pages(t)["docs/observability.md"], "\n## Log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []*logLine
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if strings.HasPrefix(line, "| ") && len(cells) > 2 && strings.HasPrefix(cells[1], "`lifeguard: ") {
			rows = append(rows, &logLine{levels: strings.TrimPrefix(cells[0], "| "), messages: regexpAll("`([^`]+)`", cells[1])})
		}
	}
	return rows
}

// says tells whether the row is about a message.
func (l *logLine) says(message string) bool {
	return slices.ContainsFunc(l.messages, func(text string) bool {
		begin, more := strings.CutSuffix(text, "…")
		return message == text || more && strings.HasPrefix(message, strings.TrimRight(begin, " "))
	})
}

// logged returns the messages that a file hands to a logger, with their levels.
func logged(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		level := strings.TrimSuffix(method.Sel.Name, "Context")
		for _, arg := range call.Args {
			if s, ok := arg.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Level") {
				level = strings.TrimPrefix(s.Sel.Name, "Level")
			}
			text := beginning(arg)
			if slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, level) && strings.HasPrefix(text, "lifeguard: ") {
				found[text] = level
			}
		}
		return true
	})
	return found
}

// beginning is a string literal, or the first of several that are added.
func beginning(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return beginning(e.X)
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err == nil {
			return text
		}
	}
	return ""
}

func TestThePageOnObservabilityListsEveryLogLine(t *testing.T) {
	t.Parallel()
	rows := logTable(t)
	n := 0
	for _, dir := range []string{".", "cache", "cache/rediscache", "crud", "internal/catalog", "internal/cdc", "lifeguardgorm"} {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for message, level := range logged(t, path) {
				n++
				i := slices.IndexFunc(rows, func(l *logLine) bool { return l.says(message) })
				if i < 0 {
					t.Errorf("%s logs %q, which docs/observability.md does not list", filepath.Base(path), message)
					continue
				}
				rows[i].found = true
				if !strings.Contains(rows[i].levels, level) {
					t.Errorf("%q is logged as %s, and the page says %s", message, level, rows[i].levels)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d messages were found: this test does not see how they are logged", n)
	}
	for _, row := range rows {
		if !row.found {
			t.Errorf("nobody logs %q", row.messages)
		}
	}
}
