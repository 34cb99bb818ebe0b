// Command miniredis runs an imitation of Redis on the loopback, for a machine
// that has none. It is apart from the container program because it compiles in
// a tenth of the time.
package main

import (
	"context"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/lifeguard-go/lifeguard/pgtest/container/internal/serve"
)

func main() {
	serve.Until(func(context.Context) (serve.Address, func() error, error) {
		server := miniredis.NewMiniRedis()
		if err := server.StartAddr("127.0.0.1:0"); err != nil {
			return serve.Address{}, nil, err
		}
		go passTime(server)
		address := serve.Address{
			URL:    "redis://" + server.Addr() + "/0",
			Source: "miniredis (an imitation: no CLIENT TRACKING) on " + server.Addr(),
		}
		return address, func() error { server.Close(); return nil }, nil
	})
}

// passTime makes keys expire: miniredis's own clock stands still for tests that
// move it by hand, which another process cannot. It ends with the process.
func passTime(server *miniredis.Miniredis) {
	const step = 5 * time.Millisecond
	last := time.Now()
	for now := range time.Tick(step) {
		server.FastForward(now.Sub(last))
		last = now
	}
}
