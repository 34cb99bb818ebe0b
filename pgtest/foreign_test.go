package pgtest

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
)

// foreign makes s the server of LIFEGUARD_TEST_DSN.
func foreign(t *testing.T, s *Server) {
	t.Helper()
	u, err := url.Parse(s.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("postgres", "sesame-open")
	t.Setenv(envDSN, u.String())
}

func TestAForeignServerIsUsedAndLeftRunning(t *testing.T) {
	owner := NewServer(t, Options{})
	foreign(t, owner)
	before := query1(t, owner.DSN(""), "SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database")

	s, err := Start(t.Context(), Options{Template: func(context.Context, string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if s.Managed() || s.Version() != owner.Version() {
		t.Error(s.Managed(), s.Version())
	}
	if !strings.Contains(s.Source(), envDSN) || strings.Contains(s.Source(), "sesame") {
		t.Error(s.Source())
	}
	dsn, drop, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := query1(t, dsn, "SELECT current_database()")
	if got := query1(t, owner.DSN(""), "SELECT count(*)::text FROM pg_database WHERE datname = '"+name+"'"); got != "1" {
		t.Errorf("the database %s is not on the foreign server", name)
	}
	if err := s.Restart(t.Context(), Fast); !errors.Is(err, ErrNotManaged) {
		t.Errorf("Restart: %v", err)
	}
	if err := s.Kill(); !errors.Is(err, ErrNotManaged) {
		t.Errorf("Kill: %v", err)
	}

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := drop(t.Context()); err != nil {
		t.Error(err)
	}
	after := query1(t, owner.DSN(""), "SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database")
	if after != before {
		t.Errorf("databases before: %s, after: %s", before, after)
	}
}

func TestAForeignServerNeedsTheSettings(t *testing.T) {
	owner := NewServer(t, Options{Settings: map[string]string{"work_mem": "2GB", "wal_level": "logical"}})
	foreign(t, owner)
	for _, c := range []struct {
		name string
		opts Options
		want *SettingError
	}{
		{"equal", Options{Settings: map[string]string{"WAL_level": "LOGICAL", "max_connections": "100"}}, nil},
		{"equal size", Options{Settings: map[string]string{"work_mem": "2048MB"}}, nil},
		{"equal boolean", Options{Settings: map[string]string{"fsync": "false"}}, nil},
		{"other", Options{Settings: map[string]string{"max_connections": "7"}}, &SettingError{"max_connections", "7", "100"}},
		{"other size", Options{Settings: map[string]string{"work_mem": "2047MB"}}, &SettingError{"work_mem", "2047MB", "2GB"}},
		{"unknown", Options{Settings: map[string]string{"no_such": "1"}}, &SettingError{"no_such", "1", "(unknown setting)"}},
		{"durable", Options{Durable: true}, &SettingError{"fsync", "on", "off"}},
	} {
		s, err := Start(t.Context(), c.opts)
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			continue
		}
		var got *SettingError
		if !errors.As(err, &got) || *got != *c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAPasswordIsNeverPrinted(t *testing.T) {
	for _, dsn := range []string{
		"postgres://me:sesame@127.0.0.1:1/db?sslmode=disable",
		"postgres://me:sesame@127.0.0.1:port/db",
		"postgres://me:ses%zzame@127.0.0.1:1/db",
		"host=127.0.0.1 port=1 user=me password=sesame dbname=db sslmode=disable",
		"host=127.0.0.1 password='sesame",
		"host=127.0.0.1 port=none password=sesame",
		"sesame",
	} {
		t.Setenv(envDSN, dsn)
		_, err := Start(t.Context(), Options{})
		if err == nil || strings.Contains(err.Error(), "ses") || !strings.Contains(err.Error(), envDSN) {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

func TestKeywordsBecomeAURL(t *testing.T) {
	for dsn, want := range map[string]string{
		"host=h dbname=d":                         "postgres:///d?host=h",
		" host = '/var run'  user=it\\'s\tport=5": "postgres:///?host=%2Fvar+run&port=5&user=it%27s",
		"password='a\\'b c' dbname=x":             "postgres:///x?password=a%27b+c",
		"password='' dbname=x":                    "postgres:///x?password=",
	} {
		u, err := parseDSN(dsn)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v; want %s", dsn, u, err, want)
		}
	}
}

func TestAForeignServerMayBeNamedByKeywords(t *testing.T) {
	owner := Shared(t)
	u, err := url.Parse(owner.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envDSN, "host="+u.Hostname()+" port="+u.Port()+" user=postgres sslmode=disable dbname='postgres'")
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	dsn, drop, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := query1(t, dsn, "SELECT current_database()"); !strings.HasPrefix(got, "pgtest_") {
		t.Error(got)
	}
	if err := drop(t.Context()); err != nil {
		t.Error(err)
	}
}
