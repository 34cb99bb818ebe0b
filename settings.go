package lifeguard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// setting describes one key of the DSN and its field in [Config].
type setting struct {
	key       string
	initial   string   // the default, as it would be written in a DSN
	shown     string   // the default as documented, where initial cannot say it
	allowed   string   // for error messages; of an enumeration its options
	options   []string // of an enumeration
	low       int64    // of a number, inclusive
	high      int64    // of a number, inclusive; 0 means no bound
	canBeOff  bool     // 0 in the DSN, -1 in the field
	word      string   // in place of a number
	wordValue int      // and what the field then is
	secret    bool     // may hold a password, so errors do not quote it
	doc       string
	field     func(*Config) any // pointer to the field
}

// Setting documents one setting: its DSN key, environment variable, default and
// meaning.
type Setting struct {
	Key     string
	Env     string
	Default string
	Allowed string
	Doc     string
}

// Settings lists every setting in the order of the documentation.
func Settings() []Setting {
	list := make([]Setting, len(settings))
	for i := range settings {
		s := &settings[i]
		list[i] = Setting{Key: s.key, Env: s.env(), Default: cmp.Or(s.shown, s.initial), Allowed: s.permits(), Doc: s.doc}
	}
	return list
}

// env is the environment variable of s: LIFEGUARD_LIMIT, LIFEGUARD_POOL_MAX_CONNS.
func (s *setting) env() string {
	return "LIFEGUARD_" + strings.ToUpper(strings.TrimPrefix(s.key, "lifeguard_"))
}

// takeSettings moves Lifeguard's keys out of params, which pgx would send to the
// server, into cfg.
func takeSettings(cfg *Config, params map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if !isSetting(key) {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if i < 0 {
			return fmt.Errorf("lifeguard: unknown setting %q; known are %s", key, knownKeys())
		}
		if err := settings[i].set(cfg, key, params[key]); err != nil {
			return err
		}
		delete(params, key)
	}
	return nil
}

// isSetting tells Lifeguard's keys, known or not, from the server's.
func isSetting(key string) bool {
	return strings.HasPrefix(key, "lifeguard_") || strings.HasPrefix(key, "pool_")
}

// readEnvironment lets set, non-empty variables override cfg.
func readEnvironment(cfg *Config, getenv func(string) string) error {
	for i := range settings {
		s := &settings[i]
		if text := getenv(s.env()); text != "" {
			if err := s.set(cfg, s.env(), text); err != nil {
				return err
			}
		}
	}
	return nil
}

func knownKeys() string {
	keys := make([]string, len(settings))
	for i := range settings {
		keys[i] = settings[i].key
	}
	return strings.Join(keys, ", ")
}

