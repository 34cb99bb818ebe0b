package rediscache

import (
	"context"
	"strconv"
	"strings"

	"github.com/lifeguard-go/lifeguard/internal/redisurl"
)

// Facts are what Redis says of itself. What an ACL keeps it from saying is zero.
type Facts struct {
	Version   string
	Role      string // master, or slave
	Policy    string // maxmemory-policy
	MaxMemory int64  // bytes; 0 for no limit
}

// Inspect asks a Redis, or one node of a cluster, that it connects to for the purpose.
func Inspect(ctx context.Context, url string) (Facts, error) {
	open, err := redisurl.Dialer(url)
	if err != nil {
		return Facts{}, err
	}
	client := open()
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return Facts{}, err
	}
	var f Facts
	for _, section := range []string{"server", "replication", "memory"} {
		text, err := client.Info(ctx, section).Result()
		if err != nil {
			return f, nil // an ACL may forbid it
		}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch name {
			case "redis_version":
				f.Version = value
			case "role":
				f.Role = value
			case "maxmemory_policy":
				f.Policy = value
			case "maxmemory":
				f.MaxMemory, _ = strconv.ParseInt(value, 10, 64)
			}
		}
	}
	return f, nil
}

// Where names the hosts of a URL, and nothing else of it.
func Where(url string) string { return redisurl.Where(url) }

// CheckURL reports whether Open takes a URL. Its error names no part of it.
func CheckURL(text string) error {
	_, err := redisurl.Dialer(text)
	return err
}
