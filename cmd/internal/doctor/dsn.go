package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard"
)

// readDSN looks at what is configured, without the server. It returns false if that cannot be
// used.
func (e *exam) readDSN() bool {
	if e.getenv == nil {
		e.getenv = os.Getenv
	}
	cfg, err := lifeguard.ParseConfig(e.DSN)
	if err != nil {
		e.add("dsn", Error, err.Error(), "lifeguard.Open returns this error.", nearest(err.Error()))
		return false
	}
	if cfg.ConnConfig == nil {
		e.add("dsn", Error, "the DSN is a name that this program does not know", "Only the process that registered it does.", "-dsn with a URL or with keyword=value")
		return false
	}
	if e.cfg, err = inForce(cfg); err != nil {
		e.add("dsn", Error, err.Error(), "lifeguard.Open returns this error.", "")
		return false
	}
	before := len(e.report.Findings)
	e.overrides()
	e.contradictions()
	e.secrets()
	if len(e.report.Findings) == before {
		e.ok("dsn", "can be read, and its settings go together")
	}
	return true
}

// errNoNeed is why the Connector that knows the defaults connects to nothing.
var errNoNeed = errors.New("no connection is needed to fill in defaults")

// inForce fills in the defaults. What is connected with stays as the DSN has it. Nothing is
// connected here: a session for lifeguard_fleet_budget would be counted as one more instance.
func inForce(cfg lifeguard.Config) (lifeguard.Config, error) {
	registry := prometheus.NewRegistry()
	asked := cfg
	asked.Registerer = registry
	asked.Logger = slog.New(slog.DiscardHandler)
	asked.ConnConfig = cfg.ConnConfig.Copy()
	asked.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, errNoNeed }
	connector, err := lifeguard.NewConnector(asked)
	if err != nil {
		return cfg, err
	}
	filled := connector.Config()
	filled.ConnConfig, filled.Logger = cfg.ConnConfig, cfg.Logger
	return filled, connector.Close()
}

// nearest suggests the setting that an unknown one was meant to be.
func nearest(text string) string {
	m := regexp.MustCompile(`unknown setting "([a-z0-9_]+)"`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	best, distance := "", 4
	for _, s := range lifeguard.Settings() {
		if d := edits(m[1], s.Key); d < distance {
			best, distance = s.Key, d
		}
	}
	if best == "" {
		return ""
	}
	return best + " in the place of " + m[1]
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// overrides finds environment variables that win over the DSN.
func (e *exam) overrides() {
	dsn := cmp.Or(e.DSN, e.getenv("LIFEGUARD_URL"), e.getenv("DATABASE_URL"))
	raw, err := pgx.ParseConfig(dsn)
	if err != nil {
		return // readDSN has parsed it already
	}
	for _, s := range lifeguard.Settings() {
		inDSN, there := raw.RuntimeParams[s.Key]
		if inEnv := e.getenv(s.Env); there && inEnv != "" && inEnv != inDSN {
			e.add(
				"dsn", Warn, fmt.Sprintf("%s=%s overrides %s=%s of the DSN", s.Env, inEnv, s.Key, inDSN),
				"Whoever reads the DSN believes something else than what is in force.", "unset "+s.Env,
			)
		}
	}
}

// contradictions finds settings that are allowed and cannot do what they say.
func (e *exam) contradictions() {
	c := &e.cfg
	switch {
	case c.Limit > 0 && c.Limit < c.MaxConns:
		e.add(
			"dsn", Note, fmt.Sprintf("lifeguard_limit is %d and pool_max_conns %d: %d of the connections are spare", c.Limit, c.MaxConns, c.MaxConns-c.Limit),
			"They serve only while others are being closed or cleaned up.", fmt.Sprintf("pool_max_conns=%d", c.Limit),
		)
	case c.FleetBudget > 0 && c.MaxConns > c.FleetBudget:
		e.add(
			"dsn", Note, fmt.Sprintf("pool_max_conns is %d and lifeguard_fleet_budget only %d", c.MaxConns, c.FleetBudget),
			"No instance can ever have that many.", fmt.Sprintf("pool_max_conns=%d", c.FleetBudget),
		)
	}
	if c.QueueTarget > 0 && c.QueueTimeout > 0 && c.QueueTarget >= c.QueueTimeout {
		e.add(
			"dsn", Warn, fmt.Sprintf("lifeguard_queue_target (%s) is not below lifeguard_queue_timeout (%s)", c.QueueTarget, c.QueueTimeout),
			"Callers are refused by the timeout before the queue can shed.", "lifeguard_queue_target=20ms",
		)
	}
	if c.Queue < 0 {
		e.add("dsn", Note, "lifeguard_queue is 0: nobody waits", "Each statement beyond the limit is refused at once.", "lifeguard_queue with 4 × limit")
	}
	e.cacheSettings()
	if c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout.Minutes() >= 2 {
		e.add(
			"dsn", Note, "connect_timeout is not set: opening a connection may take two minutes",
			"A server that is gone without a word (a failover, a firewall) holds a slot for that long.", "connect_timeout=5",
		)
	}
}

// cached tells whether results are kept.
func (e *exam) cached() bool { return e.cfg.Cache != lifeguard.CacheOff }

func (e *exam) cacheSettings() {
	c := &e.cfg
	if !e.cached() {
		return
	}
	mode := c.ConnConfig.DefaultQueryExecMode
	if mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		e.add(
			"cache", Warn, fmt.Sprintf("lifeguard_cache=%s has no effect with default_query_exec_mode=%s", c.Cache, execMode(mode)),
			"Results of these modes have no types that are known beforehand, and are not kept.", "leave default_query_exec_mode out, or lifeguard_cache=off",
		)
	}
	if c.Cache == lifeguard.CacheTTL {
		e.add("cache", Note, "lifeguard_cache=ttl serves results that may be "+c.CacheTTL.String()+" old", "That includes the reader's own writes.", "lifeguard_cache=local, if only this pool writes")
	}
	if c.Cache == lifeguard.CacheLocal && e.Instances > 1 {
		e.add(
			"cache", Error, fmt.Sprintf("lifeguard_cache=local with %d instances that write", e.Instances),
			"An instance does not notice what another one writes, and serves what was true before.",
			"lifeguard_cache=cdc, or off, or ttl with an age that the application can bear",
		)
	}
}

func execMode(mode pgx.QueryExecMode) string {
	names := map[pgx.QueryExecMode]string{
		pgx.QueryExecModeCacheStatement: "cache_statement", pgx.QueryExecModeCacheDescribe: "cache_describe",
		pgx.QueryExecModeDescribeExec: "describe_exec", pgx.QueryExecModeExec: "exec", pgx.QueryExecModeSimpleProtocol: "simple_protocol",
	}
	return names[mode]
}

// secrets says where a password should not stand. The DSN itself is never shown.
func (e *exam) secrets() {
	dsn := cmp.Or(e.DSN, e.getenv("LIFEGUARD_URL"), e.getenv("DATABASE_URL"))
	inURL := regexp.MustCompile(`^postgres(ql)?://[^/@?]*:[^/@?]+@`).MatchString(dsn)
	inWords := slices.ContainsFunc(strings.Fields(dsn), func(w string) bool { return strings.HasPrefix(w, "password=") })
	if inURL || inWords || strings.Contains(dsn, "?password=") || strings.Contains(dsn, "&password=") {
		e.add(
			"dsn", Note, "the password stands in the DSN",
			"It is then in configurations, process lists and crash reports. Lifeguard never shows it; others may.",
			"passfile=/path/to/pgpass, or Config.BeforeConnect, which also serve rotated passwords",
		)
	}
}
