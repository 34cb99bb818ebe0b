package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

func TestSettingsComeFromTheDSNInEveryForm(t *testing.T) {
	service := filepath.Join(t.TempDir(), "services")
	text := "[shop]\nhost=db.example\ndbname=shop\nuser=u\n"
	if err := os.WriteFile(service, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dsn := range map[string]string{
		"URL":         "postgres://u@db.example:5433/shop?pool_max_conns=3&lifeguard_queue_timeout=2s&lifeguard_mode=session",
		"hosts":       "postgres://u@a.example:1,b.example:2/shop?pool_max_conns=3&lifeguard_queue_timeout=2s&lifeguard_mode=session",
		"key=value":   "host=db.example dbname=shop user=u pool_max_conns=3 lifeguard_queue_timeout=2s lifeguard_mode=session",
		"service":     "service=shop servicefile=" + service + " pool_max_conns=3 lifeguard_queue_timeout=2s lifeguard_mode=session",
		"unix socket": "host=/run/postgresql dbname=shop user=u pool_max_conns=3 lifeguard_queue_timeout=2s lifeguard_mode=session",
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := lifeguard.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.MaxConns != 3 || cfg.QueueTimeout != 2*time.Second || cfg.Mode != lifeguard.ModeSession || cfg.ConnConfig.Database != "shop" {
				t.Errorf("%+v", cfg)
			}
			for key := range cfg.ConnConfig.RuntimeParams {
				if strings.HasPrefix(key, "pool_") || strings.HasPrefix(key, "lifeguard_") {
					t.Errorf("%s would be sent to the server", key)
				}
			}
		})
	}
}

func TestTheEnvironmentOverridesTheDSN(t *testing.T) {
	t.Setenv("LIFEGUARD_QUEUE_TIMEOUT", "7s")
	t.Setenv("LIFEGUARD_POOL_MAX_CONNS", "21")
	cfg, err := lifeguard.ParseConfig("postgres://u@h/db?lifeguard_queue_timeout=2s&pool_max_conns=3&lifeguard_queue=5")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.QueueTimeout != 7*time.Second || cfg.MaxConns != 21 || cfg.Queue != 5 {
		t.Errorf("timeout %v, conns %d, queue %d", cfg.QueueTimeout, cfg.MaxConns, cfg.Queue)
	}
	t.Setenv("LIFEGUARD_QUEUE_TIMEOUT", "soon")
	_, err = lifeguard.ParseConfig("postgres://u@h/db")
	if err == nil || !strings.Contains(err.Error(), "LIFEGUARD_QUEUE_TIMEOUT") || !strings.Contains(err.Error(), "soon") {
		t.Errorf("error is %v", err)
	}
	cfg.QueueTimeout = time.Second
	c, err := lifeguard.NewConnector(cfg) // reads no environment
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Config().QueueTimeout; got != time.Second {
		t.Errorf("NewConnector has a queue time-out of %v", got)
	}
}

func TestAnEmptyDSNComesFromTheEnvironment(t *testing.T) {
	t.Setenv("PGDATABASE", "third")
	check := func(want string) {
		t.Helper()
		cfg, err := lifeguard.ParseConfig("")
		if err != nil || cfg.ConnConfig.Database != want {
			t.Errorf("%v, want database %s", err, want)
		}
	}
	check("third")
	t.Setenv("DATABASE_URL", "postgres://u@h/second")
	check("second")
	t.Setenv("LIFEGUARD_URL", "postgres://u@h/first")
	check("first")
}

func TestZeroIsTheDefaultAndMinusOneIsOff(t *testing.T) {
	parsed, err := lifeguard.ParseConfig("postgres://u@h/shop")
	if err != nil {
		t.Fatal(err)
	}
	c, err := lifeguard.NewConnector(parsed)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := c.Config()
	if cfg.MaxConns != 10 || cfg.Limit != 10 || cfg.QueueTimeout != 30*time.Second || cfg.MaxConnLifetime != time.Hour ||
		cfg.Mode != lifeguard.ModeCheckout || cfg.Cancel != lifeguard.CancelClose || cfg.Name != "shop" {
		t.Errorf("defaults are %+v", cfg)
	}
	off, err := lifeguard.ParseConfig("postgres://u@h/shop?lifeguard_queue=0&lifeguard_queue_timeout=0&pool_max_conn_lifetime=0")
	if err != nil {
		t.Fatal(err)
	}
	if off.Queue != -1 || off.QueueTimeout != -1 || off.MaxConnLifetime != -1 {
		t.Errorf("0 in a DSN gives %d, %d, %d", off.Queue, off.QueueTimeout, off.MaxConnLifetime)
	}
	off.Limit, off.MaxConns = 4, 0
	if c2, err := lifeguard.NewConnector(off); err != nil {
		t.Error(err)
	} else {
		_ = c2.Close()
	}
}

