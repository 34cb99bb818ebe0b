package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unshown are the exported names that need no example, by package, with the reason. A name
// "T.*" stands for all methods of T.
func unshown() map[string]map[string]string {
	const bySQL = "called by database/sql"
	return map[string]map[string]string{
		".": {
			"Conn.*": bySQL, "Stmt.*": bySQL, "Tx.*": bySQL, "Rows.*": bySQL, "Driver.*": bySQL,
			"Connector.Connect": bySQL, "Connector.Driver": bySQL, "Connector.Close": bySQL + ", at DB.Close",
		},
		"cache": {
			"Memory.Find": "is Get without a string", "Memory.Replace": "is Set, if nothing has come in between",
			"Memory.Delete": "is Sweep for one", "Memory.Under": "is Usage of a part",
			"Fence.*":     "Ledger.Raise makes one, and the examples end it both ways",
			"Writes.None": "tells what was added", "Writes.Everything": "tells what was added", "Writes.Relations": "tells what was added",
			"Writes.Reset": "is for a ROLLBACK",
		},
		"cache/cachetest": {},
		"cache/rediscache": {
			"Space.Damaged": "counts a value that its caller could not read",
		},
		"crud":         {},
		"grafana/spec": {},
		"lifeguardgorm": {
			"Dialector.*": "called by GORM", "Labels.*": "called by GORM",
		},
		"pgtest": {
			"Main":           "stands in TestMain; the package's documentation shows it",
			"Server.Standby": "is NewStandby without a test; its example says so",
		},
	}
}

// noLibrary are the packages that nobody is meant to import, with the reason.
func noLibrary() map[string]string {
	return map[string]string{
		"examples": "says what is in the folders below", "examples/grpc": "is an example", "examples/sqlmock": "is an example",
		"examples/sqlc/petdb": "is what sqlc makes of an example's queries",
		"lifeguardsqlx":       "exports nothing; it has an example of its effect",
	}
}

// byLanguage are methods that fmt and errors call.
func byLanguage(method string) bool {
	return slices.Contains([]string{"Error", "Unwrap", "Is", "String"}, method)
}

// surface is what a package exports, and what its examples use.
type surface struct {
	functions []string
	methods   []string            // T.M
	makers    map[string][]string // by type: functions of the package that return it
	examples  []example
}

// example is an Example function that runs, for it says what it prints.
type example struct {
	name  string
	words map[string]bool // names selected in it: F of lifeguard.F, M of x.M
}

func read(t *testing.T, dir string) *surface {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	s := &surface{makers: map[string][]string{}}
	for _, name := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
			case strings.HasSuffix(name, "_test.go"):
				if strings.HasPrefix(f.Name.Name, "Example") && prints(file, f) {
					s.examples = append(s.examples, example{f.Name.Name, selected(f)})
				}
			default:
				s.declare(f)
			}
		}
	}
	return s
}

func (s *surface) declare(f *ast.FuncDecl) {
	name := f.Name.Name
	if !f.Name.IsExported() {
		return
	}
	if f.Recv != nil {
		if of := typeName(f.Recv.List[0].Type); ast.IsExported(of) && !slices.Contains(s.methods, of+"."+name) {
			s.methods = append(s.methods, of+"."+name)
		}
		return
	}
	if !slices.Contains(s.functions, name) { // one for each system counts once
		s.functions = append(s.functions, name)
	}
	if f.Type.Results != nil {
		for _, r := range f.Type.Results.List {
			if of := typeName(r.Type); of != "" {
				s.makers[of] = append(s.makers[of], name)
			}
		}
	}
}

// typeName is T of T, *T and *T[X].
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	}
	return ""
}

// prints tells whether go test runs an example: only if it says what it prints.
func prints(file *ast.File, f *ast.FuncDecl) bool {
	for _, group := range file.Comments {
		text := strings.ToLower(group.Text())
		if group.Pos() > f.Body.Pos() && group.End() < f.Body.End() && (strings.HasPrefix(text, "output:") || strings.HasPrefix(text, "unordered output:")) {
			return true
		}
	}
	return false
}

func selected(f *ast.FuncDecl) map[string]bool {
	words := map[string]bool{}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			words[s.Sel.Name] = true
		}
		return true
	})
	return words
}

func (s *surface) shows(function string) bool {
	return slices.ContainsFunc(s.examples, func(e example) bool { return e.words[function] })
}

// showsMethod wants the method in an example that has its type or something that makes it.
func (s *surface) showsMethod(of, method string) bool {
	return slices.ContainsFunc(s.examples, func(e example) bool {
		has := e.words[of] || strings.HasPrefix(e.name, "Example"+of) ||
			slices.ContainsFunc(s.makers[of], func(maker string) bool { return e.words[maker] })
		return e.words[method] && has
	})
}

// Nothing that could be imported is left out of unshown.
func TestEveryPackageIsLookedAtForExamples(t *testing.T) {
	t.Parallel()
	known, looked := noLibrary(), unshown()
	seen := map[string]bool{}
	for _, file := range sources(t) {
		dir := path.Dir(file)
		if seen[dir] || slices.Contains(strings.Split(dir, "/"), "internal") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Name.Name == "main" {
			continue
		}
		seen[dir] = true
		if _, ok := looked[dir]; !ok && known[dir] == "" {
			t.Errorf("%s is a package that can be imported: are there examples of what it exports?", dir)
		}
	}
	for dir := range known {
		if !seen[dir] {
			t.Errorf("there is no package %s", dir)
		}
	}
}

func TestEveryExportedFunctionHasAnExampleThatRuns(t *testing.T) {
	t.Parallel()
	for dir, except := range unshown() {
		s := read(t, dir)
		if len(s.functions) == 0 || len(s.examples) == 0 {
			t.Errorf("%s: %d functions, %d examples", dir, len(s.functions), len(s.examples))
		}
		used := map[string]bool{}
		excepted := func(names ...string) bool {
			for _, name := range names {
				if except[name] != "" {
					used[name] = true
					return true
				}
			}
			return false
		}
		for _, name := range s.functions {
			if !excepted(name) && !s.shows(name) {
				t.Errorf("%s: %s is in no example that runs", dir, name)
			}
		}
		for _, name := range s.methods {
			of, method, _ := strings.Cut(name, ".")
			if !byLanguage(method) && !excepted(name, of+".*") && !s.showsMethod(of, method) {
				t.Errorf("%s: %s is in no example that runs", dir, name)
			}
		}
		for name := range maps.Keys(except) {
			if !used[name] {
				t.Errorf("%s: the exception %s is for nothing", dir, name)
			}
		}
	}
}
