package cdc

import (
	"context"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestCountsAsStandby(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names string
		want  bool
	}{
		{"", false},
		{"*", true},
		{`"*"`, true},
		{"first 1 (*)", true},
		{"ANY 2 (s1, *)", true},
		{"FIRST 1(s1,s2)", false},
		{"s1,s2", false},
		{`"lifeguard cdc"`, true},
		{`2 (s1, "LifeGuard CDC")`, true},
		{`"a*b", "lifeguard cdc2", "*""", """*"`, false},
		{`"one, *"`, false},
		{`"not closed, *`, false},
	} {
		if got := CountsAsStandby(c.names, ApplicationName); got != c.want {
			t.Errorf("%s: %v", c.names, got)
		}
	}
	if !CountsAsStandby(`"say ""hi"""`, `say "hi"`) {
		t.Error("a doubled quote is one")
	}
}

// What reads the log stores nothing: a commit that has to be on a standby must not be taken
// for replicated because a stream has read it.
func TestAStreamIsNeverASynchronousStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{
		"wal_level": "logical", "synchronous_standby_names": "*", "synchronous_commit": "local",
	}})
	l := listenOn(t, server.DSN(""), shop, func(c *Config) { c.Bound = 200 * time.Millisecond })
	l.ended(Standby)
	if l.serves() {
		t.Error("it serves")
	}
	become := func(names string) {
		t.Helper()
		l.exec("alter system set synchronous_standby_names = " + quoteLiteral(names))
		l.exec("select pg_reload_conf()")
	}
	become("nobody, other")
	l.ready()
	ends := l.Stats().Ends[Standby]
	become("first 1 (nobody, CDC)")
	eventually(t, "it ends when it is named", func() bool { return l.Stats().Ends[Standby] > ends })

	become("*")
	eventually(t, "nobody reads the log", func() bool {
		var n int
		return l.conn.QueryRow(t.Context(), "select count(*) from pg_stat_replication").Scan(&n) == nil && n == 0
	})
	writer := connect(t, l.dsn)
	committed := make(chan error, 1)
	go func() {
		_, err := writer.Exec(context.Background(), "set synchronous_commit = on; insert into parent values (1000)")
		committed <- err
	}()
	eventually(t, "the commit waits for a standby", func() bool {
		var n int
		err := l.conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where wait_event = 'SyncRep'").Scan(&n)
		return err == nil && n == 1
	})
	ends = l.Stats().Ends[Standby]
	eventually(t, "the stream has tried again", func() bool { return l.Stats().Ends[Standby] > ends })
	select {
	case err := <-committed:
		t.Fatalf("the commit is taken for replicated: %v", err)
	default:
	}
	become("")
	if err := <-committed; err != nil {
		t.Error(err)
	}
	l.ready()
}
