package rediscache_test

import (
	"os"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(work())
	}
	os.Exit(pgtest.Main(m, pgtest.Options{}))
}
