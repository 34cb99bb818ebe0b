package cdc

import "strings"

// prefix is that of the messages that are for this package.
const prefix = "lifeguard"

// What they say.
const (
	contentBeat   = "beat" // nothing: it is the commit that counts
	contentSchema = "ddl"
)

// InstallSQL puts DDL, REFRESH MATERIALIZED VIEW, GRANT and ALTER PUBLICATION into the log,
// in the order of the commits: an event trigger, which a superuser has to make (on some
// hosted servers, their stand-in). Running it again does no harm. DDL that concerns
// temporary objects alone is left out.
//
// The function writes one small message and reads nothing of the application's. It is
// SECURITY INVOKER, since pg_logical_emit_message needs no right.
const InstallSQL = `
CREATE SCHEMA IF NOT EXISTS lifeguard;
GRANT USAGE ON SCHEMA lifeguard TO PUBLIC;
CREATE OR REPLACE FUNCTION lifeguard.announce_ddl() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $lifeguard$
BEGIN
  IF TG_EVENT = 'sql_drop' THEN
    IF NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o WHERE NOT o.is_temporary) THEN
      RETURN;
    END IF;
  ELSIF TG_TAG LIKE 'DROP %' AND TG_TAG <> 'DROP OWNED' THEN
    RETURN; -- of which sql_drop tells
  ELSIF EXISTS (SELECT FROM pg_event_trigger_ddl_commands())
    AND NOT EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE c.schema_name IS DISTINCT FROM 'pg_temp') THEN
    RETURN;
  END IF;
  PERFORM pg_logical_emit_message(true, 'lifeguard', 'ddl');
END
$lifeguard$;
DROP EVENT TRIGGER IF EXISTS lifeguard_ddl;
CREATE EVENT TRIGGER lifeguard_ddl ON ddl_command_end EXECUTE FUNCTION lifeguard.announce_ddl();
ALTER EVENT TRIGGER lifeguard_ddl ENABLE ALWAYS;
DROP EVENT TRIGGER IF EXISTS lifeguard_drop;
CREATE EVENT TRIGGER lifeguard_drop ON sql_drop EXECUTE FUNCTION lifeguard.announce_ddl();
ALTER EVENT TRIGGER lifeguard_drop ENABLE ALWAYS;
`

// UninstallSQL takes back what InstallSQL did.
const UninstallSQL = `
DROP EVENT TRIGGER IF EXISTS lifeguard_ddl;
DROP EVENT TRIGGER IF EXISTS lifeguard_drop;
DROP FUNCTION IF EXISTS lifeguard.announce_ddl();
`

// installedSQL reports whether both triggers are there and fire for everybody.
const installedSQL = `SELECT (pg_catalog.count(*) OPERATOR(pg_catalog.=) 2)::pg_catalog.text FROM pg_catalog.pg_event_trigger e
JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) e.evtfoid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE e.evtenabled OPERATOR(pg_catalog.=) 'A' AND n.nspname OPERATOR(pg_catalog.=) 'lifeguard'
AND p.proname OPERATOR(pg_catalog.=) 'announce_ddl'
AND (e.evtname OPERATOR(pg_catalog.=) 'lifeguard_ddl' AND e.evtevent OPERATOR(pg_catalog.=) 'ddl_command_end'
  OR e.evtname OPERATOR(pg_catalog.=) 'lifeguard_drop' AND e.evtevent OPERATOR(pg_catalog.=) 'sql_drop')`

// fingerprintSQL sums up those rows of the catalog that belong to users, by who wrote them
// last. What a TRUNCATE changes in pg_class does not count, as it is in the log; what a
// REFRESH does, also CONCURRENTLY, does. Objects that came with the server are left out,
// for their number: a new right on one, or an ALTER FUNCTION, only the event trigger tells.
// Roles belong to the whole server and have no trigger.
//
//nolint:gochecknoglobals // a constant
var fingerprintSQL = "SELECT pg_catalog.md5(pg_catalog.concat_ws(' ', " + strings.Join([]string{
	`(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashtext(pg_catalog.concat_ws(',',
    c.oid, c.relname, c.relnamespace, c.reltype, c.relowner, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
    c.relacl, c.relreplident, c.relchecks, c.relhasrules, c.relhastriggers, c.relispartition, c.relpartbound,
    CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'm' THEN c.xmin::pg_catalog.text END))))
    FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::"char"[]) AND c.relpersistence OPERATOR(pg_catalog.<>) 't')`,
	`(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashtext(pg_catalog.concat_ws(',', a.attrelid, a.xmin))))
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
    WHERE c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
    AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f', 'c']::"char"[]))`,
	summed("pg_proc", "oid", usersOID), summed("pg_rewrite", "oid", usersOID), summed("pg_trigger", "oid", usersOID),
	summed("pg_policy", "oid", ""), summed("pg_operator", "oid", usersOID), summed("pg_cast", "oid", usersOID),
	summed("pg_constraint", "oid", usersOID+" AND "+notTemporary("c.connamespace")),
	summed("pg_namespace", "oid", notTemporary("c.oid")),
	summed("pg_inherits", "inhrelid", ""), summed("pg_publication", "oid", ""), summed("pg_publication_rel", "oid", ""),
	summed("pg_event_trigger", "oid", ""), summed("pg_db_role_setting", "setdatabase", ""), summed("pg_auth_members", "roleid", ""),
	`(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', r.oid, r.rolname, r.rolsuper, r.rolinherit, r.rolbypassrls), ' ' ORDER BY r.oid) FROM pg_catalog.pg_roles r)`,
}, ",\n") + "))"

const usersOID = "c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"

func notTemporary(schema string) string {
	return "NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) " + schema +
		" AND n.nspname OPERATOR(pg_catalog.~) '^pg_(toast_)?temp_')"
}

// summed is the sum over one catalog.
func summed(catalog, key, where string) string {
	sql := "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashtext(pg_catalog.concat_ws(',', c." +
		key + ", c.xmin)))) FROM pg_catalog." + catalog + " c"
	if where != "" {
		sql += " WHERE " + where
	}
	return sql + ")"
}
