package cdc

import (
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestARelayThroughACluster(t *testing.T) {
	t.Parallel()
	url := "redis+cluster://" + strings.Join(pgtest.NewRedisCluster(t), ",")
	l := listen(t, shop, relayed(url, 1))
	l.plays(Leader)
	f := l.process(relayed(url, 1))
	f.plays(Follower)
	if got := f.bumps("insert into parent values (8000)", "item", "parent"); got != "parent " {
		t.Errorf("told of %q", got)
	}
}

// When Redis fails over, the leader and its followers find the new master, and what the old
// one had not handed on is noticed.
func TestARelayThroughAMasterThatFailsOver(t *testing.T) {
	t.Parallel()
	sentinel := pgtest.NewRedisSentinel(t)
	url := "redis+sentinel://" + strings.Join(sentinel.Sentinels, ",") + "/" + sentinel.Master
	l := listen(t, shop, relayed(url, 1))
	l.plays(Leader)
	f := l.process(relayed(url, 1))
	f.plays(Follower)
	if err := sentinel.StopMaster(); err != nil {
		t.Fatal(err)
	}
	before := f.version(f.oid("item"))
	l.exec("insert into item values (8000)")
	f.plays(Follower)
	f.confirmed()
	if f.version(f.oid("item")) == before {
		t.Error("it serves, and has not told")
	}
	if got := f.bumps("insert into parent values (8000)", "item", "parent"); got != "parent " {
		t.Errorf("told of %q", got)
	}
	if n := len(l.Stats().Ends); n != 0 {
		t.Errorf("the leader has ended for %v", l.Stats().Ends)
	}
}