func TestBadSettingsAreNamedWithWhatIsAllowed(t *testing.T) {
	for setting, want := range map[string][]string{
		"lifeguard_lmit=5":                    {"lifeguard_lmit", "lifeguard_limit"},
		"pool_max_connections=5":              {"pool_max_connections", "pool_max_conns"},
		"pool_max_conns=0":                    {"pool_max_conns", "from 1"},
		"pool_max_conns=-3":                   {"pool_max_conns", "-3"},
		"pool_max_conns=many":                 {"pool_max_conns", "many"},
		"pool_max_conns=99999999999999999999": {"pool_max_conns", "integer"},
		"lifeguard_queue=-1":                  {"lifeguard_queue", "-1"},
		"lifeguard_queue_timeout=30":          {"lifeguard_queue_timeout", "duration"},
		"lifeguard_queue_timeout=-2s":         {"lifeguard_queue_timeout", "-2s"},
		"lifeguard_tx_share=1.5":              {"lifeguard_tx_share", "1.5"},
		"lifeguard_tx_share=NaN":              {"lifeguard_tx_share", "NaN"},
		"lifeguard_mode=transaction":          {"lifeguard_mode", "checkout or session"},
		"lifeguard_cancel=maybe":              {"lifeguard_cancel", "close or keep"},
		"lifeguard_limit=20&pool_max_conns=4": {"lifeguard_limit", "20", "4"},
		"pool_min_conns=20&pool_max_conns=4":  {"pool_min_conns", "20", "4"},
		"pool_health_check_period=1ns":        {"pool_health_check_period", "10ms"},
		"default_query_exec_mode=fast":        {"default_query_exec_mode", "simple_protocol"},
		"target_session_attrs=best":           {"target_session_attrs", "read-write"},
		"sslmode=maybe":                       {"sslmode", "verify-full"},
		"lifeguard_limit":                     {"key=value pairs"},
	} {
		t.Run(setting, func(t *testing.T) {
			dsn := "postgres://u:hunter2@127.0.0.1:1/db?" + setting
			_, err := lifeguard.ParseConfig(dsn)
			checkError(t, err, want)
			db, openErr := sql.Open(lifeguard.DriverName, dsn)
			if openErr != nil {
				t.Fatalf("sql.Open must leave errors to the first use: %v", openErr)
			}
			defer db.Close()
			checkError(t, db.PingContext(t.Context()), want)
			if _, err := lifeguard.FromDB(db); err == nil {
				t.Error("FromDB accepts the DSN")
			}
			if _, err := lifeguard.Open(dsn); err == nil {
				t.Error("Open accepts the DSN")
			}
		})
	}
}

func checkError(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range want {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not mention %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is in %q", err)
	}
}

func TestBadConfigFieldsAreNamed(t *testing.T) {
	parsed, err := lifeguard.ParseConfig("postgres://u@h/shop")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*lifeguard.Config){
		"pool_max_conns":          func(c *lifeguard.Config) { c.MaxConns = -1 },
		"lifeguard_queue_timeout": func(c *lifeguard.Config) { c.QueueTimeout = -5 },
		"lifeguard_mode":          func(c *lifeguard.Config) { c.Mode = "x" },
		"lifeguard_tx_share":      func(c *lifeguard.Config) { c.TxShare = 2 },
		"lifeguard_limit":         func(c *lifeguard.Config) { c.Limit = 11 }, // above the default of pool_max_conns
		"pgx.ParseConfig":         func(c *lifeguard.Config) { c.ConnConfig = &pgx.ConnConfig{} },
		"ConnConfig":              func(c *lifeguard.Config) { c.ConnConfig = nil },
		"lifeguard_limit is in Config.ConnConfig": func(c *lifeguard.Config) {
			c.ConnConfig, err = pgx.ParseConfig("postgres://u@h/shop?lifeguard_limit=5")
			if err != nil {
				t.Fatal(err)
			}
		},
		"pool_max_conns is in Config.ConnConfig": func(c *lifeguard.Config) {
			c.ConnConfig, err = pgx.ParseConfig("postgres://u@h/shop?pool_max_conns=5")
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parsed
			change(&cfg)
			_, err := lifeguard.NewConnector(cfg)
			checkError(t, err, []string{name})
		})
	}
}

func TestADSNErrorKeepsItsTypeAndDropsTheDSN(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:hun/ter2@h/db", "postgres://u:hunter2@h:port/db", "host=h password=hunter2 port=x",
		"password='hunter2", "postgres://u:hunter2@[::1/db", "hunter2://hunter2:hunter2@h", "postgres://u:hunter2@h/db?sslmode=hunter2",
		"postgres://h/db?password=hunter2&connect_timeout=hunter2",
	} {
		_, err := lifeguard.ParseConfig(dsn)
		if err == nil {
			t.Errorf("%q is accepted", dsn)
			continue
		}
		var parseErr *pgconn.ParseConfigError
		if !errors.As(err, &parseErr) {
			t.Errorf("%q gives a %T", dsn, err)
			continue
		}
		for _, text := range []string{err.Error(), parseErr.ConnString} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, "ter2") {
				t.Errorf("%q shows the password: %q", dsn, text)
			}
		}
	}
}

func FuzzParseConfigNeverPanicsAndNeverShowsAPassword(f *testing.F) {
	for _, s := range []string{"", "::::", "postgres://", "postgres://u:%s@h/db?x=%s", "host=%s password=%s", "service=%s", "%s", "postgres://u:%s@h:%s/d?pool_max_conns=%s"} {
		f.Add(s)
	}
	const password = "s3cr3t-Passw0rd"
	f.Fuzz(func(t *testing.T, shape string) {
		dsn := strings.ReplaceAll(shape, "%s", password)
		if strings.Contains(dsn, "lifeguard_") || strings.Contains(dsn, "pool_") {
			return // a bad value of a setting is shown on purpose; it is no secret
		}
		_, err := lifeguard.ParseConfig(dsn)
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%q", err)
		}
	})
}

func TestARotatedPasswordIsReadForEachConnection(t *testing.T) {
	passfile := filepath.Join(t.TempDir(), "pgpass")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(passfile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cfg, err := lifeguard.ParseConfig("postgres://u@127.0.0.1:1/db?sslmode=disable&passfile=" + passfile)
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	refuse := errors.New("not today")
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		seen = c.Password
		return refuse
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	for _, password := range []string{"first", "second"} {
		write(password)
		if err := db.PingContext(t.Context()); !errors.Is(err, refuse) {
			t.Fatalf("the hook's error became %v", err)
		}
		if seen != password {
			t.Errorf("connected with %q, the file has %q", seen, password)
		}
	}
}
