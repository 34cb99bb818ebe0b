//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startLocalRedis runs program, with the tries that a server's port needs.
func startLocalRedis(ctx context.Context, opts RedisOptions, program string) (*RedisServer, error) {
	s, _, err := startRedisAs(ctx, opts, program, nil)

	return s, err
}

// startRedisAs is startLocalRedis with arguments that depend on the directory and the port.
func startRedisAs(ctx context.Context, opts RedisOptions, program string, arguments redisArguments) (*RedisServer, int, error) {
	dir := filepath.Join(os.TempDir(), "lifeguard-pgtest-"+strings.ToLower(rand.Text()[:12]))
	k, err := keep(dir, "TERM")
	if err != nil {
		return nil, 0, err
	}
	var p *process
	var port int
	for range portTries {
		if port, err = freePort(); err != nil {
			break
		}
		if p, err = launchRedis(ctx, k, opts, program, port, arguments); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, k.close())
	}

	return &RedisServer{
		url:    fmt.Sprintf("redis://127.0.0.1:%d/0", port),
		source: fmt.Sprintf("Redis from %s, started on 127.0.0.1:%d", program, port),
		stop: sync.OnceValue(func() error {
			return errors.Join(p.end(syscall.SIGKILL, stopLimit), k.close()) // nothing to save
		}),
	}, port, nil
}

// redisArguments are of redis-server; an error is one of writing its configuration.
type redisArguments func(dir string, port int) ([]string, error)

// launchRedis starts program on port and waits until it answers.
func launchRedis(ctx context.Context, k *keeper, opts RedisOptions, program string, port int, arguments redisArguments) (*process, error) {
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", k.dir, "--save", "", "--appendonly", "no"}
	for _, name := range slices.Sorted(maps.Keys(opts.Settings)) {
		args = append(args, "--"+name, opts.Settings[name])
	}
	if arguments != nil {
		var err error
		if args, err = arguments(k.dir, port); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(k.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = k.dir
	cmd.Env = serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	if opts.Log != nil {
		both := io.MultiWriter(log, opts.Log)
		cmd.Stdout, cmd.Stderr = both, both
	}
	p, err := k.start(cmd, nil)
	if err != nil {
		return nil, err
	}

	for !p.exited(pollEvery) {
		if redisProcess(port) == p.cmd.Process.Pid {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), p.end(syscall.SIGKILL, stopLimit))
		}
	}
	cause := p.reap()
	text := tail(log.Name())
	if strings.Contains(text, "Address already in use") {
		return nil, fmt.Errorf("%w: %d", errPortTaken, port)
	}

	return nil, fmt.Errorf("the server ended at once (%w), its log:\n%s", cause, text)
}

// redisProcess asks the Redis on port who it is, or returns 0. PING would not do:
// after a clash of ports it is the Redis of somebody else.
func redisProcess(port int) int {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0
	}
	if _, err := io.WriteString(conn, "INFO server\r\n"); err != nil {
		return 0
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if number, found := strings.CutPrefix(lines.Text(), "process_id:"); found {
			pid, _ := strconv.Atoi(number)
			return pid
		}
	}

	return 0
}
