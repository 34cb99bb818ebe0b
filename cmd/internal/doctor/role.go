package doctor

import (
	"context"
	"fmt"
	"strings"
)

// role is who is connected.
type role struct {
	name                          string
	super, replication, bypassRLS bool
	create, monitor, activity     bool
	limit                         int // connections; -1: any number
}

func lookAtRole(ctx context.Context, e *exam) error {
	r := &e.role
	r.name, r.limit = e.cfg.ConnConfig.User, -1
	err := e.conn.QueryRow(ctx, `select current_user, rolsuper, rolreplication, rolbypassrls, rolconnlimit,
		has_database_privilege(current_database(), 'create'),
		pg_has_role(current_user, 'pg_monitor', 'usage'),
		has_table_privilege('pg_catalog.pg_stat_activity', 'select')
		from pg_roles where rolname = current_user`,
	).Scan(&r.name, &r.super, &r.replication, &r.bypassRLS, &r.limit, &r.create, &r.monitor, &r.activity)
	if err != nil {
		return err
	}
	e.report.Server.Role = r.name
	before := len(e.report.Findings)
	switch {
	case r.super:
		e.add(
			"role.superuser", Warn, fmt.Sprintf("role %s is a superuser", r.name),
			"An injected statement may do anything, row security does not hold, and the connections that are reserved for emergencies are used up too.",
			e.ordinaryRole(ctx),
		)
	case r.bypassRLS:
		e.add("role.bypassrls", Note, fmt.Sprintf("role %s is not bound by row security", r.name), "Policies on tables do not hold for the application.", "alter role "+quoteIdent(r.name)+" nobypassrls;")
	}
	if !r.activity {
		level := Note
		if e.cfg.FleetBudget > 0 {
			level = Error
		}
		e.add(
			"role.activity", level, fmt.Sprintf("role %s may not read pg_stat_activity", r.name),
			"lifeguard_fleet_budget counts instances there; without it each stays at 2 connections.",
			"grant select on pg_stat_activity to "+quoteIdent(r.name)+";",
		)
	}
	if !r.monitor {
		e.add(
			"role.monitor", Note, fmt.Sprintf("role %s is not a member of pg_monitor", r.name),
			"It does not see what sessions of other roles are doing. Neither the pool nor the fleet budget needs it; whoever looks for the cause of a load does.",
			"grant pg_monitor to "+quoteIdent(r.name)+";",
		)
	}
	if len(e.report.Findings) == before {
		e.ok("role", r.name+" may what is needed, and not everything")
	}
	return nil
}

// ordinaryRole is the statements that make a role for the application: it may read and write
// what is in the tables of this database, and what is in those that are made later by the role
// that is connected.
func (e *exam) ordinaryRole(ctx context.Context) string {
	var name, schemas string
	err := e.conn.QueryRow(ctx, `select
		(select min(n) from unnest(array['app', 'app_1', 'app_2', 'app_3']) n where not exists (select from pg_roles where rolname = n)),
		coalesce((select string_agg(distinct quote_ident(n.nspname), ', ') from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'), 'public')`).Scan(&name, &schemas)
	if err != nil {
		return "a role that is no superuser, in the DSN"
	}
	return strings.NewReplacer("APP", name, "DATABASE", quoteIdent(e.cfg.ConnConfig.Database), "SCHEMAS", schemas).Replace(
		"create role APP login; grant connect on database DATABASE to APP; grant usage on schema SCHEMAS to APP; " +
			"grant select, insert, update, delete on all tables in schema SCHEMAS to APP; grant usage on all sequences in schema SCHEMAS to APP; " +
			"alter default privileges in schema SCHEMAS grant select, insert, update, delete on tables to APP; " +
			"alter default privileges in schema SCHEMAS grant usage on sequences to APP; " +
			"-- and a password by psql's \\password APP, and user=APP in the DSN",
	)
}
