package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/needs"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, pgtest.Options{}))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// examine runs all checks without the environment of whoever runs the tests, and looks for
// the password in whatever is told.
func examine(t *testing.T, o Options) *Report {
	t.Helper()
	o.Timeout = time.Minute
	if o.getenv == nil {
		o.getenv = func(string) string { return "" }
	}
	report, err := Run(t.Context(), o)
	must(t, err)
	var told bytes.Buffer
	report.Text(&told)
	must(t, report.JSON(&told))
	if strings.Contains(told.String(), "geheim") {
		t.Errorf("the password is told:\n%s", &told)
	}
	return report
}

// has looks for a finding of a check that says all the texts.
func (r *Report) has(t *testing.T, check string, level Level, texts ...string) {
	t.Helper()
	all := ""
	for _, f := range r.Findings {
		if f.Check != check || f.Level != level {
			continue
		}
		text := f.What + "\n" + f.Why + "\n" + f.Fix
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(text, s) }) {
			if level != OK && f.Why == "" {
				t.Errorf("%s does not say why it matters", check)
			}
			return
		}
		all += text
	}
	t.Errorf("no %s of %s with %q; there is %q, among %v", level, check, texts, all, r.Findings)
}

func (r *Report) hasNone(t *testing.T, level Level) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Level == level {
			t.Errorf("%s: %s: %s", f.Level, f.Check, f.What)
		}
	}
}

// run executes statements as the superuser.
func run(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, dsn)
	must(t, err)
	defer conn.Close(ctx)
	for _, sql := range statements {
		_, err := conn.Exec(ctx, sql)
		must(t, err)
	}
}

// as is dsn for another role, which is made and dropped.
func as(t *testing.T, dsn, attributes string, grants ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	name := "doctor" + u.Path[len("/pgtest"):]
	run(t, dsn, "create role "+name+" login password 'geheim' "+attributes)
	t.Cleanup(func() { run(t, dsn, "drop owned by "+name, "drop role "+name) })
	for _, g := range grants {
		run(t, dsn, strings.ReplaceAll(g, "ROLE", name))
	}
	u.User = url.UserPassword(name, "geheim")
	return u.String()
}

// quiet waits until the sessions that were closed have ended on the server too.
func quiet(t *testing.T, admin string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), admin+"&application_name=lifeguard-doctor") // which doctor does not count
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for end, n := time.After(time.Minute), 1; n > 0; {
		must(t, conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where "+clients+" and pid <> pg_backend_pid()").Scan(&n))
		select {
		case <-end:
			t.Fatalf("%d sessions do not end", n)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func databaseOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	return u.Path[1:]
}

func TestNothingIsWrongWithAServerThatIsWellKept(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Durable: true, Settings: map[string]string{
		"wal_level": "logical", "idle_in_transaction_session_timeout": "60s", "statement_timeout": "30s", "lock_timeout": "5s",
	}})
	admin, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })
	dsn := as(t, admin, "replication", "grant pg_monitor to ROLE", "grant create on database "+databaseOf(t, admin)+" to ROLE")

	report := examine(t, Options{DSN: dsn + "&connect_timeout=5"})
	report.hasNone(t, Warn)
	report.hasNone(t, Error)
	if report.Status != 0 || report.Server == nil || report.Server.Pooler != "none" || !strings.HasPrefix(report.Server.Version, "PostgreSQL 1") {
		t.Errorf("status %d, server %+v", report.Status, report.Server)
	}
	for _, check := range []string{"server", "role", "tls", "clock", "pooler", "connections", "timeouts.idle_in_transaction", "timeouts.statement", "durability", "defaults", "replication", "identity"} {
		report.has(t, check, OK)
	}
	report.has(t, "dsn", Note, "password stands in the DSN")
}

