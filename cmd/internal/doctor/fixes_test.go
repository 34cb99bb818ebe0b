package doctor

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

var (
	isStatement = regexp.MustCompile(`^(alter|create|drop|grant|set) `)
	isSetting   = regexp.MustCompile(`^[a-z_]+=[^ …]+$`)
	digits      = regexp.MustCompile(`[0-9]+`)
	endOfOne    = regexp.MustCompile(`; *(--.*)?`) // what ends a statement
)

// patient is a database with its faults, and what was done for it.
type patient struct {
	admin, dsn string
	instances  int
	done       map[string]bool // by check
}

// kind tells findings of a check apart, whatever their numbers.
func kind(f Finding) string { return f.Check + ": " + digits.ReplaceAllString(f.What, "N") }

// treat does what each finding says if that is SQL, or a setting of the DSN, and returns which
// findings these were.
func (p *patient) treat(t *testing.T, r *Report) (treated []string) {
	t.Helper()
	for _, f := range r.Findings {
		if strings.Contains(f.Fix, "…") {
			t.Errorf("%s is to be mended by an incomplete %q", f.Check, f.Fix)
		}
		text := f.Fix
		if _, sql, several := strings.Cut(text, "or: "); several {
			text = sql
		}
		switch {
		case isSetting.MatchString(text):
			key, value, _ := strings.Cut(text, "=")
			u, err := url.Parse(p.dsn)
			must(t, err)
			q := u.Query()
			q.Set(key, value)
			u.RawQuery = q.Encode()
			p.dsn = u.String()
		case isStatement.MatchString(text):
			for _, sql := range endOfOne.Split(text, -1) {
				run(t, p.admin, sql)
			}
			if f.Check == "timeouts.lock" { // it is for one session
				p.done[f.Check] = true
				continue
			}
		default:
			continue
		}
		p.done[f.Check] = true
		treated = append(treated, kind(f))
	}
	return treated
}

// heal treats until nothing is found that a statement mends. What was treated must not be found
// again.
func (p *patient) heal(t *testing.T, server *pgtest.Server) *Report {
	t.Helper()
	before := map[string]bool{}
	for range 6 {
		quiet(t, p.admin)
		report := examine(t, Options{DSN: p.dsn, Instances: p.instances})
		for _, f := range report.Findings {
			if before[kind(f)] {
				t.Fatalf("%s is found again, though it was done: %s", kind(f), f.Fix)
			}
		}
		treated := p.treat(t, report)
		if len(treated) == 0 {
			return report
		}
		for _, name := range treated {
			before[name] = true
		}
		must(t, server.Restart(t.Context(), pgtest.Fast))
	}
	t.Fatal("there is no end of it")
	return nil
}

// Everything is wrong with a server and with a role, and each statement that is printed is
// executed as it is printed.
func TestWhatIsPrintedMends(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{
		"wal_level": "replica", "max_connections": "20", "max_replication_slots": "1", "max_wal_senders": "1",
		"track_activities": "off", "fsync": "off", "full_page_writes": "off",
	}})
	admin, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })
	run(
		t, admin, "create table bare (id int)", `create table "Unique One" (id int not null unique, n int)`, "create table untold (id int primary key)",
		"alter table untold replica identity nothing", "create table parts (id int, n int) partition by list (n)", "create table part1 partition of parts for values in (1)",
		"create publication lifeguard for table bare, parts with (publish = 'insert')",
		"revoke all on pg_stat_activity, pg_replication_slots from public",
	)
	dsn := as(
		t, admin, "bypassrls", "alter role ROLE set synchronous_commit = off", "alter role ROLE set default_transaction_isolation = serializable",
		"alter role ROLE set default_transaction_read_only = on", "alter role ROLE set session_replication_role = replica",
	)
	p := &patient{admin: admin, dsn: withCDC(dsn) + "&lifeguard_queue_target=40s", instances: 3, done: map[string]bool{}}
	report := p.heal(t, server)
	for _, check := range []string{
		"connections", "replication", "replication.role", "replication.wal_level", "replication.max_replication_slots", "replication.max_wal_senders",
		"role.activity", "role.monitor", "role.bypassrls", "timeouts.idle_in_transaction", "timeouts.statement", "timeouts.lock", "durability",
		"defaults.isolation", "defaults.read_only", "defaults.triggers", "statistics", "identity", "cdc.publication", "cdc.retention", "dsn",
	} {
		if !p.done[check] {
			t.Errorf("nothing was printed for %s", check)
		}
	}
	// What is left is a superuser's, through -fix.
	for _, f := range report.Findings {
		if (f.Level == Warn || f.Level == Error) && f.Check != "cdc.announced" {
			t.Errorf("%s is left: %s: %s", f.Check, f.What, f.Fix)
		}
	}
	mend(t, withCDC(admin))
	report = examine(t, Options{DSN: p.dsn, Instances: p.instances})
	report.hasNone(t, Error)
	report.hasNone(t, Warn)
}

