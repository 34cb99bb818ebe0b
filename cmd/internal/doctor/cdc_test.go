package doctor

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// logical starts a server whose log can be decoded, and returns a database of it.
func logical(t *testing.T, settings ...string) string {
	t.Helper()
	o := pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}
	for i := 0; i < len(settings); i += 2 {
		o.Settings[settings[i]] = settings[i+1]
	}
	server := pgtest.NewServer(t, o)
	dsn, drop, err := server.CreateDatabase(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, drop(context.WithoutCancel(t.Context()))) })
	return dsn
}

func withCDC(dsn string) string { return dsn + "&lifeguard_cache=cdc" }

// mend applies what is offered.
func mend(t *testing.T, dsn string) *Report {
	t.Helper()
	report := examine(t, Options{DSN: dsn})
	must(t, Apply(t.Context(), Options{DSN: dsn, Timeout: time.Minute, getenv: func(string) string { return "" }}, report))
	return report
}

func (r *Report) hasNo(t *testing.T, check string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == check {
			t.Errorf("%s: %s: %s", f.Level, f.Check, f.What)
		}
	}
}

func TestFixingMakesThePublicationAndTheTrigger(t *testing.T) {
	t.Parallel()
	admin := logical(t, "max_slot_wal_keep_size", "4GB")
	run(t, admin, "create table item (id int primary key)", "create table bare (id int)")

	report := mend(t, withCDC(admin))
	report.has(t, "cdc.publication", Note, "no publication lifeguard yet", `ALTER PUBLICATION "lifeguard" ADD TABLE ONLY "public"."item"`)
	report.has(t, "cdc.announced", Warn, "lifeguard_cdc_poll (1s)", "by a superuser")
	if len(report.Fixes) != 2 || !report.Fixes[0].Done || !report.Fixes[1].Done || !strings.Contains(report.Fixes[1].SQL, "CREATE EVENT TRIGGER") {
		t.Fatalf("the fixes are %+v", report.Fixes)
	}
	again := examine(t, Options{DSN: withCDC(admin)})
	again.has(t, "cdc", OK, "DDL is announced")
	again.has(t, "identity", Warn, "bare")
	if len(again.Fixes) != 0 {
		t.Errorf("there is still something to fix: %+v", again.Fixes)
	}

	// What comes later is added, and what lost its key is taken out.
	run(t, admin, "create table later (id int primary key)", "alter table item drop constraint item_pkey")
	report = mend(t, withCDC(admin))
	report.has(t, "cdc.publication", Error, `without a replica identity: "public"."item"`, "UPDATE and DELETE of them fail", "drop table only")
	report.has(t, "cdc.publication", Note, `1 table not in publication lifeguard: "public"."later"`)
	run(t, admin, "insert into item values (1)", "update item set id = 2")
	examine(t, Options{DSN: withCDC(admin)}).has(t, "cdc", OK)

	// A table that is locked is told of.
	run(t, admin, "create table busy (id int primary key)")
	holder, err := pgx.Connect(t.Context(), admin)
	must(t, err)
	defer holder.Close(context.WithoutCancel(t.Context()))
	_, err = holder.Exec(t.Context(), "begin; lock table busy")
	must(t, err)
	if report = mend(t, withCDC(admin)); len(report.Fixes) != 1 || report.Fixes[0].Done || !strings.Contains(report.Fixes[0].Error, `"public"."busy"`) {
		t.Errorf("with a table that is locked: %+v", report.Fixes)
	}
	_, err = holder.Exec(t.Context(), "rollback")
	must(t, err)
	if report = mend(t, withCDC(admin)); len(report.Fixes) != 1 || !report.Fixes[0].Done {
		t.Errorf("after that: %+v", report.Fixes)
	}
	if report = examine(t, Options{DSN: admin}); len(report.Fixes) != 0 {
		t.Errorf("without lifeguard_cache=cdc there is %+v", report.Fixes)
	}
	report.hasNo(t, "cdc")
}

