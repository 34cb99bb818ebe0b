package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

const whyRelay = "The processes without a replication slot hear of changes through Redis. While they do not, all their queries go to the server."

const whyRedis = "Processes share cached results through Redis. A process that cannot reach it reads from PostgreSQL; and as soon as it writes, all others do."

// lookAtRedis looks at the Redis of the DSN's lifeguard_redis, or at another one that was
// asked for. Whether it persists anything does not matter: what a restart brings back is
// recognized as old, and forgotten.
func lookAtRedis(ctx context.Context, e *exam) error {
	url, why := cmp.Or(e.Redis, e.cfg.Redis), whyRedis
	if e.cdc() {
		why = whyRelay
	}
	if url == "" {
		return nil
	}
	if rediscache.CheckURL(url) != nil {
		e.add("redis", Error, "the address of Redis is not redis://host:port, nor a relative of it", why,
			"redis://user:password@host:6379/0, rediss:// over TLS, redis+sentinel://host,host/master or redis+cluster://host,host")
		return nil //nolint:nilerr // reported
	}
	where := rediscache.Where(url)
	facts, err := rediscache.Inspect(ctx, url)
	if err != nil {
		what, fix := where+" does not answer as Redis does", ""
		switch rediscache.Kind(err) {
		case "auth":
			word, _, _ := strings.Cut(err.Error(), " ") // the rest may repeat what was sent
			what, fix = "Redis refuses: "+word, "user and password in the URL"
		case "network", "timeout":
			what, fix = "there is no Redis at "+where, "the address, or bind and port in redis.conf"
		}
		e.add("redis", Error, what, why, fix)
		return nil
	}
	e.judgeRedis(where, &facts)
	return nil
}

func (e *exam) judgeRedis(where string, f *rediscache.Facts) {
	why := whyRedis
	if e.cdc() {
		why = whyRelay
	}
	major, _, _ := strings.Cut(f.Version, ".")
	version, _ := strconv.Atoi(major)
	random := strings.HasSuffix(f.Policy, "-random") && !e.cdc()
	switch {
	case f.Role == "slave":
		e.add("redis", Error, where+" is a replica", "Nothing can be written there. "+why, "the master's address, or redis+sentinel://")
	case version > 0 && version < 5:
		e.add("redis", Error, "Redis is of version "+f.Version, "Its scripts may not ask for the time before they write.", "Redis 5 or later")
	case f.MaxMemory > 0 && f.Policy == "noeviction" && !e.cdc():
		e.add("redis", Warn, "Redis has a limit of memory and evicts nothing",
			"When it is full nothing can be stored, nor announced: as soon as somebody writes, no process serves results any more.", "config set maxmemory-policy allkeys-lfu")
	case f.MaxMemory > 0 && random:
		e.add("redis", Warn, "Redis evicts by chance",
			"Each time that it hits what processes have announced, everything is forgotten, and nothing is served for six seconds.", "config set maxmemory-policy allkeys-lfu")
	default:
		e.ok("redis", where+" answers")
	}
	if e.cdc() && e.cfg.Redis != "" {
		what := fmt.Sprintf("the first %s have a replication slot; all others hear of changes through %s", plural(e.cfg.CDCSlots, "instance"), where)
		if e.Instances > 0 {
			what = fmt.Sprintf("%d of %s use a replication slot (lifeguard_cdc_slots=%d); %d hear of changes through %s",
				e.slotted(), plural(e.Instances, "instance"), e.cfg.CDCSlots, e.Instances-e.slotted(), where)
		}
		e.ok("cdc.relay", what)
	}
}
