package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// redisFor starts a Redis for an example.
func redisFor(ctx context.Context) *pgtest.RedisServer {
	server, err := pgtest.StartRedis(ctx, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}})
	if err != nil {
		panic(err)
	}
	return server
}

// watch is what somebody does as long as results are to be served, who has seen before each
// time that there is no writer who announces nothing.
func watch(ctx context.Context, s *rediscache.Space) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if seen, err := s.Watch(ctx, 0, false); err == nil {
			_, _ = s.Watch(ctx, seen.Moment+rediscache.Watch.Milliseconds(), false)
		}
		<-tick.C
	}
}

// The life of a result that processes share: a proof is asked for before its query is sent, and
// again whenever it might be served. A writer keeps everybody away until his outcome is known.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server := redisFor(ctx)
	defer func() { _ = server.Stop() }()
	tier, err := rediscache.Open(server.URL(), rediscache.Options{Budget: 10 * time.Second, Linger: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tier.Close()
	shop := tier.Space("shop")
	fmt.Println("at", shop.Home())
	go watch(ctx, shop)

	const pets = 16384
	q := rediscache.Question{Key: []byte("select name from pets"), Relations: []uint32{pets}, Value: true}
	answer, err := shop.Look(ctx, q)
	for err == nil && answer.State == rediscache.Unconfirmed { // for Linger, as nobody has watched before
		<-time.After(10 * time.Millisecond)
		answer, err = shop.Look(ctx, q)
	}
	fmt.Println("first:", answer.State, err) // then the query is sent
	if err := shop.Fill(ctx, q, answer, []byte("Rex")); err != nil {
		fmt.Println(err)
	}
	answer, err = shop.Look(ctx, q)
	fmt.Println("then:", answer.State, string(answer.Value), err)
	q.Have = answer.Proof
	answer, err = shop.Look(ctx, q)
	fmt.Println("who has it in memory:", answer.State, err)

	intent, err := shop.Place(ctx, rediscache.Writes{Relations: []uint32{pets}, Catalog: answer.Catalog}) // then COMMIT is sent
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err = shop.Look(ctx, q)
	fmt.Println("during a commit:", answer.State, err)
	if _, err := shop.Renew(ctx, []*rediscache.Intent{intent}); err != nil { // while it takes long
		fmt.Println(err)
	}
	if _, err := intent.Bump(ctx); err != nil { // or Lower, if it was rolled back
		fmt.Println(err)
	}
	answer, err = shop.Look(ctx, q)
	fmt.Println("after it:", answer.State, err)
	fmt.Println("values that were stored:", tier.Stats().Fills)
	// Output:
	// at 0{lg1:shop}
	// first: miss <nil>
	// then: value Rex <nil>
	// who has it in memory: same <nil>
	// during a commit: fenced <nil>
	// after it: miss <nil>
	// values that were stored: 1
}

// An intent of what was not committed ends nothing.
func ExampleIntent() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server := redisFor(ctx)
	defer func() { _ = server.Stop() }()
	tier, err := rediscache.Open(server.URL(), rediscache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tier.Close()
	shop := tier.Space("shop")
	seen, err := shop.Watch(ctx, 0, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	intent, err := shop.Place(ctx, rediscache.Writes{Relations: []uint32{16384}, Catalog: seen.Catalog})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("of the same Redis:", intent.Server == seen.Server, "widened:", intent.Widened)
	catalog, err := intent.Lower(ctx)
	fmt.Println("the catalog is as it was:", catalog == intent.Catalog, err)
	// Output:
	// of the same Redis: true widened: false
	// the catalog is as it was: true <nil>
}

// What a Redis says of itself tells whether it is fit.
func ExampleInspect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server := redisFor(ctx)
	defer func() { _ = server.Stop() }()
	facts, err := rediscache.Inspect(ctx, server.URL())
	fmt.Println(facts.Role, facts.Policy, facts.MaxMemory, err)
	// Output: master noeviction 0 <nil>
}

// A URL may be shown in parts only.
func ExampleWhere() {
	fmt.Println(rediscache.Where("redis+sentinel://:secret@a:26379,b:26379/mymaster/2"))
	fmt.Println(rediscache.CheckURL("redis+sentinel://:secret@a:26379"))
	// Output:
	// a:26379,b:26379
	// the URL of Redis must be redis://[user:password@]host[:port][/db], rediss:// the same over TLS, redis+sentinel://host:port,host:port/master[/db] or redis+cluster://host:port,host:port
}

// Errors of Redis are counted by what they mean to whoever keeps it running.
func ExampleKind() {
	fmt.Println(rediscache.Kind(context.DeadlineExceeded))
	fmt.Println(rediscache.Kind(errors.New("NOAUTH Authentication required")))
	fmt.Println(rediscache.Kind(rediscache.ErrResting))
	fmt.Println(rediscache.Kinds())
	// Output:
	// timeout
	// auth
	// resting
	// [timeout network auth readonly full loading damaged format other]
}
