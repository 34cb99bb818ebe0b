package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// A want is what a judgement misses. It is collected while judging, looked up in
// one round trip, and then the judging begins again.
type want struct {
	functions map[string]bool
	types     map[string]bool
	relations map[Relation]bool
	hazards   bool
}

func newWant() *want {
	return &want{functions: map[string]bool{}, types: map[string]bool{}, relations: map[Relation]bool{}}
}

func (w *want) empty() bool {
	return len(w.functions) == 0 && len(w.types) == 0 && len(w.relations) == 0 && !w.hazards
}

// A loaded is the answer to one look-up, in JSON.
type loaded struct {
	functions []*function
	types     []*typeFact
	relations []*relation
	hazards   *hazards
	reach     reachRow
}

// The queries run with pg_catalog alone in the search_path. So nobody's "=" comes
// between, and what the server prints names everything outside pg_catalog with
// its schema.
const (
	lookupBegin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY"
	lookupPath  = "SET LOCAL search_path TO pg_catalog"

	functionsQuery = `
SELECT coalesce(json_agg(row_to_json(f)), '[]') FROM (
  SELECT p.oid::int8 AS oid, n.nspname AS schema, p.proname AS name, p.oid < 16384 AS built,
    p.provolatile AS volatile, p.prokind AS kind, l.lanname AS language, l.lanpltrusted AS trusted,
    coalesce((SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), '') AS extension,
    p.prorettype IN (1266, 1270) AS timetz,
    p.pronargs >= 1 AND (p.proargtypes[0] IN (2249, 2276, 2283, 2776, 5077, 5079) OR a.typtype = 'c' OR b.typtype = 'c') AS row,
    p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AND p.prokind <> 'p' AS single,
    CASE WHEN p.prokind <> 'a' AND l.lanname IN ('sql', 'plpgsql') AND p.oid >= 16384
      THEN pg_get_functiondef(p.oid) ELSE '' END AS text,
    CASE WHEN p.prokind = 'a' AND p.oid >= 16384 THEN (
      SELECT json_agg(json_build_object('oid', s.oid::int8, 'name', s.proname))
      FROM pg_aggregate g, unnest(ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn,
        g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::oid[]) AS u(oid)
      JOIN pg_proc s ON s.oid = u.oid WHERE g.aggfnoid = p.oid) END AS support
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_type a ON a.oid = p.proargtypes[0]
  LEFT JOIN pg_type b ON b.oid = a.typbasetype AND a.typtype = 'd'
  WHERE p.proname = ANY ($1::text[]::name[])
) f`

	typesQuery = `
SELECT coalesce(json_agg(row_to_json(f)), '[]') FROM (
  SELECT n.nspname AS schema, t.typname AS name, t.oid < 16384 AS built, t.typtype AS kind
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE t.typname = ANY ($1::text[]::name[])
) f`

	relationsQuery = `
SELECT coalesce(json_agg(row_to_json(f)), '[]') FROM (
  SELECT c.oid::int8 AS oid, n.nspname || '.' || c.relname AS name,
    c.oid < 16384 OR n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') AS system,
    c.relkind AS kind, c.relpersistence AS persistence, c.relrowsecurity AS secured,
    (SELECT json_agg(pg_get_ruledef(r.oid)) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN' AND r.ev_enabled <> 'D') AS rules,
    (SELECT json_agg(i.inhparent::int8) FROM pg_inherits i WHERE i.inhrelid = c.oid) AS parents,
    (SELECT json_agg(i.inhrelid::int8) FROM pg_inherits i WHERE i.inhparent = c.oid) AS children,
    (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::int8))
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE '' END AS view,
    (SELECT json_agg(json_build_object('from', k.conrelid::int8,
        'delete', k.confdeltype IN ('c', 'n', 'd'), 'update', k.confupdtype IN ('c', 'n', 'd'),
        'rewrites', k.confdeltype IN ('n', 'd')))
      FROM pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f') AS keys,
    (SELECT json_agg(json_build_object('deferred', t.tgdeferrable,
        'function', json_build_object('oid', t.tgfoid::int8, 'name', p.proname)))
      FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
      WHERE t.tgrelid = c.oid AND t.tgenabled <> 'D'
      AND NOT (t.tgfoid < 16384 AND (p.proname LIKE 'RI\_FKey\_%' OR p.proname = 'unique_key_recheck'))) AS triggers,
    (SELECT json_agg(x.text) FROM (
      SELECT pg_get_expr(d.adbin, d.adrelid) AS text FROM pg_attrdef d WHERE d.adrelid = c.oid
      UNION ALL
      SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'x')
      UNION ALL
      SELECT pg_get_expr(i.indexprs, i.indrelid) FROM pg_index i WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL
      UNION ALL
      SELECT pg_get_expr(i.indpred, i.indrelid) FROM pg_index i WHERE i.indrelid = c.oid AND i.indpred IS NOT NULL
      UNION ALL
      SELECT pg_get_partkeydef(c.oid) WHERE c.relkind = 'p'
      UNION ALL
      SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgqual IS NOT NULL
    ) x) AS expressions,
    (SELECT json_agg(x.text) FROM (
      SELECT pg_get_expr(e.polqual, e.polrelid) AS text FROM pg_policy e WHERE e.polrelid = c.oid AND e.polqual IS NOT NULL
      UNION ALL
      SELECT pg_get_expr(e.polwithcheck, e.polrelid) FROM pg_policy e WHERE e.polrelid = c.oid AND e.polwithcheck IS NOT NULL
    ) x) AS policies,
    (SELECT json_build_object('name', a.attname, 'number', a.attnum, 'type', a.atttypid::int8, 'cuts', a.atttypmod <> -1)
      FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = c.oid AND c.relkind = 'r' AND i.indisprimary AND i.indisvalid AND i.indimmediate AND i.indnkeyatts = 1
      AND a.attgenerated = '' AND a.atttypid IN (20, 21, 23, 25, 1043, 2950)
      AND (a.attcollation = 0 OR EXISTS (SELECT FROM pg_collation l WHERE l.oid = a.attcollation AND l.collisdeterministic))
      AND NOT EXISTS (SELECT FROM pg_operator o WHERE o.oid >= 16384 AND o.oprname = '='
        AND (o.oprleft = a.atttypid OR o.oprright = a.atttypid))) AS "primary"
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = ANY ($1::oid[])
) f`

	// What is in C and IMMUTABLE is left out here rather than judged one by one:
	// an extension may bring thousands.
	hazardsQuery = `
WITH suspect AS (
  SELECT p.oid, p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.oid >= 16384 AND NOT (l.lanname IN ('c', 'internal') AND p.provolatile = 'i')
), spoilt AS (
  SELECT 'cast' AS kind, s.oid, s.proname, '' AS "check", ARRAY[c.castsource, c.casttarget] AS types
  FROM pg_cast c JOIN suspect s ON s.oid = c.castfunc
  UNION ALL
  SELECT 'cast', p.oid, p.proname, '', ARRAY[c.castsource, c.casttarget]
  FROM pg_cast c JOIN pg_type f ON f.oid = c.castsource JOIN pg_type t ON t.oid = c.casttarget
    JOIN pg_proc p ON p.oid IN (f.typoutput, t.typinput)
  WHERE c.oid >= 16384 AND c.castmethod = 'i' AND c.castcontext = 'i' AND p.proname NOT IN ('enum_in', 'enum_out')
  UNION ALL
  SELECT 'domain', NULL, '', pg_get_constraintdef(k.oid), ARRAY[k.contypid]
  FROM pg_constraint k WHERE k.contypid <> 0 AND k.contype = 'c'
  UNION ALL
  SELECT 'default', NULL, '', pg_get_expr(t.typdefaultbin, 0), ARRAY[t.oid]
  FROM pg_type t WHERE t.oid >= 16384 AND t.typdefaultbin IS NOT NULL
  UNION ALL
  SELECT 'class', s.oid, s.proname, '', ARRAY[a.amproclefttype, a.amprocrighttype]
  FROM pg_amproc a JOIN suspect s ON s.oid = a.amproc
), described AS (
  SELECT kind, "check", json_build_object('oid', s.oid::int8, 'name', s.proname) AS function,
    (SELECT json_agg(t.oid::int8) FROM pg_type t WHERE t.oid = ANY (s.types) AND t.oid >= 16384
      OR t.typelem = ANY (s.types) AND t.typlen = -1 AND t.oid >= 16384) AS types,
    (SELECT json_agg(t.typname ORDER BY t.oid = ANY (s.types) DESC, t.oid) FROM pg_type t WHERE t.oid = ANY (s.types) AND t.oid >= 16384
      OR t.typelem = ANY (s.types) AND t.typlen = -1 AND t.oid >= 16384) AS names,
    NOT EXISTS (SELECT FROM unnest(s.types) AS u(oid) WHERE u.oid >= 16384) AS built
  FROM spoilt s
)
SELECT json_build_object(
  'operators', (SELECT json_agg(json_build_object('name', o.oprname,
      'function', json_build_object('oid', s.oid::int8, 'name', s.proname)))
    FROM pg_operator o JOIN suspect s ON s.oid = o.oprcode),
  'casts', (SELECT json_agg(row_to_json(d)) FROM described d WHERE kind = 'cast'),
  'domains', (SELECT json_agg(row_to_json(d)) FROM described d WHERE kind = 'domain'),
  'defaults', (SELECT json_agg(row_to_json(d)) FROM described d WHERE kind = 'default'),
  'classes', (SELECT json_agg(row_to_json(d)) FROM described d WHERE kind = 'class'),
  'views', (SELECT json_agg(json_build_object('oid', s.oid::int8, 'name', s.proname)) FROM (
      SELECT u.oid, u.proname FROM suspect u UNION ALL
      SELECT b.oid, b.proname FROM pg_proc b WHERE b.oid < 16384 AND (b.provolatile = 'v' OR b.proname ~ '_to_xml|^ts_stat|^ts_rewrite')
    ) s WHERE s.oid IN (SELECT d.refobjid FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass
      AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
    UNION ALL SELECT o.oprcode FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid
      WHERE d.refclassid = 'pg_operator'::regclass AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
    UNION ALL SELECT f.m[1]::oid FROM pg_rewrite r, regexp_matches(r.ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS f(m)
      WHERE r.oid >= 16384
    UNION ALL SELECT f.m[1]::oid FROM pg_policy y, regexp_matches(concat(y.polqual, ' ', y.polwithcheck), ':(?:funcid|opfuncid) (\d+)', 'g') AS f(m))))`
)

