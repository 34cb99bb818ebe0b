package rediscache_test

import (
	"os"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// atEnd removes what was made before the tests.
var atEnd = func() {}

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(work())
	}
	status := pgtest.Main(m, pgtest.Options{})
	atEnd()
	os.Exit(status)
}
