package cacheproof

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(sharerEnv); job != "" {
		os.Exit(share(job))
	}
	code := pgtest.Main(m, pgtest.Options{Settings: map[string]string{
		"max_connections":           "200",
		"max_prepared_transactions": "10",
		"deadlock_timeout":          "30ms",
	}})
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
