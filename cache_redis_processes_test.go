package lifeguard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
)

// judge looks at what processes saw, and whether that proves anything.
func judge(t *testing.T, s *sharers, failures bool) {
	t.Helper()
	all := s.end()
	sources, writes, errors := make(map[string]int), 0, make(map[string]int)
	for _, e := range all {
		switch {
		case e.Error != "":
			errors[e.Error]++
		case e.Write:
			writes++
		default:
			sources[e.Source]++
		}
	}
	t.Logf("%d writes, reads: %v", writes, sources)
	if sources["Redis"] == 0 || sources["memory"] == 0 || writes == 0 {
		t.Error("nothing is proved")
	}
	if len(errors) > 0 && !failures {
		t.Errorf("errors: %v", errors)
	}
	if why := notLinearizable(all); why != "" {
		t.Error(why)
	}
}

func TestProcessesThatShareSeeOneDatabase(t *testing.T) {
	t.Parallel()
	dsn, _ := sharedDB(t, registerSchema)
	j := sharerJob{DSN: dsn, Redis: sharedURL(t), Linger: sharedLinger}
	s := newSharers(t)
	for range 3 {
		s.start(j)
	}
	s.serve(0, 1, 2)
	if err := s.cmds[0].Process.Kill(); err != nil { // in the middle of something
		t.Fatal(err)
	}
	s.serve(1, 2)
	s.serve(s.start(j))
	judge(t, s, false)
}

func TestAWriterWithoutRedisKeepsTheOthersFromServing(t *testing.T) {
	for name, how := range map[string]cable.State{"cut": cable.Severed, "mute": cable.Mute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, _ := sharedDB(t, registerSchema)
			j := sharerJob{DSN: dsn, Redis: sharedURL(t), Linger: 2 * time.Second}
			s := newSharers(t)
			s.start(j)
			s.start(j)
			c, through := newCable(t, j.Redis)
			j.Redis = through
			s.start(j)
			s.serve(0, 1, 2)
			c.Set(how)
			out := s.stats(2).Redis.Unannounced
			eventually(t, "it writes without Redis", func() bool { return s.stats(2).Redis.Unannounced > out+3 })
			if st := s.stats(2).Redis; st.State != "out" {
				t.Error("it is", st.State)
			}
			for n := range 2 {
				before := s.stats(n)
				eventually(t, "the others bypass", func() bool {
					now := s.stats(n)
					return now.Bypasses["redis_unconfirmed"] > before.Bypasses["redis_unconfirmed"]+10 && now.Redis.State == "apart"
				})
			}
			c.Set(cable.Intact)
			s.serve(0, 1, 2)
			judge(t, s, false)
		})
	}
}

func TestProcessesMoveToAnotherRedisTogether(t *testing.T) {
	t.Parallel()
	dsn, _ := sharedDB(t, registerSchema)
	first, second := sharedURL(t), sharedURL(t)
	c, through := newCable(t, first)
	j := sharerJob{DSN: dsn, Redis: through, Linger: sharedLinger}
	s := newSharers(t)
	for range 2 {
		s.start(j)
	}
	s.serve(0, 1)
	c.Lead(redisurl.Where(second)) // as after a failover that has lost everything
	s.serve(0, 1)
	c.Lead(redisurl.Where(first)) // which has the results of before
	s.serve(0, 1)
	judge(t, s, false)
}

// Who looks into another database of one Redis sees nobody's intents.
func TestTwoDatabasesOfOneRedisAreNotShared(t *testing.T) {
	t.Parallel()
	dsn, _ := sharedDB(t, registerSchema)
	url := strings.TrimSuffix(sharedURL(t), "/0")
	s := newSharers(t)
	for range 2 {
		s.start(sharerJob{DSN: dsn, Redis: url + "/0", Linger: sharedLinger})
	}
	s.serve(0, 1)
	alone := s.start(sharerJob{DSN: dsn, Redis: url + "/1", Linger: sharedLinger})
	for n := range 3 {
		eventually(t, "nobody serves", func() bool { return s.stats(n).Redis.State == "apart" })
	}
	if err := s.cmds[alone].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.serve(0, 1)
	judge(t, s, false)
}
