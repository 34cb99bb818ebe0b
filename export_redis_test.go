package lifeguard

import "time"

// ShareBriefly makes what Redis forgets be forgotten soon, and waits for it long.
func ShareBriefly(cfg *Config, linger time.Duration) {
	cfg.redisLinger, cfg.redisBudget = linger, 10*time.Second
}
