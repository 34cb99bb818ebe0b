package pgtest

import (
	"context"
	"errors"
)

// startLocalRedis: there is no Redis for Windows whose behaviour is known here.
func startLocalRedis(context.Context, RedisOptions, string) (*RedisServer, error) {
	return nil, errors.New("not supported on Windows, use " + envRedisURL)
}
