package pgtest

import (
	"context"
	"testing"
)

// RedisSentinel is a Redis with a replica that can take its place, and the sentinels that
// have it do so.
type RedisSentinel struct {
	// URLs are those of the two, the master first.
	URLs []string
	// Sentinels are the addresses of three sentinels, Master is the name that they know.
	Sentinels []string
	Master    string

	stop []func() error // of the two
}

// StopMaster ends the one that is the master at first. The sentinels notice after a second.
func (s *RedisSentinel) StopMaster() error { return s.stop[0]() }

// NewRedisSentinel starts them for this test, on free ports of the loopback; they end with
// it. The test is skipped where there is no redis-server, or fails when CI or
// LIFEGUARD_REQUIRE_PG=1 is set.
func NewRedisSentinel(t testing.TB) *RedisSentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	s, stop, err := startSentinel(ctx)
	cleanUp(t, stop)
	if err != nil {
		failOrSkip(t, err)
	}

	return s
}

// NewRedisCluster starts a Redis Cluster of three masters for this test, as NewRedisSentinel
// does, and returns the addresses of its nodes.
func NewRedisCluster(t testing.TB) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	nodes, stop, err := startCluster(ctx)
	cleanUp(t, stop)
	if err != nil {
		failOrSkip(t, err)
	}

	return nodes
}

func cleanUp(t testing.TB, stop []func() error) {
	t.Helper()
	for _, f := range stop {
		t.Cleanup(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
}