// The role that is proposed in the place of a superuser may do what an application does.
func TestThePrintedRoleServesAnApplication(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{})
	admin, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	run(
		t, admin, "create schema shop", "create table shop.item (id serial primary key)", "create table public.other (id int primary key)",
		"revoke all on database "+databaseOf(t, admin)+" from public",
	)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })
	for _, name := range []string{"app", "app_1"} { // the second one is taken for another name
		p := &patient{admin: admin, dsn: admin, done: map[string]bool{}}
		p.treat(t, examine(t, Options{DSN: admin}))
		if !p.done["role.superuser"] {
			t.Fatal("a superuser is not found")
		}
		run(t, admin, "create table shop.later_"+name+" (id serial primary key)")
		u, err := url.Parse(admin)
		must(t, err)
		u.User = url.User(name)
		examine(t, Options{DSN: u.String()}).hasNo(t, "role.superuser")
		run(t, u.String(), "insert into shop.item default values", "update public.other set id = 2", "delete from shop.item", "insert into shop.later_"+name+" default values")
	}
}

// A session without UTF-8, or with the strings of old, is told how to get them.
func TestPrintedDefaultsOfSessionsMend(t *testing.T) {
	t.Parallel()
	for setting, value := range map[string]string{"standard_conforming_strings": "off", "client_encoding": "LATIN1"} {
		admin := pgtest.DSN(t)
		dsn := as(t, admin, "", "alter role ROLE set "+setting+" = "+value)
		report := examine(t, Options{DSN: dsn})
		i := slices.IndexFunc(report.Findings, func(f Finding) bool { return strings.HasPrefix(f.What, setting+" is ") })
		if i < 0 {
			t.Errorf("%s = %s is not found among %v", setting, value, report.Findings)
			continue
		}
		run(t, admin, report.Findings[i].Fix)
		report = examine(t, Options{DSN: dsn})
		report.has(t, "defaults", OK)
	}
}

// What is to be typed into Redis is taken by it, and mends.
func TestPrintedCommandsOfRedisMend(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, policy := range []string{"noeviction", "allkeys-random"} {
		server := pgtest.NewRedis(t, pgtest.RedisOptions{})
		redisDo(t, server.URL(), "config set maxmemory 100mb", "config set maxmemory-policy "+policy)
		o := Options{DSN: dsn + "&lifeguard_cache=local", Redis: server.URL()}
		report := examine(t, o)
		i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Check == "redis" && f.Level == Warn })
		if i < 0 {
			t.Errorf("%s is not found among %v", policy, report.Findings)
			continue
		}
		redisDo(t, server.URL(), report.Findings[i].Fix)
		examine(t, o).has(t, "redis", OK)
	}
}

func redisDo(t *testing.T, address string, commands ...string) {
	t.Helper()
	o, err := redis.ParseURL(address)
	must(t, err)
	client := redis.NewClient(o)
	defer client.Close()
	for _, c := range commands {
		var words []any
		for w := range strings.FieldsSeq(c) {
			words = append(words, w)
		}
		must(t, client.Do(t.Context(), words...).Err())
	}
}
