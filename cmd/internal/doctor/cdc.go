package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
)

// lookAtCDC looks at what only lifeguard_cache=cdc needs, if it is asked for. What stops
// any use of logical replication lookAtReplication has said.
func lookAtCDC(ctx context.Context, e *exam) error {
	if !e.cdc() {
		return nil
	}
	before := len(e.report.Findings)
	if e.standby {
		e.add("cdc.standby", Error, "lifeguard_cache=cdc cannot follow a standby", "Every query goes to the server, for as long as this one is a standby.", "target_session_attrs=read-write and all hosts in the DSN")
	}
	if names := e.settings["synchronous_standby_names"].value; cdc.CountsAsStandby(names, cdc.ApplicationName) {
		e.add(
			"cdc.standby_name", Error, "synchronous_standby_names = "+names+" matches the connection that reads the log for lifeguard_cache=cdc",
			"The server would take it for a standby, though it stores nothing, and commits for replicated that are on no other machine. So the log is not read, and every query goes to the server.",
			e.nameStandbys(ctx, names),
		)
	}
	if e.role.replication || e.role.super {
		e.tryStream(ctx)
	}
	e.lookAtRetention()
	var err error
	if e.publication, err = cdc.Inspect(ctx, e.conn.PgConn(), e.cfg.CDCPublication); err != nil {
		return err
	}
	e.judgePublication(e.publication)
	if e.announced, err = cdc.Announces(ctx, e.conn.PgConn()); err != nil {
		return err
	}
	if !e.announced {
		e.add(
			"cdc.announced", Warn, "no event trigger puts DDL into the log",
			fmt.Sprintf("What others change in the schema, REFRESH MATERIALIZED VIEW and GRANT among it, is found by a look at the catalog: after lifeguard_cdc_poll (%s) and lifeguard_cache_bound (%s), and what was granted on objects that came with the server is not. With the trigger the bound alone holds.",
				e.cfg.CDCPoll, e.cfg.CacheBound),
			"lifeguard doctor -fix, by a superuser; docs/cache-cdc.md has the statements",
		)
	}
	if len(e.report.Findings) == before {
		e.ok("cdc", fmt.Sprintf("publication %s has all tables that it can have, and DDL is announced", e.publication.Name))
	}
	return nil
}