// lookup asks the server for everything that is wanted, in one round trip.
func lookup(ctx context.Context, conn *pgconn.PgConn, w *want) (*loaded, error) {
	var l loaded
	type query struct {
		sql  string
		args [][]byte
		into any
	}
	var queries []query
	if len(w.functions) > 0 {
		queries = append(queries, query{functionsQuery, [][]byte{textArray(w.functions)}, &l.functions})
	}
	if len(w.types) > 0 {
		queries = append(queries, query{typesQuery, [][]byte{textArray(w.types)}, &l.types})
	}
	if len(w.relations) > 0 {
		queries = append(queries, query{relationsQuery, [][]byte{oidArray(w.relations)}, &l.relations})
	}
	if w.hazards {
		l.hazards = &hazards{}
		queries = append(queries, query{hazardsQuery, nil, l.hazards},
			query{reachQuery, [][]byte{[]byte(runsTextRegexp), []byte(actsRegexp)}, &l.reach})
	}

	p, err := newPipe(ctx, conn)
	if err != nil {
		return nil, err
	}
	p.query(lookupBegin, nil)
	p.query(lookupPath, nil)
	for _, q := range queries {
		var into []byte
		p.query(q.sql, func(row [][]byte) { into = append([]byte(nil), row[0]...) }, q.args...)
		p.after(func() error { return json.Unmarshal(into, q.into) })
	}
	if err := p.run(ctx); err != nil {
		return nil, fmt.Errorf("catalog: look up: %w", err)
	}

	return &l, nil
}

// load looks up what is wanted and remembers it; what the server does not know is
// remembered as not there.
func (k *knowledge) load(ctx context.Context, conn *pgconn.PgConn, w *want) error {
	l, err := lookup(ctx, conn, w)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	functions := map[string][]*function{}
	for _, f := range l.functions {
		functions[f.Name] = append(functions[f.Name], f)
	}
	for n := range w.functions {
		if _, known := k.functions[n]; !known {
			k.functions[n] = functions[n]
		}
	}
	types := map[string][]*typeFact{}
	for _, t := range l.types {
		types[t.Name] = append(types[t.Name], t)
	}
	for n := range w.types {
		if _, known := k.types[n]; !known {
			k.types[n] = types[n]
		}
	}
	relations := map[Relation]*relation{}
	for _, r := range l.relations {
		relations[r.OID] = r
	}
	for oid := range w.relations {
		if _, known := k.relations[oid]; !known {
			k.relations[oid] = relations[oid]
		}
	}
	if l.hazards != nil && k.hazards == nil {
		k.hazards = l.hazards
		k.reach.Store(l.reach.reach())
	}

	return nil
}
