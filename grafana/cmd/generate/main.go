// Command generate writes the dashboards, alert rules and their delivery that package
// spec describes, into the folder grafana, from where `make grafana` runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/lifeguard-go/lifeguard/grafana/spec"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	files, err := spec.Files(spec.Default())
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(root, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
