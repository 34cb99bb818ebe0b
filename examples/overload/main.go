// Command overload offers a small pool forty times what it can do, and shows that who is
// served is served soon, and who is not knows it at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

const (
	callers  = 80
	patience = 30 * time.Second // of each caller
)

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	// Two at work, eight in the queue; the next one is refused.
	db, err := lifeguard.Open(dsn + "&pool_max_conns=2&lifeguard_queue=8&lifeguard_slow=0")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return err
	}

	var mu sync.Mutex // guards what the callers have seen
	served, refused, slowest := 0, map[lifeguard.OverloadReason]int{}, time.Duration(0)
	var failures []error
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			started := time.Now()
			_, err := db.ExecContext(ctx, "select pg_sleep(0.02)")
			mu.Lock()
			defer mu.Unlock()
			var overload *lifeguard.OverloadError
			switch {
			case errors.As(err, &overload):
				refused[overload.Reason]++
			case err != nil:
				failures = append(failures, err)
			default:
				served++
				slowest = max(slowest, time.Since(started))
			}
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	fmt.Printf("%d callers at once, two connections\n", callers)
	fmt.Printf("served: %d, the slowest after %v\n", served, slowest.Round(time.Millisecond))
	for reason, n := range refused {
		fmt.Printf("refused: %d, %s\n", n, reason)
	}
	return nil
}
