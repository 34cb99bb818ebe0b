package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// deadPort returns a port of the loopback on which nobody listens.
func deadPort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // of a TCP listener
}

func TestADeadFirstHostIsPassedOver(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", deadPort(t), cc.Port)
	url := fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", cc.User, hosts, cc.Database)
	keywords := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=%s dbname=%s sslmode=disable pool_max_conns=2 lifeguard_leak_after=1m", deadPort(t), cc.Port, cc.User, cc.Database)
	for _, attrs := range []string{"any", "read-write", "primary", "prefer-standby"} {
		for _, dsn := range []string{withSettings(url, "pool_max_conns=2", "target_session_attrs="+attrs), keywords + " target_session_attrs=" + attrs} {
			if backendPID(t, openDSN(t, dsn)) == 0 {
				t.Error("no backend")
			}
		}
	}
	for _, attrs := range []string{"standby", "read-only"} {
		s := openSides(t, withSettings(url, "target_session_attrs="+attrs))
		s.same(t, attrs, func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
	}
	s := openSides(t, fmt.Sprintf("postgres://%s@127.0.0.1:%d/x?sslmode=disable", cc.User, deadPort(t)))
	s.same(t, "nobody listens", func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
	s = openSides(t, fmt.Sprintf("postgres://%s@127.0.0.1:%d/there_is_no_such_database?sslmode=disable", cc.User, cc.Port))
	s.same(t, "no such database", func(db *sql.DB) string { return showError(db.PingContext(t.Context())) })
}

func TestAPasswordFileIsReadForEachConnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passfile")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cfg := parse(t, withSettings(pgtest.DSN(t), "passfile="+file))
	var seen []string // the test opens connections one after the other
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		seen = append(seen, cc.Password)
		return nil
	}
	db := openConfig(t, cfg)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	write("second")
	held := mustConn(t, db)
	backendPID(t, held)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []string{"first", "second"}) {
		t.Errorf("the passwords were %q", seen)
	}
	c, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	if cc := c.Config().ConnConfig; cc != nil && cc.Password != "" {
		t.Error("Config shows a password")
	}
}

func TestAServiceFileIsFollowed(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "services")
	service := fmt.Sprintf("[shop]\nhost=%s\nport=%d\nuser=%s\ndbname=%s\nsslmode=disable\napplication_name=from the service\npool_max_conns=3\n", cc.Host, cc.Port, cc.User, cc.Database)
	if err := os.WriteFile(file, []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"service=shop servicefile=" + file + " lifeguard_name=mine", "postgres:///?service=shop&lifeguard_name=mine&servicefile=" + file} {
		db := openDSN(t, dsn)
		var name string
		if err := db.QueryRow("show application_name").Scan(&name); err != nil || name != "from the service" {
			t.Errorf("%q, %v", name, err)
		}
		c, err := lifeguard.FromDB(db)
		if err != nil {
			t.Fatal(err)
		}
		if cfg := c.Config(); cfg.MaxConns != 3 || cfg.Name != "mine" {
			t.Errorf("%d connections, name %q", cfg.MaxConns, cfg.Name)
		}
	}
}

func TestRegisteredConfigurationsWorkAsDSN(t *testing.T) {
	cc, err := pgx.ParseConfig(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	cc.RuntimeParams["application_name"] = "registered"
	name := stdlib.RegisterConnConfig(cc)
	for _, mode := range []string{"checkout", "session"} {
		t.Setenv("LIFEGUARD_MODE", mode)
		db := openDSN(t, name)
		var got string
		if err := db.QueryRow("show application_name").Scan(&got); err != nil || got != "registered" {
			t.Errorf("%q, %v", got, err)
		}
	}
	// ParseConfig's result serves NewConnector; hooks set on it must work or be refused.
	cfg, err := lifeguard.ParseConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	called := false
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { called = true; return nil }
	if connector, err := lifeguard.NewConnector(cfg); err == nil {
		db := sql.OpenDB(connector)
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		if !called {
			t.Error("BeforeConnect of a registered configuration is silently dropped; refuse it or call it")
		}
		mustCloseDB(t, db)
	}
	stdlib.UnregisterConnConfig(name)
	db := openDSN(t, name)
	if err := db.Ping(); err == nil {
		t.Error("an unregistered name works")
	}
}

func mustCloseDB(t testing.TB, db *sql.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