func TestAServerWithoutRoomForAllInstancesIsFound(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"max_connections": "20", "superuser_reserved_connections": "3"}})
	admin, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })
	dsn := as(t, admin, "")

	quiet(t, admin)
	report := examine(t, Options{DSN: dsn, Instances: 4})
	report.has(t, "connections", Error, "4 instances (given by -instances) × pool_max_conns 10 = 40", "room for 17", "pool_max_conns=", "lifeguard_fleet_budget=17")
	if report.Status != 2 || report.Level != Error {
		t.Errorf("status %d, level %s", report.Status, report.Level)
	}
	examine(t, Options{DSN: dsn + "&pool_max_conns=4", Instances: 4}).has(t, "connections", OK, "= 16")
	examine(t, Options{DSN: dsn + "&lifeguard_fleet_budget=12", Instances: 4}).has(t, "connections", OK, "lifeguard_fleet_budget 12 need 12")
	examine(t, Options{DSN: dsn + "&pool_max_conns=6"}).has(t, "connections", OK, "one is assumed")

	// Sessions of others take room, and instances of the application are counted.
	for _, other := range []string{admin, admin, dsn + "&application_name=shop", dsn + "&application_name=shop"} {
		conn, err := pgx.Connect(t.Context(), other)
		must(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
	}
	examine(t, Options{DSN: dsn + "&pool_max_conns=16&application_name=shop"}).has(t, "connections", Warn, "1 instance (counted by the addresses", "others have ")
	for _, id := range []string{"0123456789ab", "ba9876543210"} {
		conn, err := pgx.Connect(t.Context(), dsn+"&application_name=fleet/"+id)
		must(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
	}
	examine(t, Options{DSN: dsn + "&lifeguard_fleet_budget=4&application_name=fleet"}).has(t, "connections", OK, "2 instances (counted by application_name)")

	run(t, admin, "alter role "+roleOf(t, dsn)+" connection limit 10")
	examine(t, Options{DSN: dsn + "&pool_max_conns=12", Instances: 1}).has(t, "connections", Error, "the role's connection limit")
}

// What doctor makes to learn the defaults would be counted as an instance if it connected.
func TestTheDefaultsNeedNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	var came atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			_ = conn.Close()
		}
	}()
	cfg, err := lifeguard.ParseConfig("postgres://app@" + l.Addr().String() + "/shop?sslmode=disable&lifeguard_fleet_budget=4&pool_min_conns=2&lifeguard_cache=local")
	must(t, err)
	for range 200 {
		filled, err := inForce(cfg)
		must(t, err)
		if filled.ConnConfig.DialFunc == nil || filled.ConnConfig != cfg.ConnConfig {
			t.Fatal("what is connected with is another")
		}
	}
	if n := came.Load(); n > 0 {
		t.Errorf("%d connections", n)
	}
}

func roleOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	return u.User.Username()
}

func TestARoleWithoutRightsIsToldWhatCouldNotBeSeen(t *testing.T) {
	t.Parallel()
	admin := pgtest.DSN(t)
	dsn := as(t, admin, "")
	run(t, admin, "revoke all on pg_stat_activity, pg_replication_slots from public")

	report := examine(t, Options{DSN: dsn})
	report.has(t, "role.activity", Note, "may not read pg_stat_activity", "grant select on pg_stat_activity")
	report.has(t, "connections", Note, "could not be looked at", "permission denied for view pg_stat_activity", "42501", "grant select on pg_stat_activity to ")
	report.has(t, "replication", Note, "permission denied for view pg_replication_slots")
	report.has(t, "replication.role", Note, "may not replicate", "replication;")
	report.has(t, "replication.publication", Note, "grant create on database")
	report.has(t, "statistics", Note, "may not see shared_preload_libraries")
	report.has(t, "role.monitor", Note, "grant pg_monitor")
	report.hasNone(t, Error)

	examine(t, Options{DSN: dsn + "&lifeguard_fleet_budget=8"}).has(t, "role.activity", Error, "2 connections")
	examine(t, Options{DSN: dsn, Instances: 2}).has(t, "connections", OK, "2 instances (given by -instances)")

	run(t, admin, "revoke all on pg_settings, pg_roles from public")
	report = examine(t, Options{DSN: dsn})
	report.has(t, "settings", Note, "permission denied for view pg_settings")
	report.has(t, "role", Note, "permission denied for view pg_roles")
	report.has(t, "connections", Note, "does not tell max_connections")
	report.hasNone(t, Error)
}

