package lifeguard_test

import (
	"context"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// What has nothing of the cache pays little for it: a statement that bypasses it allocates
// nothing more, a write what its fence takes. BenchmarkUselessCache has the times. It runs alone, for
// it counts allocations, and the caches of the process.
func TestWhatACacheCostsThoseWhoHaveNothingOfIt(t *testing.T) {
	dsn := pgtest.DSN(t)
	plain := openDSN(t, dsn)
	mustExec(t, plain, uselessSchema)
	mustClose(t, plain)
	for _, s := range useless {
		t.Run(s.name, func(t *testing.T) {
			allocations := map[string]float64{}
			for _, n := range neighbourhoods {
				t.Run(n.name, func(t *testing.T) {
					db := openUseless(t, dsn, n.own, n.beside, s.do)
					allocations[n.name] = testing.AllocsPerRun(100, func() {
						if err := s.do(context.Background(), db); err != nil {
							t.Fatal(err)
						}
					})
				})
			}
			most := map[string]float64{"bypass": 0, "write": 7, "tx": 6}[s.name]
			for _, n := range []string{"beside", "own"} {
				if more := allocations[n] - allocations["none"]; more > most && !lifeguard.RaceDetector {
					t.Errorf("%s: %v allocations more than without a cache in the process", n, more)
				}
			}
		})
	}
}
