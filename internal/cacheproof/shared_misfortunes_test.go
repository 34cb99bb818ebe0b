package cacheproof

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/cable"
)

// misfortune is something that befalls a world while it is at work, or one of its processes.
type misfortune struct {
	name    string // in the past
	happens func(t *testing.T, s *sharedWorld, p *sharedProcess) (victim *sharedProcess)
}

// misfortunes are what happens to processes, backends, Redis and the way to it.
var misfortunes = []misfortune{
	{"killed", func(_ *testing.T, _ *sharedWorld, p *sharedProcess) *sharedProcess {
		_ = p.cmd.Process.Kill()
		return p
	}},
	{"flushed", func(t *testing.T, s *sharedWorld, _ *sharedProcess) *sharedProcess {
		t.Helper()
		redisSays(t, s.redis.Host, "FLUSHALL")
		return nil
	}},
	{"stood still", func(t *testing.T, s *sharedWorld, _ *sharedProcess) *sharedProcess {
		t.Helper()
		redisSays(t, s.redis.Host, "CLIENT PAUSE 1500 ALL")
		return nil
	}},
	{"restarted", func(t *testing.T, s *sharedWorld, _ *sharedProcess) *sharedProcess {
		t.Helper()
		redisRestarts(t, s.redis.Host)
		return nil
	}},
	// It has again what it had some time before, and nothing of what came since.
	{"went back", func(t *testing.T, s *sharedWorld, _ *sharedProcess) *sharedProcess {
		t.Helper()
		redisSays(t, s.redis.Host, "SAVE")
		sleep(time.Duration(100+s.r.IntN(700)) * time.Millisecond)
		redisRestarts(t, s.redis.Host)
		return nil
	}},
	{"cut off", func(_ *testing.T, s *sharedWorld, p *sharedProcess) *sharedProcess {
		return s.forAWhile(p, cable.Severed)
	}},
	{"muted", func(_ *testing.T, s *sharedWorld, p *sharedProcess) *sharedProcess { // a black hole
		return s.forAWhile(p, cable.Mute)
	}},
	{"slowed down", func(_ *testing.T, s *sharedWorld, p *sharedProcess) *sharedProcess {
		return s.forAWhile(p, cable.Slow)
	}},
	{"reset", func(_ *testing.T, s *sharedWorld, p *sharedProcess) *sharedProcess {
		for range 1 + s.r.IntN(20) {
			p.cable.Reset()
			sleep(20 * time.Millisecond)
		}
		return nil
	}},
	{"lost its backends", func(t *testing.T, s *sharedWorld, p *sharedProcess) *sharedProcess {
		t.Helper()
		for range 1 + s.r.IntN(5) {
			s.terminate(t, p.application())
			sleep(50 * time.Millisecond)
		}
		return nil
	}},
	{"lost its guard", func(t *testing.T, s *sharedWorld, _ *sharedProcess) *sharedProcess { // the connection beside the pool
		t.Helper()
		s.terminate(t, "lifeguard cache")
		return nil
	}},
}

// disturb does something bad, or two things at once, and returns the processes that it has
// killed. A short run has what shows soon.
func (s *sharedWorld) disturb(t *testing.T, n int) (victims []*sharedProcess) {
	t.Helper()
	sleep(time.Duration(1+s.r.IntN(300)) * time.Millisecond)
	happening := []string{misfortunes[int(s.turn.Add(1))%len(misfortunes)].name} // each in its turn
	if s.r.IntN(3) == 0 {
		happening = append(happening, misfortunes[s.r.IntN(len(misfortunes))].name)
	}
	if n == 1 {
		happening = []string{"lost its backends", "reset", "killed", "flushed"}
	}
	for _, name := range happening {
		p := s.processes[s.r.IntN(len(s.processes))]
		for _, m := range misfortunes {
			if m.name != name {
				continue
			}
			s.did.misfortunes[name]++
			if victim := m.happens(t, s, p); victim != nil {
				victims = append(victims, victim)
			}
		}
	}
	return victims
}

// forAWhile has a cable in a state; sometimes until the history is over.
func (s *sharedWorld) forAWhile(p *sharedProcess, state cable.State) *sharedProcess {
	p.cable.Set(state)
	sleep(time.Duration(1+s.r.IntN(4)) * time.Second)
	if s.r.IntN(2) == 0 {
		p.cable.Set(cable.Intact)
	}
	return nil
}

// terminate ends some backends that have a name.
func (s *sharedWorld) terminate(t *testing.T, application string) {
	t.Helper()
	if _, err := s.plain.ExecContext(t.Context(), `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
		where datname = current_database() and application_name = $1 order by random() limit 3) a`, application); err != nil {
		t.Error(err)
	}
}

// redisAsks sends a command past all cables, and returns the answer, if there is one.
func redisAsks(t *testing.T, host, command string) string {
	t.Helper()
	var conn net.Conn
	for begun := time.Now(); ; sleep(20 * time.Millisecond) { // it may be restarting
		var err error
		if conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", host); err == nil {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return ""
	}
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	return answer
}

func redisSays(t *testing.T, host, command string) {
	t.Helper()
	for begun := time.Now(); ; sleep(20 * time.Millisecond) {
		answer := redisAsks(t, host, command)
		if answer == "+OK\r\n" {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("Redis says %q to %s", answer, command)
		}
	}
}

// redisRestarts has another process of Redis in the place of this one, with what was saved.
func redisRestarts(t *testing.T, host string) {
	t.Helper()
	if answer := redisAsks(t, host, "DEBUG CRASH-AND-RECOVER"); answer != "" {
		t.Errorf("Redis says %q to a restart", answer)
	}
	redisSays(t, host, "CONFIG RESETSTAT") // it is there again
}