func TestSettingsThatHurtAreFound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	set := func(name, value string) string { return dsn + "&" + name + "=" + url.QueryEscape(value) }
	for _, test := range []struct {
		dsn, check string
		level      Level
		texts      []string
	}{
		{dsn, "role.superuser", Warn, []string{"create role app login"}},
		{dsn, "timeouts.idle_in_transaction", Warn, []string{"alter role", "= '60s'"}},
		{dsn, "timeouts.statement", Note, []string{"statement_timeout"}},
		{dsn, "timeouts.lock", Note, []string{"lock_timeout"}},
		{dsn, "replication.wal_level", Note, []string{"'logical'"}},
		{set("statement_timeout", "500"), "timeouts.queue", Note, []string{"lifeguard_queue_timeout=500ms"}},
		{set("synchronous_commit", "off"), "durability", Warn, []string{"synchronous_commit"}},
		{set("default_transaction_isolation", "serializable"), "defaults.isolation", Note, []string{"40001"}},
		{set("default_transaction_isolation", "serializable") + "&lifeguard_cache=local", "defaults.isolation", Warn, []string{"no result is kept"}},
		{set("default_transaction_read_only", "on"), "defaults.read_only", Warn, []string{"25006"}},
		{set("session_replication_role", "replica"), "defaults.triggers", Error, []string{"foreign keys"}},
		{set("lifeguard_cache", "local") + "&default_query_exec_mode=exec", "cache", Warn, []string{"no effect"}},
		{set("lifeguard_cache", "ttl") + "&lifeguard_cache_ttl=3s", "cache", Note, []string{"3s old"}},
		{set("lifeguard_cache", "cdc"), "replication.wal_level", Error, []string{"lifeguard_cache=cdc", "'logical'"}},
		{set("lifeguard_limit", "4") + "&pool_max_conns=10", "dsn", Note, []string{"pool_max_conns=4"}},
		{set("lifeguard_fleet_budget", "4"), "dsn", Note, []string{"only 4"}},
		{set("lifeguard_queue", "0"), "dsn", Note, []string{"nobody waits"}},
		{set("lifeguard_queue_target", "40s"), "dsn", Warn, []string{"not below"}},
		{dsn, "dsn", Note, []string{"connect_timeout=5"}},
	} {
		examine(t, Options{DSN: test.dsn}).has(t, test.check, test.level, test.texts...)
	}
	report := examine(t, Options{DSN: set("lifeguard_limit", "4"), getenv: func(key string) string { return map[string]string{"LIFEGUARD_LIMIT": "5"}[key] }})
	report.has(t, "dsn", Warn, "LIFEGUARD_LIMIT=5 overrides lifeguard_limit=4", "unset LIFEGUARD_LIMIT")
	examine(t, Options{DSN: set("lifeguard_cache", "local"), Instances: 2}).has(t, "cache", Error, "2 instances")
}

func TestTablesThatCannotBePublishedAreNamed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	run(
		t, dsn, "create table good (id int primary key)", "create table full_rows (id int)", "alter table full_rows replica identity full",
		"create unlogged table never (id int)", `create table "Bad One" (id int)`, "create table none (id int primary key)", "alter table none replica identity nothing",
		"create table by_index (id int not null unique)", "alter table by_index replica identity using index by_index_id_key",
	)
	report := examine(t, Options{DSN: dsn})
	report.has(t, "identity", Note, `2 tables without a replica identity: public."Bad One", public."none"`, `alter table public."Bad One" replica identity full;`, `alter table public."none" replica identity default;`)
	for i := range 20 {
		run(t, dsn, fmt.Sprintf("create table more%02d (id int)", i))
	}
	examine(t, Options{DSN: dsn}).has(t, "identity", Note, "22 tables", ", …")
}

func TestWhyThereIsNoConnectionIsSaid(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	nobody := l.Addr().String()
	must(t, l.Close())
	other := func(path string) string {
		u, err := url.Parse(dsn)
		must(t, err)
		u.Path = path
		return u.String()
	}
	for _, test := range []struct{ dsn, check, text string }{
		{"postgres://u:geheim@" + nobody + "/shop", "connect", "there is no server at " + nobody},
		{"postgres://u:geheim@no-such-host.invalid/shop?connect_timeout=5", "connect", "no-such-host.invalid"},
		{other("/no_such_database"), "connect", `create database "no_such_database"`},
		{dsn + "&statement_timeoutt=5", "dsn", "statement_timeoutt"},
		{dsn + "&lifeguard_limt=5", "dsn", "lifeguard_limit in the place of lifeguard_limt"},
		{dsn + "&lifeguard_limit=many", "dsn", "an integer from 1"},
		{"postgres://u:geheim@host:port/shop", "dsn", "DSN withheld"},
		{"registeredConnConfig7", "dsn", "does not know"},
		{strings.Replace(dsn, "sslmode=disable", "sslmode=require", 1), "tls", "does not speak TLS"},
	} {
		report := examine(t, Options{DSN: test.dsn})
		report.has(t, test.check, Error, test.text)
		if report.Status != 2 || len(report.Findings) == 0 {
			t.Errorf("%s: status %d", test.check, report.Status)
		}
	}
}

func TestTLSAndClocks(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	cfg, err := lifeguard.ParseConfig(dsn)
	must(t, err)
	e := &exam{cfg: cfg, conn: conn, report: &Report{}}
	must(t, lookAtTLS(t.Context(), e))
	e.report.has(t, "tls", OK, "on this machine")
	e.cfg.ConnConfig.Host = "db.example"
	must(t, lookAtTLS(t.Context(), e))
	e.report.has(t, "tls", Warn, "is not encrypted", "sslmode=verify-full")

	at := time.Unix(1000, 0)
	for _, test := range []struct{ clock, want time.Duration }{{0, 0}, {time.Second, 0}, {3 * time.Second, 2 * time.Second}, {-time.Minute, -time.Minute}} {
		if have := skewOf(at, at.Add(time.Second), at.Add(test.clock)); have != test.want {
			t.Errorf("a clock %s ahead of the question is %s ahead, want %s", test.clock, have, test.want)
		}
	}
}

