// Package needs is for tests that need what a machine may lack: an extension, a program.
package needs

import (
	"os"
	"testing"
)

// Lacking skips a test for want of something. Where CI is set it fails the test: there everything
// is installed, and a test that is skipped unseen is none.
func Lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if ci := os.Getenv("CI"); ci != "" && ci != "false" && ci != "0" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
