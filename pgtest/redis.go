package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// RedisOptions says which Redis a test needs. Zero is a good default.
type RedisOptions struct {
	// Settings are directives of redis.conf by name, for example
	// {"maxmemory": "2mb", "maxmemory-policy": "allkeys-lru"}. With any, the Redis
	// of LIFEGUARD_TEST_REDIS_URL and miniredis are passed over: the one belongs
	// to others, the other has no settings.
	Settings map[string]string

	// Log receives what redis-server writes to its log.
	Log io.Writer
}

// RedisServer is a Redis for tests. Its methods may be called concurrently.
type RedisServer struct {
	url      string
	source   string
	emulated bool
	stop     func() error
}

// StartRedis finds a Redis, starts it unless it runs already, and returns when it
// answers. It is looked for in this order: LIFEGUARD_TEST_REDIS_URL; redis-server
// or valkey-server on PATH, started without persistence on a free port of the
// loopback; a container; miniredis, an imitation in Go. The last two are started
// as the package documentation describes.
//
// ctx bounds the start only. The error is a *NotFoundError when there is none.
func StartRedis(ctx context.Context, opts RedisOptions) (*RedisServer, error) {
	var looked []string
	if foreign := os.Getenv(envRedisURL); foreign != "" && len(opts.Settings) == 0 {
		return openForeignRedis(ctx, foreign)
	}

	for _, name := range []string{"redis-server", "valkey-server"} {
		program, err := exec.LookPath(name)
		if err != nil {
			looked = append(looked, "no "+name+" on PATH")
			continue
		}
		s, err := startLocalRedis(ctx, opts, program)
		if err != nil {
			return nil, fmt.Errorf("pgtest: start %s: %w", program, err)
		}
		return s, nil
	}

	h, err := startContainer(ctx, "redis", settingArgs(opts.Settings)...)
	if err == nil {
		return h.redis(false), nil
	}
	if len(opts.Settings) == 0 {
		looked = append(looked, err.Error())
		if h, err = startHelper(ctx, "./miniredis"); err == nil {
			return h.redis(true), nil
		}
		err = fmt.Errorf("miniredis: %w", err)
	}
	remedy := "Install Redis (" + install("redis", "redis", "Redis.Redis") + "; it need not run), or set " + envRedisURL

	return nil, notFound(ctx, "Redis", remedy, unset(envRedisURL), looked, err)
}

func (h *helper) redis(emulated bool) *RedisServer {
	return &RedisServer{url: h.url, source: h.source, emulated: emulated, stop: sync.OnceValue(h.stop)}
}

// openForeignRedis only looks whether somebody listens: the client that the test
// brings knows more about passwords and TLS.
func openForeignRedis(ctx context.Context, text string) (*RedisServer, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, errors.New("pgtest: " + envRedisURL + " is not the URL of a Redis") // no quote: it may hold a password
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "6379")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %s: %w", envRedisURL, err)
	}
	conn.Close()

	return &RedisServer{
		url:    text,
		source: "Redis at " + address + ", from " + envRedisURL,
		stop:   func() error { return nil },
	}, nil
}

// URL returns the redis:// URL of the server.
func (s *RedisServer) URL() string { return s.url }

// Source tells a human which Redis was found, and where. It holds no secret.
func (s *RedisServer) Source() string { return s.source }

// Emulated reports whether this is miniredis and not a Redis. It has the commands
// of a cache, Lua, pub/sub and expiry included, but neither CLIENT TRACKING nor a
// limit of memory with its eviction.
func (s *RedisServer) Emulated() bool { return s.emulated }

// Stop ends the server, unless it is that of LIFEGUARD_TEST_REDIS_URL. A second
// Stop does nothing.
func (s *RedisServer) Stop() error { return s.stop() }

// NewRedis starts a Redis for this test, which ends with it. Without one the test
// is skipped, or fails when CI or LIFEGUARD_REQUIRE_PG=1 is set.
func NewRedis(t testing.TB, opts RedisOptions) *RedisServer {
	t.Helper()
	return startFor(t, func(ctx context.Context) (*RedisServer, error) { return StartRedis(ctx, opts) })
}

// Redis returns the URL of a Redis for this test: an empty one of its own, except
// with LIFEGUARD_TEST_REDIS_URL, whose Redis all tests share. A test that may
// meet that one uses keys of its own.
func Redis(t testing.TB) string {
	t.Helper()

	return NewRedis(t, RedisOptions{}).URL()
}
