package pgtest

import (
	"context"
	"errors"
)

var errNoRedis = errors.New("not supported on Windows")

func startSentinel(context.Context) (*RedisSentinel, []func() error, error) {
	return nil, nil, notFound(context.Background(), "Redis", "", "", nil, errNoRedis)
}

func startCluster(context.Context) ([]string, []func() error, error) {
	return nil, nil, notFound(context.Background(), "Redis", "", "", nil, errNoRedis)
}
