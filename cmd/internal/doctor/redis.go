package doctor

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const whyRedis = "Redis is a tier of the cache. Without it statements go to PostgreSQL, as without a cache."

// lookAtRedis speaks just enough of Redis' protocol to be let in and to ask for its state.
func lookAtRedis(ctx context.Context, e *exam) error {
	if e.Redis == "" {
		return nil
	}
	u, err := url.Parse(e.Redis)
	if err != nil || u.Host == "" || u.Scheme != "redis" && u.Scheme != "rediss" {
		e.add("redis", Error, "the address of Redis is not redis://host:port or rediss://host:port", whyRedis, "-redis redis://user:password@host:6379/0")
		return nil
	}
	client, err := dialRedis(ctx, u)
	if err != nil {
		e.add("redis", Error, "there is no Redis at "+u.Host, whyRedis, "the address, or bind and port in redis.conf")
		return nil
	}
	defer client.conn.Close()
	if refusal, err := client.enter(u); err != nil {
		e.add("redis", Error, u.Host+" does not answer as Redis does", whyRedis, "")
		return nil
	} else if refusal != "" {
		e.add("redis", Error, "Redis refuses: "+refusal, whyRedis, "user and password in the URL")
		return nil
	}
	memory, err := client.ask("INFO", "memory")
	if err != nil {
		e.ok("redis", u.Host+" answers")
		return nil // an ACL may forbid INFO
	}
	if field(memory, "maxmemory") != "0" && field(memory, "maxmemory_policy") == "noeviction" {
		e.add("redis", Warn, "Redis has a limit of memory and evicts nothing", "When it is full it refuses to store, and the cache stops growing.", "config set maxmemory-policy allkeys-lfu")
		return nil
	}
	e.ok("redis", u.Host+" answers")
	return nil
}

// redisClient is one connection.
type redisClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialRedis(ctx context.Context, u *url.URL) (*redisClient, error) {
	address := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	var conn net.Conn
	var err error
	if u.Scheme == "rediss" {
		conn, err = (&tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return &redisClient{conn: conn, in: bufio.NewReader(conn)}, nil
}

// enter gives the password, if there is one, and pings.
func (c *redisClient) enter(u *url.URL) (refusal string, err error) {
	steps := [][]string{{"PING"}}
	if password, given := u.User.Password(); given {
		auth := []string{"AUTH", u.User.Username(), password}
		if u.User.Username() == "" {
			auth = []string{"AUTH", password}
		}
		steps = [][]string{auth, {"PING"}}
	}
	for _, step := range steps {
		answer, err := c.ask(step...)
		var refused redisError
		switch {
		case errors.As(err, &refused):
			return string(refused), nil
		case err != nil:
			return "", err
		case step[0] == "PING" && answer != "PONG":
			return "", errors.New("no PONG")
		}
	}
	return "", nil
}

// redisError is the first word of an error that Redis answers, such as NOAUTH. The rest may
// repeat what was sent.
type redisError string

func (e redisError) Error() string { return string(e) }

func (c *redisClient) ask(words ...string) (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c.conn, out.String()); err != nil {
		return "", err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	kind, rest := line[:min(1, len(line))], line[min(1, len(line)):]
	switch kind {
	case "+":
		return rest, nil
	case "-":
		word, _, _ := strings.Cut(rest, " ")
		return "", redisError(word)
	case "$":
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 || n > 1<<20 {
			return "", errors.New("not Redis' protocol")
		}
		text := make([]byte, n+2)
		_, err = io.ReadFull(c.in, text)
		return string(text[:n]), err
	}
	return "", errors.New("not Redis' protocol")
}

// field is a line of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
