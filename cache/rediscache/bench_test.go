package rediscache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// BenchmarkALookUp is one that confirms what the caller has, one that finds a value, and a GET
// of a value as long. "server-µs" is what Redis itself says that the command takes of it.
func BenchmarkALookUp(b *testing.B) {
	url := pgtest.NewRedis(b, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}}).URL()
	o, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	raw := redis.NewClient(o)
	b.Cleanup(func() { _ = raw.Close() })
	tier, err := rediscache.Open(url, rediscache.Options{Budget: patient, Linger: time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tier.Close() })
	s := tier.Space("a server/5")
	watch := func() {
		if seen, err := s.Watch(b.Context(), 0, false); err != nil {
			b.Fatal(err)
		} else if _, err = s.Watch(b.Context(), seen.Moment+rediscache.Watch.Milliseconds(), false); err != nil {
			b.Fatal(err)
		}
	}
	q := rediscache.Question{Key: []byte("pets"), Relations: []uint32{16384}, Value: true}
	payload := strings.Repeat("x", 350)
	if err := raw.Set(b.Context(), "bare", payload, 0).Err(); err != nil {
		b.Fatal(err)
	}
	for _, want := range []rediscache.State{"GET", rediscache.Same, rediscache.Found} {
		b.Run(string(want), func(b *testing.B) {
			watched := time.Time{}
			if err := raw.ConfigResetStat(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
			q.Have = ""
			b.ReportAllocs()
			for b.Loop() {
				if want == "GET" {
					if err := raw.Get(b.Context(), "bare").Err(); err != nil {
						b.Fatal(err)
					}
					continue
				}
				if time.Since(watched) > 200*time.Millisecond {
					watched = time.Now()
					watch()
				}
				switch a, err := s.Look(b.Context(), q); {
				case err != nil:
					b.Fatal(err)
				case a.State == rediscache.Miss:
					if err := s.Fill(b.Context(), q, a, []byte(payload)); err != nil {
						b.Fatal(err)
					}
				case a.State == rediscache.Found && want == rediscache.Same:
					q.Have = a.Proof
				}
			}
			for line := range strings.Lines(raw.Info(b.Context(), "commandstats").Val()) {
				name, rest, _ := strings.Cut(line, ":")
				if command := strings.TrimPrefix(name, "cmdstat_"); command == "fcall" || command == "evalsha" || command == "get" && want == "GET" {
					b.ReportMetric(perCall(rest), "server-µs")
				}
			}
		})
	}
}
