package rediscache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestAClusterIsATier(t *testing.T) {
	nodes := pgtest.NewRedisCluster(t)
	url := "redis+cluster://" + strings.Join(nodes, ",")
	_, a := openSpace(t, url, rediscache.Options{Budget: patient}, 50*time.Millisecond)
	_, b := openSpace(t, url, rediscache.Options{Budget: patient}, 50*time.Millisecond)
	keepWatching(t, a)
	q := question("pets", 1)
	fill(t, a, q, until(t, a, q, rediscache.Miss), "Rex")
	found := until(t, b, q, rediscache.Found)
	i := place(t, b, rediscache.Writes{Relations: []uint32{1}, Catalog: found.Catalog})
	bump(t, i)
	until(t, a, q, rediscache.Miss)
}

func TestAFailoverForgetsWhatTheOldMasterHad(t *testing.T) {
	sentinel := pgtest.NewRedisSentinel(t)
	url := "redis+sentinel://" + strings.Join(sentinel.Sentinels, ",") + "/" + sentinel.Master
	_, s := openSpace(t, url, rediscache.Options{Budget: patient}, 50*time.Millisecond)
	keepWatching(t, s)
	q := question("pets", 1)
	miss := until(t, s, q, rediscache.Miss)
	fill(t, s, q, miss, "Rex")
	until(t, s, q, rediscache.Found)
	if err := sentinel.StopMaster(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica is the master", func() bool {
		seen, err := s.Watch(t.Context(), 0, false)
		return err == nil && seen.Server != ""
	})
	after := until(t, s, q, rediscache.Miss)
	if strings.HasPrefix(after.Proof, strings.Split(miss.Proof, ".")[0]) {
		t.Error("the era of the old master goes on")
	}
}
