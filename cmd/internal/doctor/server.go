package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// oldest is the oldest server that is tested.
const oldest = 140000

func lookAtServer(ctx context.Context, e *exam) error {
	var text, number string
	if err := e.conn.QueryRow(ctx, "select version()").Scan(&text); err != nil {
		return err
	}
	e.report.Server.Version, _, _ = strings.Cut(text, " on ")
	for _, name := range []string{"CockroachDB", "YugabyteDB", "-YB-", "Redshift", "Greenplum", "Materialize"} {
		if strings.Contains(text, name) {
			e.add(
				"server", Note, "this is not PostgreSQL but "+strings.Trim(name, "-"),
				"Statements pass through. What asks PostgreSQL about itself (fleet budget, cache, the outcome of a lost COMMIT) may be refused, and is then off.",
				"docs/ecosystem.md says what each does without",
			)
			return nil
		}
	}
	if err := e.conn.QueryRow(ctx, "select current_setting('server_version_num')").Scan(&number); err != nil {
		return err
	}
	e.version, _ = strconv.Atoi(number)
	if e.version < oldest {
		e.add("server", Error, e.report.Server.Version+" is older than PostgreSQL 14", "Lifeguard is not tested with it, and nobody mends its faults.", "an upgrade")
		return nil
	}
	if err := e.conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&e.standby); err != nil {
		return err
	}
	if e.standby {
		e.add("server", Note, "this server is a standby: it takes no writes", "Writes fail with 25006, and results are not kept by the cache.", "target_session_attrs=read-write and all hosts in the DSN, if the application writes")
		return nil
	}
	e.ok("server", e.report.Server.Version)
	return nil
}

// setting is one of the server's, as it is in this session.
type setting struct{ value, unit, source string }

func readSettings(ctx context.Context, e *exam) error {
	rows, err := e.conn.Query(ctx, "select name, coalesce(setting, ''), coalesce(unit, ''), coalesce(source, '') from pg_settings")
	if err != nil {
		return err
	}
	defer rows.Close()
	e.settings = map[string]setting{}
	for rows.Next() {
		var name string
		var s setting
		if err := rows.Scan(&name, &s.value, &s.unit, &s.source); err != nil {
			return err
		}
		if value, changed := e.defaults[name]; changed {
			s.value = value
		}
		e.settings[name] = s
	}
	return rows.Err()
}

// number is a setting that is one; false if the server does not tell.
func (e *exam) number(name string) (int, bool) {
	n, err := strconv.Atoi(e.settings[name].value)
	return n, err == nil
}

// span is a setting that is a time.
func (e *exam) span(name string) (time.Duration, bool) {
	n, known := e.number(name)
	switch e.settings[name].unit {
	case "ms":
		return time.Duration(n) * time.Millisecond, known
	case "s":
		return time.Duration(n) * time.Second, known
	case "min":
		return time.Duration(n) * time.Minute, known
	}
	return 0, false
}

func (e *exam) forRole(name, value string) string {
	return fmt.Sprintf("alter role %s set %s = '%s';", quoteIdent(e.role.name), name, value)
}

func lookAtTimeouts(_ context.Context, e *exam) error {
	if idle, known := e.span("idle_in_transaction_session_timeout"); known && idle == 0 {
		e.add(
			"timeouts.idle_in_transaction", Warn, "idle_in_transaction_session_timeout is off",
			"A transaction that is forgotten keeps its locks, its slot of the limit, and old rows from being cleaned up, for ever. lifeguard_leak_after logs who forgot it; only the server ends it.",
			e.forRole("idle_in_transaction_session_timeout", "60s"),
		)
	} else if known {
		e.ok("timeouts.idle_in_transaction", "idle_in_transaction_session_timeout is "+idle.String())
	}
	if t, known := e.span("statement_timeout"); known && t == 0 {
		e.add(
			"timeouts.statement", Note, "statement_timeout is off",
			"A statement without a deadline in its context has none at all. Deadlines in code are better: the queue knows them.",
			e.forRole("statement_timeout", "30s"),
		)
	} else if known {
		e.ok("timeouts.statement", "statement_timeout is "+t.String())
		if wait := e.cfg.QueueTimeout; wait > 0 && t < wait/10 {
			e.add(
				"timeouts.queue", Note, fmt.Sprintf("statements may run for %s and wait for %s before", t, wait),
				"Most callers will not want to wait ten times as long as the work may take.", "lifeguard_queue_timeout="+t.String(),
			)
		}
	}
	if t, known := e.span("lock_timeout"); known && t == 0 {
		e.add(
			"timeouts.lock", Note, "lock_timeout is off",
			"During a migration that waits for a lock, every statement on the table waits behind it, until the limit is used up.",
			"set lock_timeout = '5s'; -- at the beginning of each migration",
		)
	}
	if t, known := e.span("tcp_keepalives_idle"); known && !e.isLocal() && (t == 0 || t > 10*time.Minute) {
		e.add(
			"timeouts.keepalive", Note, "the server notices a client that has vanished only after two hours (tcp_keepalives_idle)",
			"Until then the sessions of a machine that has lost power keep their connections and locks.",
			"alter system set tcp_keepalives_idle = '60s'; select pg_reload_conf();",
		)
	}
	return nil
}

