package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThePageOnLibrariesSaysWhichVersionsAreTested compares it with what the tests require.
func TestThePageOnLibrariesSaysWhichVersionsAreTested(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "ecosystem.md"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "internal", "thirdparty", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, module := range map[string]string{
		"GORM": "gorm.io/gorm", "Bun": "github.com/uptrace/bun", "sqlx": "github.com/jmoiron/sqlx", "ent": "entgo.io/ent",
		"goose": "github.com/pressly/goose/v3", "golang-migrate": "github.com/golang-migrate/migrate/v4", "River": "github.com/riverqueue/river",
	} {
		version := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(module) + ` v(\S+)`).FindStringSubmatch(string(mod))
		line := regexp.MustCompile(`(?m)^\| \[` + name + `\]\([^)]*\) \| ([^|]*)\|`).FindStringSubmatch(string(page))
		if version == nil || line == nil {
			t.Errorf("%s: version %q, line %q", name, version, line)
		} else if have, _, _ := strings.Cut(strings.TrimSpace(line[1]), ","); have != version[1] {
			t.Errorf("docs/ecosystem.md says %s %s, the tests have %s", name, have, version[1])
		}
	}
}
