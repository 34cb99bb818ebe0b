package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/needs"
)

// redisSays sends a command and returns the first line of the answer.
func redisSays(t *testing.T, address, command string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "*%d\r\n", len(strings.Fields(command)))
	for _, word := range strings.Fields(command) {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}

	return strings.TrimSpace(line)
}

func TestEveryTestHasARedisOfItsOwn(t *testing.T) {
	first, second := Redis(t), Redis(t)
	if got := redisSays(t, first, "PING"); got != "+PONG" {
		t.Error(got)
	}
	if got := redisSays(t, first, "SET key 1"); got != "+OK" {
		t.Error(got)
	}
	if got := redisSays(t, second, "EXISTS key"); got != ":0" {
		t.Error("a key of one Redis is in the other:", got)
	}
}

func TestARealRedisHasSettingsAndTracking(t *testing.T) {
	var log lockedBuilder
	s := NewRedis(t, RedisOptions{Settings: map[string]string{"maxmemory": "2mb", "maxmemory-policy": "allkeys-lru"}, Log: &log})
	if s.Emulated() {
		t.Error("miniredis cannot have settings")
	}
	if got := redisSays(t, s.URL(), "HELLO 3"); !strings.HasPrefix(got, "%") {
		t.Error(got)
	}
	if got := redisSays(t, s.URL(), "CLIENT TRACKING OFF"); got != "+OK" {
		t.Error(got)
	}
	if got := redisSays(t, s.URL(), "CONFIG GET maxmemory-policy"); got != "*2" {
		t.Error(got)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(log.String(), "Ready to accept connections") {
		t.Errorf("log: %q", log.String())
	}
}

func TestAWrongDirectiveShowsTheLogOfRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		needs.Lacking(t, "Redis: %v", err)
	}
	_, err := StartRedis(t.Context(), RedisOptions{Settings: map[string]string{"no-such": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no-such") {
		t.Error(err)
	}
}

func TestARedisOnATakenPortMovesOn(t *testing.T) {
	other := NewRedis(t, RedisOptions{Settings: map[string]string{"maxmemory": "2mb"}})
	u, err := url.Parse(other.URL())
	if err != nil {
		t.Fatal(err)
	}
	real, calls := freePort, 0
	freePort = func() (port int, err error) {
		if calls++; calls == 1 {
			_, err = fmt.Sscan(u.Port(), &port)
			return port, err
		}
		return real()
	}
	defer func() { freePort = real }()
	if s := NewRedis(t, RedisOptions{}); s.URL() == other.URL() {
		t.Error("the Redis of somebody else was taken for ours")
	}
}

func TestAForeignRedisIsUsedAndLeftRunning(t *testing.T) {
	owner := NewRedis(t, RedisOptions{})
	u, err := url.Parse(owner.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("me", "sesame")
	t.Setenv(envRedisURL, u.String())
	s, err := StartRedis(t.Context(), RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.URL() != u.String() || strings.Contains(s.Source(), "sesame") || !strings.Contains(s.Source(), envRedisURL) {
		t.Error(s.Source())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if got := redisSays(t, owner.URL(), "PING"); got != "+PONG" {
		t.Error(got)
	}

	t.Setenv(envRedisURL, "redis://me:sesame@127.0.0.1:1/0")
	if _, err = StartRedis(t.Context(), RedisOptions{}); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
}

// onlyGo leaves nothing but the go command and a broken docker on PATH.
func onlyGo(t *testing.T, docker string) {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		needs.Lacking(t, "the go command: %v", err)
	}
	bin := t.TempDir()
	script(t, bin, "go", "exec '"+goTool+`' "$@"`)
	script(t, bin, "docker", docker)
	t.Setenv("PATH", bin)
}

func TestMiniredisIsTheLastResort(t *testing.T) {
	onlyGo(t, "exit 1")
	s := NewRedis(t, RedisOptions{})
	if !s.Emulated() || !strings.Contains(s.Source(), "miniredis") {
		t.Errorf("found %s", s.Source())
	}
	if got := redisSays(t, s.URL(), "SET key 1 PX 50"); got != "+OK" {
		t.Error(got)
	}
	eventually(t, "the key expires", func() bool { return redisSays(t, s.URL(), "EXISTS key") == ":0" })
	if got := redisSays(t, s.URL(), "CLIENT TRACKING ON"); !strings.HasPrefix(got, "-") {
		t.Errorf("miniredis has learned CLIENT TRACKING, the documentation is behind: %s", got)
	}
	begin := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > stopLimit/2 {
		t.Errorf("Stop took %s: miniredis was killed, not asked", took)
	}
	u, _ := url.Parse(s.URL())
	if conn, err := net.Dial("tcp", u.Host); err == nil {
		conn.Close()
		t.Error("miniredis outlived Stop")
	}
}

func TestMiniredisDoesNotStandInForSettings(t *testing.T) {
	onlyGo(t, "exit 1")
	_, err := StartRedis(t.Context(), RedisOptions{Settings: map[string]string{"maxmemory": "2mb"}})
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.Service != "Redis" || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

func TestADockerThatCannotRunContainersIsNamedInTheError(t *testing.T) {
	goPath := os.Getenv("PATH")
	withoutPostgres(t)
	t.Setenv("PATH", goPath)
	onlyGo(t, "echo 27.0")
	t.Setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
	_, err := start(t.Context(), Options{}, "")
	var missing *NotFoundError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "; a Docker engine answers, but: ") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}
