//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sentinelMaster is how the sentinels call the master.
const sentinelMaster = "pets"

func redisProgram(ctx context.Context) (string, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", notFound(ctx, "Redis", "Install Redis (it need not run)", "no other Redis will do here", nil, err)
	}

	return program, nil
}

// startSentinel also returns how to stop what was started, in the order of starting, if it
// fails.
func startSentinel(ctx context.Context) (s *RedisSentinel, stop []func() error, err error) {
	program, err := redisProgram(ctx)
	if err != nil {
		return nil, nil, err
	}
	s = &RedisSentinel{Master: sentinelMaster}
	var ports []int
	for range 2 {
		server, port, err := startRedisAs(ctx, RedisOptions{Settings: map[string]string{"repl-diskless-sync-delay": "0"}}, program, nil)
		if err != nil {
			return nil, stop, err
		}
		stop = append(stop, server.Stop)
		s.URLs, s.stop, ports = append(s.URLs, server.URL()), append(s.stop, server.Stop), append(ports, port)
	}
	if _, err := redisCommand(ports[1], fmt.Sprintf("REPLICAOF 127.0.0.1 %d", ports[0])); err != nil {
		return nil, stop, err
	}
	if err := untilRedis(ctx, ports[1], "INFO replication", "master_link_status:up"); err != nil {
		return nil, stop, err
	}

	var sentinels []int
	for range 3 {
		server, port, err := startRedisAs(ctx, RedisOptions{}, program, func(dir string, port int) ([]string, error) {
			config := filepath.Join(dir, "sentinel.conf")
			text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %[3]s 127.0.0.1 %[4]d 2\n"+
				"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 3000\n", port, dir, sentinelMaster, ports[0])
			return []string{config, "--sentinel"}, os.WriteFile(config, []byte(text), 0o600)
		})
		if err != nil {
			return nil, stop, err
		}
		stop, sentinels = append(stop, server.Stop), append(sentinels, port)
		s.Sentinels = append(s.Sentinels, "127.0.0.1:"+strconv.Itoa(port))
	}
	for _, port := range sentinels {
		// Who does not know the others, or the replica, cannot replace the master.
		if err := untilRedis(ctx, port, "INFO sentinel", "status=ok", "slaves=1,sentinels=3"); err != nil {
			return nil, stop, err
		}
	}

	return s, stop, nil
}

// startCluster returns as startSentinel does.
func startCluster(ctx context.Context) (nodes []string, stop []func() error, err error) {
	program, err := redisProgram(ctx)
	if err != nil {
		return nil, nil, err
	}
	const masters, slots = 3, 16384
	var ports []int
	for i := range masters {
		bus, err := freePort()
		if err != nil {
			return nil, stop, err
		}
		server, port, err := startRedisAs(ctx, RedisOptions{Settings: map[string]string{
			"cluster-enabled": "yes", "cluster-port": strconv.Itoa(bus), "cluster-node-timeout": "5000",
		}}, program, nil)
		if err != nil {
			return nil, stop, err
		}
		stop, ports, nodes = append(stop, server.Stop), append(ports, port), append(nodes, "127.0.0.1:"+strconv.Itoa(port))
		for _, command := range []string{
			fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/masters, (i+1)*slots/masters-1),
			fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1),
		} {
			if _, err := redisCommand(port, command); err != nil {
				return nil, stop, err
			}
		}
		if i == 0 {
			continue
		}
		if _, err := redisCommand(ports[0], fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", port, bus)); err != nil {
			return nil, stop, err
		}
	}
	for _, port := range ports {
		if err := untilRedis(ctx, port, "CLUSTER INFO", "cluster_state:ok", "cluster_known_nodes:3", "cluster_slots_ok:16384"); err != nil {
			return nil, stop, err
		}
	}

	return nodes, stop, nil
}

// untilRedis asks until the answer has all the words.
func untilRedis(ctx context.Context, port int, command string, words ...string) error {
	for {
		answer, err := redisCommand(port, command)
		missing := ""
		for _, word := range words {
			if !strings.Contains(answer, word) {
				missing = word
			}
		}
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("pgtest: %s does not say %s: %w", command, missing, ctx.Err())
		}
	}
}

// redisCommand sends a command whose words have no spaces, and returns the answer, which is
// one line or one text.
func redisCommand(port int, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "-"):
		return "", fmt.Errorf("pgtest: %s: %s", command, line[1:])
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		text := make([]byte, max(n, 0))
		_, err = io.ReadFull(r, text)
		return string(text), err
	}

	return line, nil
}
