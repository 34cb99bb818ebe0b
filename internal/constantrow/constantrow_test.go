package constantrow_test

import (
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/constantrow"
)

func TestEachQueryHasTheRow(t *testing.T) {
	t.Parallel()
	db := constantrow.Open()
	defer db.Close()
	for range 2 {
		var n int64
		if err := db.QueryRowContext(t.Context(), "select $1", 1).Scan(&n); err != nil || n != 7000 {
			t.Fatal(n, err)
		}
	}
}
