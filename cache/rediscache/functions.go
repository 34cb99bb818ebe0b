package rediscache

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// do has Redis run a script: as a function of its library, which it is given if it does not
// have it, or as a text where functions are not to be had.
func (t *Tier) do(ctx context.Context, s *script, keys []string, args []any) (any, error) {
	if t.textOnly.Load() {
		return s.text.Run(ctx, t.client, keys, args...).Result()
	}
	function := library.prefix + s.name
	answer, err := t.client.FCall(ctx, function, keys, args...).Result()
	if missing(err) {
		if refusal := t.load(ctx, keys[0]); refusal == nil {
			answer, err = t.client.FCall(ctx, function, keys, args...).Result()
		} else if noFunctions(refusal) {
			err = refusal
		}
	}
	switch {
	case noFunctions(err):
		t.textOnly.Store(true)
	case !missing(err):
		return answer, err
	}
	return s.text.Run(ctx, t.client, keys, args...).Result()
}

// missing reports whether Redis does not have the library. Then nothing was done, as with
// noFunctions.
func missing(err error) bool { return redis.HasErrorPrefix(err, "Function not found") }

// noFunctions reports whether Redis is older than 7, or does not let this user have any.
func noFunctions(err error) bool {
	return redis.HasErrorPrefix(err, "unknown command") || redis.HasErrorPrefix(err, "NOPERM") &&
		(strings.Contains(err.Error(), "'fcall'") || strings.Contains(err.Error(), "'function|load'"))
}

// load gives the library to the Redis that has a key. Where it fails, it does so each time
// that a script is run: what is in the way of it now may not be so later.
func (t *Tier) load(ctx context.Context, key string) error {
	var to redis.Cmdable = t.client
	if cluster, ok := t.client.(*redis.ClusterClient); ok {
		node, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			return err
		}
		to = node
	}
	err := to.FunctionLoad(ctx, library.text).Err()
	if redis.HasErrorPrefix(err, "Library ") { // it exists: somebody else was faster
		return nil
	}
	return err
}