func TestWhatCDCLacksIsFound(t *testing.T) {
	t.Parallel()
	admin := logical(t, "max_replication_slots", "2", "max_wal_senders", "3")
	run(t, admin, "create table item (id int primary key)")
	dsn := as(t, admin, "replication", "grant pg_monitor to ROLE", "grant create on schema public to ROLE")

	report := examine(t, Options{DSN: withCDC(dsn)})
	report.has(t, "cdc.publication", Error, "no publication lifeguard, and role", "grant create on database")
	report.has(t, "cdc.retention", Warn, "max_slot_wal_keep_size is off", "4096MB")
	report.has(t, "cdc.announced", Warn, "event trigger")
	report.hasNo(t, "cdc.stream")
	report.hasNo(t, "replication.publication")
	if len(report.Fixes) != 0 {
		t.Errorf("a role that may not is offered %+v", report.Fixes)
	}
	report = examine(t, Options{DSN: withCDC(dsn), Instances: 3})
	report.has(t, "replication.max_replication_slots", Error, "3 instances need one each", "max_replication_slots = 6")
	report.hasNo(t, "replication.max_wal_senders")

	// Somebody else's publication is as good, and he has to keep it.
	run(t, admin, "create publication lifeguard for table item", "create table later (id int primary key)")
	report = examine(t, Options{DSN: withCDC(dsn)})
	report.has(t, "cdc.publication", Warn, `1 table not in publication lifeguard: "public"."later"`, "'s, who has to add them", `add table only "public"."later"`)
	run(t, admin, "alter publication lifeguard set (publish = 'insert')")
	examine(t, Options{DSN: withCDC(dsn)}).has(t, "cdc.publication", Error, "does not publish every kind of change", "truncate")

	// A role that does not own the tables makes one of its own, and says what it may not add.
	run(t, admin, "drop publication lifeguard", "grant create on database "+databaseOf(t, admin)+" to "+roleOf(t, dsn))
	run(t, dsn, "create table mine (id int primary key)")
	if report = mend(t, withCDC(dsn)); len(report.Fixes) != 1 || !report.Fixes[0].Done {
		t.Errorf("the fixes are %+v", report.Fixes)
	}
	report = examine(t, Options{DSN: withCDC(dsn)})
	report.has(t, "cdc.publication", Warn, "2 tables not in publication lifeguard", "belong to other roles")

	role := roleOf(t, dsn)
	run(t, admin, "alter role "+role+" noreplication")
	report = examine(t, Options{DSN: withCDC(dsn)})
	report.has(t, "replication.role", Error, "may not replicate")
	report.hasNo(t, "cdc.stream")
	run(t, admin, "alter role "+role+" replication")
	for range 3 {
		taken, err := pgconn.Connect(t.Context(), admin+"&replication=database")
		must(t, err)
		defer taken.Close(context.WithoutCancel(t.Context()))
	}
	examine(t, Options{DSN: withCDC(dsn)}).has(t, "cdc.stream", Error, "no connection for replication", "SQLSTATE 53300")
}

func TestARetentionBelowTheLagIsFound(t *testing.T) {
	t.Parallel()
	admin := logical(t, "max_slot_wal_keep_size", "64MB")
	examine(t, Options{DSN: withCDC(admin)}).has(t, "cdc.retention", Warn, "is 64 MB, less than lifeguard_cdc_max_lag")
	examine(t, Options{DSN: withCDC(admin) + "&lifeguard_cdc_max_lag=16MB"}).hasNo(t, "cdc.retention")
}

func TestTheStatementsOfATriggerAreTheConsumers(t *testing.T) {
	t.Parallel()
	admin := logical(t)
	run(t, admin, cdc.InstallSQL)
	examine(t, Options{DSN: withCDC(admin)}).hasNo(t, "cdc.announced")
	run(t, admin, cdc.UninstallSQL)
	examine(t, Options{DSN: withCDC(admin)}).has(t, "cdc.announced", Warn)
}

// With Redis the first few instances have a slot, however many there are.
func TestARelayNeedsFewSlots(t *testing.T) {
	t.Parallel()
	dsn := withCDC(logical(t, "max_replication_slots", "2", "max_wal_senders", "3"))
	few := dsn + "&lifeguard_redis=" + pgtest.Redis(t)
	report := examine(t, Options{DSN: few, Instances: 100})
	report.has(t, "cdc.relay", OK, "2 of 100 instances use a replication slot (lifeguard_cdc_slots=2); 98 hear of changes through 127.0.0.1")
	report.hasNo(t, "replication.max_replication_slots")
	report.hasNo(t, "replication.max_wal_senders")
	report = examine(t, Options{DSN: few + "&lifeguard_cdc_slots=3", Instances: 100})
	report.has(t, "replication.max_replication_slots", Error, "3 instances need one each")
	examine(t, Options{DSN: dsn, Instances: 100}).has(t, "replication.max_replication_slots", Error, "100 instances need one each")
	dead := examine(t, Options{DSN: dsn + "&lifeguard_redis=redis://127.0.0.1:1"})
	dead.has(t, "redis", Error, "no Redis at 127.0.0.1:1", "without a replication slot")
}

func TestAStreamMustNotCountAsAStandby(t *testing.T) {
	t.Parallel()
	admin := logical(t, "synchronous_standby_names", "ANY 1 (*)", "synchronous_commit", "local")
	report := examine(t, Options{DSN: withCDC(admin)})
	report.has(t, "cdc.standby_name", Error, "ANY 1 (*)", "alter system reset synchronous_standby_names; select pg_reload_conf();")

	// Something that streams as a standby does: its name stands in the place of the *.
	u, err := url.Parse(admin)
	must(t, err)
	q := u.Query()
	q.Set("application_name", "Second")
	q.Set("replication", "true")
	u.RawQuery = q.Encode()
	standby, err := pgconn.Connect(t.Context(), u.String())
	must(t, err)
	defer func() { _ = standby.Close(context.WithoutCancel(t.Context())) }()
	report = examine(t, Options{DSN: withCDC(admin)})
	report.has(t, "cdc.standby_name", Error, `alter system set synchronous_standby_names = 'ANY 1 ("Second")'; select pg_reload_conf();`)

	run(t, admin, `alter system set synchronous_standby_names = 'ANY 1 ("Second")'`, "select pg_reload_conf()")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for again := time.NewTicker(20 * time.Millisecond); ; {
		report = examine(t, Options{DSN: withCDC(admin)})
		if !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Check == "cdc.standby_name" }) {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("the statement does not mend it")
		}
	}
}
