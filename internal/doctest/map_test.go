package doctest

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// fileMap is what the first columns of the tables in docs/architecture.md name: files of
// the root package, with * for several, and folders.
func fileMap(t *testing.T) []string {
	t.Helper()
	var named []string
	for line := range strings.Lines(pages(t)["docs/architecture.md"]) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			cell, _, _ = strings.Cut(cell, " | ")
			named = append(named, regexpAll("`([^`]+)`", "`"+cell)...)
		}
	}
	return named
}

// sources are the Go files that are no tests, by their paths from the root.
func sources(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(file string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"):
			name, err := filepath.Rel(root, file)
			found = append(found, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// covers reports whether a name of the map is of a file, or of a folder around it.
func covers(name, file string) bool {
	if strings.HasSuffix(name, ".go") {
		ok, _ := path.Match(name, file)
		return ok
	}
	return strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/")
}

func TestEverySourceIsInTheMap(t *testing.T) {
	t.Parallel()
	named, files := fileMap(t), sources(t)
	used := map[string]bool{}
	missing := map[string]bool{}
	for _, file := range files {
		found := false
		for _, name := range named {
			if covers(name, file) {
				found, used[name] = true, true
			}
		}
		if !found {
			if strings.Contains(file, "/") {
				file = path.Dir(file)
			}
			missing[file] = true
		}
	}
	for file := range missing {
		t.Errorf("docs/architecture.md does not say what %s is about", file)
	}
	for _, name := range named {
		if isFile := strings.HasSuffix(name, ".go") || strings.Contains(name, "/"); isFile && !used[name] {
			t.Errorf("docs/architecture.md names %s, which does not exist", name)
		}
	}
	if len(files) < 200 || len(named) < 50 {
		t.Errorf("only %d files, and %d names in the map", len(files), len(named))
	}
}
