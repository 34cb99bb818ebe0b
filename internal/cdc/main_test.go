package cdc

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(envVictim); dsn != "" {
		victim(dsn)
		return
	}
	code := pgtest.Main(m, pgtest.Options{Settings: map[string]string{
		"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20",
	}})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
