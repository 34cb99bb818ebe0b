package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// A query that must not be answered from memory says so, or how old the answer may be.
func ExampleWithCache() {
	dsn, stop := startPostgres("lifeguard_cache=local")
	defer stop()
	db, err := sql.Open("lifeguard", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	read := func(ctx context.Context) (n int) {
		if err := db.QueryRowContext(ctx, "select 6 * 7").Scan(&n); err != nil {
			log.Fatal(err)
		}
		return n
	}
	fresh := lifeguard.WithCache(context.Background(), lifeguard.NoCache)
	recent := lifeguard.WithCache(context.Background(), lifeguard.MaxAge(5*time.Second))
	fmt.Println(read(fresh), read(recent))
	// Output: 42 42
}
