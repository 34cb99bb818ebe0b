package lifeguard

import (
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// RedisStats says what lifeguard_redis does. Counters only grow; those of Redis are of all
// pools of this process that share it for the same database, and begin anew when the last of
// them was closed.
type RedisStats struct {
	// State is where this process stands: joined, where results are shared; failing, where
	// Redis does not answer; apart, where another process uses another Redis or none; out,
	// where what this process writes cannot be announced in Redis, so that no process serves;
	// nowhere, without the connection to PostgreSQL that tells of others.
	State   string
	Breaker string // closed, half_open or open: then Redis is not asked

	Hits    uint64            // answered from Redis, and not from memory
	Lookups map[string]uint64 // by result: same, value, miss, fenced, unconfirmed, error
	Errors  map[string]uint64 // of Redis, by kind
	Fills   uint64            // results that were stored in Redis
	Read    uint64            // bytes of results that were found there
	Written uint64            // and stored

	Announced   uint64 // writes that the others heard of through Redis
	Unannounced uint64 // and by the lock in PostgreSQL alone
	Underway    int    // writes that are announced and have not ended
	Outs        uint64 // how often this process could not announce

	Trips RedisTrips
}

// RedisTrips says how long round trips to Redis took.
type RedisTrips struct {
	Count   uint64
	Sum     time.Duration
	Buckets []RedisTrip // with growing UpTo; what took longer is in Count only
}

// RedisTrip is how many round trips took no longer than UpTo.
type RedisTrip struct {
	UpTo  time.Duration
	Count uint64
}

// redisStates are the values of RedisStats.State.
//
//nolint:gochecknoglobals // a constant
var redisStates = []string{standsNowhere.String(), standsJoined.String(), standsOut.String(), failing, apart}

//nolint:gochecknoglobals // a constant
var breakerStates = []string{rediscache.Closed, rediscache.HalfOpen, rediscache.Opened}

func (q *queryCache) redisStats() *RedisStats {
	if !q.core.cfg.shares() {
		return nil
	}
	st := &RedisStats{
		State: standsNowhere.String(), Breaker: rediscache.Closed, Hits: q.counts.fromRedis.Load(),
		Lookups: make(map[string]uint64, lookResults), Errors: make(map[string]uint64),
	}
	for _, kind := range rediscache.Kinds() {
		st.Errors[kind] = 0
	}
	for i, name := range lookNames {
		st.Lookups[name] = q.counts.redis[i].Load()
	}
	s := q.shares.Load()
	if s == nil {
		return st
	}
	if now := s.counts.reported.Load(); now != nil {
		st.State = *now
	}
	of := s.tier.Stats()
	st.Breaker, st.Errors, st.Fills, st.Read, st.Written = of.Breaker, of.Errors, of.Fills, of.Read, of.Written
	st.Announced, st.Unannounced, st.Outs = s.counts.placed.Load(), s.counts.bare.Load(), s.counts.outs.Load()
	s.mu.Lock()
	st.Underway = len(s.live) + s.bare
	s.mu.Unlock()
	st.Trips = RedisTrips{Count: of.Trips.Count, Sum: of.Trips.Sum, Buckets: make([]RedisTrip, len(of.Trips.Buckets))}
	for i, b := range of.Trips.Buckets {
		st.Trips.Buckets[i] = RedisTrip(b)
	}
	return st
}
