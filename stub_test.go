package lifeguard_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/pgstub"
)

// stubConfig reaches a server that costs nothing; see pgstub.
func stubConfig(t testing.TB) *pgx.ConnConfig {
	t.Helper()
	return pgstub.Config(t)
}