func TestTheJSONHasItsKeys(t *testing.T) {
	t.Parallel()
	report := examine(t, Options{DSN: pgtest.DSN(t)})
	report.Fixes = []Fix{{Check: "c", SQL: "s", Why: "w", Error: "e"}}
	var text bytes.Buffer
	must(t, report.JSON(&text))
	var tree any
	must(t, json.Unmarshal(text.Bytes(), &tree))
	keys := map[string]bool{}
	collect(tree, "", keys)
	golden, err := os.ReadFile("testdata/keys.txt")
	must(t, err)
	if have := strings.Join(slices.Sorted(maps.Keys(keys)), "\n") + "\n"; have != string(golden) {
		t.Errorf("programs read these keys; testdata/keys.txt has other ones. Have:\n%s", have)
	}
	unreached := examine(t, Options{DSN: "postgres://127.0.0.1:1/x"})
	text.Reset()
	must(t, unreached.JSON(&text))
	if !strings.Contains(text.String(), `"server": null`) || !strings.Contains(text.String(), `"fixes": []`) {
		t.Errorf("without a server: %s", &text)
	}
}

func collect(v any, path string, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			keys[path+"."+key] = true
			collect(inner, path+"."+key, keys)
		}
	case []any:
		for _, inner := range v {
			collect(inner, path+"[]", keys)
		}
	}
}

func TestTheExitStatusIsThatOfTheWorstFinding(t *testing.T) {
	t.Parallel()
	for want, levels := range map[int][]Level{0: {OK, Note}, 1: {Warn, OK, Note}, 2: {Warn, Error, OK}} {
		r := &Report{}
		for _, l := range levels {
			r.Findings = append(r.Findings, Finding{Level: l})
		}
		if r.judge(); r.Status != want {
			t.Errorf("%v: %d", levels, r.Status)
		}
	}
}

func TestFixingCreatesTheExtensionOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var there bool
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err, conn.QueryRow(t.Context(), "select exists (select from pg_available_extensions where name = 'pg_stat_statements')").Scan(&there))
	must(t, conn.Close(t.Context()))
	if !there {
		needs.Lacking(t, "this PostgreSQL comes without pg_stat_statements")
	}
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"shared_preload_libraries": "pg_stat_statements"}})
	dsn, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })

	o := Options{DSN: dsn, Timeout: time.Minute}
	report := examine(t, o)
	report.has(t, "statistics", Note, "does not have the extension")
	if len(report.Fixes) != 1 || report.Fixes[0].SQL != createStatStatements || report.Fixes[0].Done {
		t.Fatalf("the fixes are %+v", report.Fixes)
	}
	o.getenv = func(string) string { return "" }
	must(t, Apply(t.Context(), o, report))
	if !report.Fixes[0].Done {
		t.Errorf("the fix failed: %s", report.Fixes[0].Error)
	}
	must(t, Apply(t.Context(), o, report))
	if report.Fixes[0].Error == "" {
		t.Error("a second extension of the same name was created")
	}
	again := examine(t, o)
	again.has(t, "statistics", OK)
	if len(again.Fixes) != 0 {
		t.Errorf("there is still something to fix: %+v", again.Fixes)
	}
	poor := as(t, dsn, "", "drop extension pg_stat_statements", "grant pg_monitor to ROLE")
	if fixes := examine(t, Options{DSN: poor}).Fixes; len(fixes) != 0 {
		t.Errorf("a role that may not is offered %+v", fixes)
	}
}

func TestRedisIsAsked(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	redis := pgtest.Redis(t)
	examine(t, Options{DSN: dsn, Redis: redis}).has(t, "redis", OK, "answers")
	examine(t, Options{DSN: dsn + "&lifeguard_cache=local&lifeguard_redis=" + redis}).has(t, "redis", OK, "answers")
	u, err := url.Parse(redis)
	must(t, err)
	u.User = url.UserPassword("nobody", "geheim")
	examine(t, Options{DSN: dsn, Redis: u.String()}).has(t, "redis", Error, "refuses: WRONGPASS")
	examine(t, Options{DSN: dsn, Redis: "redis://:geheim@127.0.0.1:1"}).has(t, "redis", Error, "no Redis at 127.0.0.1:1")
	examine(t, Options{DSN: dsn, Redis: "http://u:geheim@host"}).has(t, "redis", Error, "redis://host:port")
	p, err := url.Parse(dsn)
	must(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	p.Host = l.Addr().String()
	examine(t, Options{DSN: dsn, Redis: "redis://" + p.Host}).has(t, "redis", Error, "does not answer as Redis does")
}