// tryStream opens a connection for replication and says goodbye.
func (e *exam) tryStream(ctx context.Context) {
	cfg := e.cfg.ConnConfig.Copy()
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = "lifeguard-doctor"
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err == nil {
		_, err = conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	if err == nil {
		return
	}
	what := "no connection for replication can be opened"
	if c := code(err); c != "" {
		what += ": " + reasonOf(err)
	}
	fix := "a line for the database and the role in pg_hba.conf; a free walsender"
	if e.report.Server.Pooler != "none" {
		fix = "a DSN that leads to the server itself"
	}
	e.add("cdc.stream", Error, what, whyReplication, fix)
}

// nameStandbys puts the names of the standbys that are there in the place of the *.
func (e *exam) nameStandbys(ctx context.Context, names string) string {
	const reload = "; select pg_reload_conf();"
	var standbys string
	err := e.conn.QueryRow(ctx, `select coalesce(string_agg(distinct quote_ident(application_name), ', '), '') from pg_stat_replication
		where pid not in (select active_pid from pg_replication_slots where slot_type = 'logical' and active_pid is not null)`).Scan(&standbys)
	named := strings.ReplaceAll(strings.ReplaceAll(names, `"*"`, "*"), "*", standbys)
	switch {
	case err != nil || cdc.CountsAsStandby(named, cdc.ApplicationName):
		return "in postgresql.conf, synchronous_standby_names with the application_name of each standby in the place of what matches all"
	case standbys == "":
		return "alter system reset synchronous_standby_names" + reload + " -- no standby is connected"
	}
	return "alter system set synchronous_standby_names = " + quoteLiteral(named) + reload
}

// lookAtRetention compares what the server keeps for a slot with what a process lets lie.
func (e *exam) lookAtRetention() {
	most, told := e.number("max_slot_wal_keep_size") // in MB
	lag := int64(e.cfg.CDCMaxLag)
	enough := fmt.Sprintf("alter system set max_slot_wal_keep_size = '%dMB'; select pg_reload_conf();", max(1024, 4*lag>>20))
	switch {
	case !told:
	case most < 0:
		e.add(
			"cdc.retention", Warn, "max_slot_wal_keep_size is off",
			"A process that reads its stream drops its slot when it is lifeguard_cdc_max_lag behind. For one that hangs, stopped or without CPU, the server keeps its log until the disk is full.",
			enough,
		)
	case int64(most)<<20 < lag:
		e.add(
			"cdc.retention", Warn, fmt.Sprintf("max_slot_wal_keep_size is %d MB, less than lifeguard_cdc_max_lag of %d MB", most, lag>>20),
			"The server ends a slot before the process would, and the cache is empty for longer.", enough,
		)
	}
}

func (e *exam) judgePublication(p *cdc.Publication) {
	add := func(level Level, what, why, fix string) { e.add("cdc.publication", level, what, why, fix) }
	statements := strings.Join(p.Statements(), "; ") + ";"
	switch {
	case !p.Exists && e.role.create:
		add(
			Note, fmt.Sprintf("there is no publication %s yet", p.Name),
			"The first process that starts makes it, with all tables that have a replica identity and belong to its role.", statements,
		)
		return
	case !p.Exists:
		add(
			Error, fmt.Sprintf("there is no publication %s, and role %s may not create one", p.Name, e.role.name), whyReplication,
			"grant create on database "+quoteIdent(e.cfg.ConnConfig.Database)+" to "+quoteIdent(e.role.name)+"; -- and it must own the tables",
		)
		return
	case !p.Usable:
		add(
			Error, fmt.Sprintf("publication %s does not publish every kind of change under its table's own name", p.Name),
			"What it leaves out would not be heard of, so nothing is cached.",
			"alter publication "+quoteIdent(p.Name)+" set (publish = 'insert, update, delete, truncate', publish_via_partition_root = false);",
		)
	}
	if len(p.Unsafe) > 0 {
		add(
			Error, fmt.Sprintf("publication %s names %s without a replica identity: %s", p.Name, plural(len(p.Unsafe), "table"), shown(p.Unsafe)),
			"UPDATE and DELETE of them fail, for everybody.",
			fmt.Sprintf("alter publication %s drop table only %s; -- or a primary key", quoteIdent(p.Name), strings.Join(p.Unsafe, ", only ")),
		)
	}
	unpublished := append(append([]string(nil), p.Missing...), p.Foreign...)
	if len(unpublished) == 0 {
		return
	}
	what := fmt.Sprintf("%s not in publication %s: %s", plural(len(unpublished), "table"), p.Name, shown(unpublished))
	why := "Queries that read them bypass the cache (unpublished)."
	switch {
	case p.Ours && len(p.Foreign) == 0:
		add(Note, what, why+" A process that runs adds them by itself, a second after it has seen them.", statements)
	case p.Ours:
		add(Warn, what, why+" Some belong to other roles: only these, or a superuser, may add them.", addTables(p, unpublished))
	default:
		add(Warn, what, why+" The publication is "+p.Owner+"'s, who has to add them.", addTables(p, unpublished))
	}
}

func addTables(p *cdc.Publication, tables []string) string {
	return "alter publication " + quoteIdent(p.Name) + " add table only " + strings.Join(tables, ", only ") + ";"
}

// shown are the first names of a list.
func shown(names []string) string {
	if len(names) > shownTables {
		return strings.Join(names[:shownTables], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// fixCDC makes or completes the publication, and has DDL announced.
func fixCDC(_ context.Context, e *exam) (list []Fix) {
	p := e.publication
	if p == nil {
		return nil
	}
	if statements := p.Statements(); len(statements) > 0 && (p.Exists || e.role.create) {
		list = append(list, Fix{
			Check: "cdc.publication", SQL: strings.Join(statements, ";\n  ") + ";",
			Why: "Only what a publication names can be cached, and what it names must have a replica identity.",
			do:  publish(p.Name),
		})
	}
	if !e.announced && e.role.super {
		list = append(list, Fix{
			Check: "cdc.announced", SQL: strings.TrimSpace(cdc.InstallSQL),
			Why: "What others change in the schema is then heard of within lifeguard_cache_bound.",
		})
	}
	return list
}

// publish is what a process with lifeguard_cache=cdc does at its start. A table that somebody
// has locked it leaves out; so what is missing then is told.
func publish(name string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		if err := cdc.EnsurePublication(ctx, conn.PgConn(), name); err != nil {
			return err
		}
		p, err := cdc.Inspect(ctx, conn.PgConn(), name)
		if err != nil {
			return err
		}
		if left := append(append([]string(nil), p.Missing...), p.Unsafe...); len(left) > 0 {
			return fmt.Errorf("%s could not be changed, locked perhaps: %s", plural(len(left), "table"), shown(left))
		}
		return nil
	}
}
