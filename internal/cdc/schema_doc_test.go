package cdc

import (
	"os"
	"strings"
	"testing"
)

func TestTheManualHasTheStatementsOfTheEventTrigger(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/cache-cdc.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "<!-- begin install -->\n```sql" + InstallSQL + "```\n<!-- end install -->"
	if !strings.Contains(strings.ReplaceAll(string(manual), "\r\n", "\n"), want) {
		t.Errorf("docs/cache-cdc.md must contain:\n%s", want)
	}
}
