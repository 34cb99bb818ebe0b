package spec_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

// root is the folder grafana, seen from here.
const root = ".."

func TestGeneratedFilesAreAsTheSpecSays(t *testing.T) {
	t.Parallel()
	files, err := spec.Files(spec.Default())
	if err != nil {
		t.Fatal(err)
	}
	expected := map[string]bool{}
	for _, f := range files {
		expected[f.Path] = true
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(f.Path)))
		switch {
		case err != nil:
			t.Errorf("%v: run make grafana", err)
		case !bytes.Equal(text, f.Text):
			t.Errorf("grafana/%s is not what grafana/spec makes: change the spec and run make grafana", f.Path)
		}
	}
	dashboards, err := filepath.Glob(filepath.Join(root, "dashboards", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range dashboards {
		if name := "dashboards/" + filepath.Base(path); !expected[name] {
			t.Errorf("grafana/%s is not in the spec", name)
		}
	}
}