func lookAtDurability(_ context.Context, e *exam) error {
	found := false
	for _, name := range []string{"fsync", "full_page_writes"} {
		if e.settings[name].value == "off" {
			found = true
			e.add("durability", Warn, name+" is off", "A crash of the machine can destroy the whole database. It is right for tests alone.", "alter system set "+name+" = on; select pg_reload_conf();")
		}
	}
	if e.settings["synchronous_commit"].value == "off" {
		found = true
		e.add(
			"durability", Warn, "synchronous_commit is off",
			"A crash of the server loses what was committed in the last moments, though the application was told that it is written.",
			e.forRole("synchronous_commit", "on"),
		)
	}
	if e.settings["synchronous_standby_names"].value != "" && e.settings["synchronous_commit"].value == "local" {
		found = true
		e.add("durability", Note, "there are synchronous standbys, and synchronous_commit = local does not wait for them", "A failover loses what they have not got yet.", e.forRole("synchronous_commit", "on"))
	}
	if !found && len(e.settings) > 0 {
		e.ok("durability", "what is committed survives a crash")
	}
	return nil
}

// lookAtDefaults finds defaults of sessions that change what statements mean.
func lookAtDefaults(_ context.Context, e *exam) error {
	before := len(e.report.Findings)
	if v := e.settings["default_transaction_isolation"].value; v != "" && v != "read committed" {
		level := Note
		if e.cached() {
			level = Warn
		}
		e.add(
			"defaults.isolation", level, "default_transaction_isolation is "+v,
			"Transactions fail with 40001 and must be repeated (lifeguard.Txn does), and no result is kept by the cache.",
			e.forRole("default_transaction_isolation", "read committed")+" -- and a stricter level in sql.TxOptions where it is needed",
		)
	}
	if e.settings["default_transaction_read_only"].value == "on" {
		e.add("defaults.read_only", Warn, "default_transaction_read_only is on", "Writes fail with 25006.", e.forRole("default_transaction_read_only", "off"))
	}
	if e.settings["standard_conforming_strings"].value == "off" {
		e.add("defaults.strings", Error, "standard_conforming_strings is off", "pgx refuses the simple protocol, the module crud would quote wrongly, and no result is kept by the cache.", e.forRole("standard_conforming_strings", "on"))
	}
	if v := e.settings["client_encoding"].value; v != "" && v != "UTF8" {
		e.add("defaults.encoding", Warn, "client_encoding is "+v, "Go's strings are UTF-8; pgx refuses the simple protocol, and no result is kept by the cache.", e.forRole("client_encoding", "UTF8"))
	}
	if v := e.settings["session_replication_role"].value; v != "" && v != "origin" {
		e.add("defaults.triggers", Error, "session_replication_role is "+v, "Triggers and foreign keys are not in force.", e.forRole("session_replication_role", "origin"))
	}
	if len(e.report.Findings) == before && len(e.settings) > 0 {
		e.ok("defaults", "the session's defaults change no statement's meaning")
	}
	return nil
}

func lookAtStatistics(ctx context.Context, e *exam) error {
	if e.settings["track_activities"].value == "off" {
		e.add("statistics", Warn, "track_activities is off", "pg_stat_activity does not tell what sessions do.", "alter system set track_activities = on; select pg_reload_conf();")
	}
	libraries, told := e.settings["shared_preload_libraries"]
	if !told {
		e.add("statistics", Note, "the role may not see shared_preload_libraries", "Whether pg_stat_statements is there is not known.", "grant pg_read_all_settings to "+quoteIdent(e.role.name)+";")
		return nil
	}
	if !strings.Contains(libraries.value, "pg_stat_statements") {
		e.add(
			"statistics", Note, "pg_stat_statements is not loaded",
			"Connector.TopQueries tells what this process sends. What the whole server is busy with, and since when, only pg_stat_statements tells.",
			"alter system set shared_preload_libraries = "+quoteLiteral(strings.Trim(libraries.value+",pg_stat_statements", ","))+"; -- and a restart",
		)
		return nil
	}
	var there bool
	if err := e.conn.QueryRow(ctx, "select exists (select from pg_extension where extname = 'pg_stat_statements')").Scan(&there); err != nil {
		return err
	}
	if !there {
		e.add("statistics", Note, "pg_stat_statements is loaded, and this database does not have the extension", "Nobody can ask it here.", createStatStatements)
		return nil
	}
	e.ok("statistics", "pg_stat_statements is there")
	return nil
}