// set parses text into the field of s; source is the key or variable that it came from.
func (s *setting) set(cfg *Config, source, text string) error {
	switch field := s.field(cfg).(type) {
	case *int:
		if s.word != "" && text == s.word {
			*field = s.wordValue
			return nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || !s.inRange(int64(n)) {
			return s.invalid(source, text)
		}
		*field = n
		if n == 0 && s.canBeOff {
			*field = -1
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil || !s.inRange(int64(d)) {
			return s.invalid(source, text)
		}
		*field = d
		if d == 0 && s.canBeOff {
			*field = -1
		}
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			return s.invalid(source, text)
		}
		*field = f
		if f == 0 && s.canBeOff {
			*field = -1
		}
	case *string:
		if !s.takes(text) {
			return s.invalid(source, text)
		}
		*field = text
	case *[]string:
		names := splitTables(text)
		if _, err := sqlTables(names); err != nil {
			return s.invalid(source, text)
		}
		*field = names
	case *ByteSize:
		n, err := parseByteSize(text)
		if err != nil || !s.inRange(int64(n)) {
			return s.invalid(source, text)
		}
		*field = n
	default:
		panic(fmt.Sprintf("lifeguard: setting %s has a field of type %T", s.key, field))
	}
	return nil
}

// permits says what is allowed.
func (s *setting) permits() string {
	if s.options == nil {
		return s.allowed
	}
	last := len(s.options) - 1
	return strings.Join(s.options[:last], ", ") + " or " + s.options[last]
}

// takes reports whether a text is allowed.
func (s *setting) takes(text string) bool {
	if s.secret {
		return rediscache.CheckURL(text) == nil // the one that there is
	}
	return s.options == nil || slices.Contains(s.options, text)
}

func (s *setting) inRange(n int64) bool {
	return n >= s.low && (s.high == 0 || n <= s.high)
}

func (s *setting) invalid(source, text string) error {
	if s.secret {
		return fmt.Errorf("lifeguard: %s must be %s", source, s.allowed)
	}
	return fmt.Errorf("lifeguard: %s must be %s, not %q", source, s.permits(), text)
}

// fillDefault sets the field of s to its default if it is zero.
func (s *setting) fillDefault(cfg *Config) {
	zero := false
	switch field := s.field(cfg).(type) {
	case *int:
		zero = *field == 0
	case *time.Duration:
		zero = *field == 0
	case *float64:
		zero = *field == 0
	case *string:
		zero = *field == ""
	case *ByteSize:
		zero = *field == 0
	}
	if !zero || s.initial == "" {
		return
	}
	if err := s.set(cfg, s.key, s.initial); err != nil {
		panic(err) // the table contradicts itself
	}
}

// validate checks the fields of a Config that came from code. Zero is the default
// and -1 is off, where a setting can be off.
func (c *Config) validate() error {
	for i := range settings {
		s := &settings[i]
		valid, shown := true, ""
		switch field := s.field(c).(type) {
		case *int:
			valid = *field == 0 || *field == -1 && s.canBeOff || s.word != "" && *field == s.wordValue || s.inRange(int64(*field))
			shown = strconv.Itoa(*field)
		case *time.Duration:
			valid = *field == 0 || *field == -1 && s.canBeOff || s.inRange(int64(*field))
			shown = field.String()
		case *float64:
			valid = *field >= 0 && *field <= 1 || *field == -1 && s.canBeOff
			shown = strconv.FormatFloat(*field, 'g', -1, 64)
		case *string:
			valid = *field == "" || s.takes(*field)
			shown = *field
		case *[]string:
			_, err := sqlTables(*field)
			valid, shown = err == nil, strings.Join(*field, ",")
		case *ByteSize:
			valid = *field == 0 || s.inRange(int64(*field))
			shown = field.String()
		}
		if !valid {
			return s.invalid(s.key, shown)
		}
	}
	if err := c.validateConnConfig(); err != nil {
		return err
	}
	if low, high := max(c.MinConns, c.MinIdleConns), c.MaxConns; high > 0 && low > high {
		return fmt.Errorf("lifeguard: pool_min_conns and pool_min_idle_conns must not exceed pool_max_conns (%d), not %d", high, low)
	}
	if c.FleetBudget > 0 && c.Mode == ModeSession {
		return fmt.Errorf("lifeguard: lifeguard_fleet_budget needs lifeguard_mode=checkout: in session mode connections cannot be taken back")
	}
	if err := c.validateCache(); err != nil {
		return err
	}
	if c.MaxConns > 0 && c.Limit > c.MaxConns {
		return fmt.Errorf("lifeguard: lifeguard_limit must not exceed pool_max_conns (%d), not %d", c.MaxConns, c.Limit)
	}
	return nil
}

// initialMaxBytes is the default of lifeguard_cache_max_bytes. A smaller cache bounds it
// without a word.
const initialMaxBytes ByteSize = 1 << 20

// validateCache checks what the settings of the cache say together.
func (c *Config) validateCache() error {
	if c.Cache == CacheTTL && c.CacheTTL <= 0 {
		return errors.New("lifeguard: lifeguard_cache=ttl needs lifeguard_cache_ttl: how old a served result may be, such as 5s")
	}
	if c.Redis != "" && !c.Cache.exact() {
		return fmt.Errorf("lifeguard: lifeguard_redis needs lifeguard_cache=local or cdc, not %s", cmp.Or(c.Cache, CacheOff))
	}
	if c.CacheSize > 0 && c.CacheMaxBytes > max(c.CacheSize, initialMaxBytes) {
		return fmt.Errorf("lifeguard: lifeguard_cache_max_bytes must not exceed lifeguard_cache_size (%v), not %v", c.CacheSize, c.CacheMaxBytes)
	}
	allowed, _ := sqlTables(c.CacheTables)
	excluded, _ := sqlTables(c.CacheExclude)
	for i, table := range excluded {
		if slices.Contains(allowed, table) {
			return fmt.Errorf("lifeguard: table %s is in lifeguard_cache_tables and in lifeguard_cache_exclude", c.CacheExclude[i])
		}
	}
	return nil
}

// validateConnConfig finds what would fail only when a connection is opened.
func (c *Config) validateConnConfig() error {
	if c.ConnConfig == nil {
		return nil
	}
	if c.ConnConfig.DialFunc == nil {
		return errors.New("lifeguard: Config.ConnConfig must come from pgx.ParseConfig or lifeguard.ParseConfig")
	}
	for _, key := range slices.Sorted(maps.Keys(c.ConnConfig.RuntimeParams)) {
		if isSetting(key) {
			return fmt.Errorf("lifeguard: %s is in Config.ConnConfig, and the server would refuse it; use lifeguard.ParseConfig for a DSN with settings, not pgx.ParseConfig", key)
		}
	}
	return nil
}
