package catalog

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// A Reach is what the functions of a database could do without a word of a statement
// saying so. It is read once per generation, with the hazards, and stands in for an
// analysis where there is none, as within a transaction.
type Reach struct {
	// Writes says that a query could write, or change a setting: there are functions
	// or views by which it could.
	Writes bool
	// Acts says that a function, of a trigger too, could change the catalog or a
	// setting.
	Acts bool

	events  bool     // there are event triggers
	foreign []string // functions that could commit through a connection of their own
	hidden  bool     // and something could call one that does not name it
}

// Foreign reports whether a statement could commit something at once, whatever
// becomes of the transaction around it.
func (r *Reach) Foreign(c *Candidate) bool {
	if len(r.foreign) == 0 {
		return false
	}
	return r.hidden || c.runsText || slices.ContainsFunc(r.foreign, func(n string) bool { return slices.Contains(c.words, n) })
}

// Surprises reports whether a statement that is [Candidate.Hidden] may change more than
// its kind tells.
func (r *Reach) Surprises(c *Candidate) bool {
	if c.Kind == sqltext.Cursor { // what DECLARE has let in is noted, but for this
		return r.Foreign(c)
	}
	return r.events
}

// A compiled is a function that is neither in SQL nor in PL/pgSQL, nor in C and declared
// to change nothing.
type compiled struct {
	Name      string `json:"name"`
	Language  string `json:"language"`
	Trusted   bool   `json:"trusted"`
	Extension string `json:"extension"`
	Trigger   bool   `json:"trigger"`
	Mentioned bool   `json:"mentioned"` // in another function's text, or by an object
}

// A reachRow is the answer to reachQuery.
type reachRow struct {
	Compiled []compiled `json:"compiled"`
	Volatile bool       `json:"volatile"` // functions that a query could call
	Sets     bool       `json:"sets"`     // functions and views that change settings, or run texts
	Acts     bool       `json:"acts"`
	Executes bool       `json:"executes"` // functions that run texts
	Events   bool       `json:"events"`   // event triggers
}

// What a function's text may hold that acts, going by words as package sqltext's lexer
// cannot in SQL. Text without a word is BEGIN ATOMIC; U& hides words.
const (
	runsTextRegexp = `u&|execute|_to_xml|ts_stat|ts_rewrite|crosstab|connectby`
	actsRegexp     = runsTextRegexp + `|set_config|pg_settings|\m(create|alter|drop|grant|revoke|reassign|discard|pg_reload_conf|pg_import_system_collations)\M` +
		`|\m(security\s+label|import\s+foreign)\M|(^|;|>>|\*/|--[^\n]*\n|\m(begin|then|else|loop)\M)\s*(set|reset)\M`
)

// reachQuery runs with pg_catalog alone in the search_path. A function that is not VOLATILE
// cannot write, but set_config it can call.
const reachQuery = `
WITH own AS (
  SELECT p.oid, p.proname, p.provolatile, p.prosrc, p.prorettype = 2279 AS trigger, l.lanname, l.lanpltrusted,
    l.lanname IN ('sql', 'plpgsql') AS readable
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid >= 16384 AND p.prokind <> 'a'
), compiled AS (
  SELECT o.* FROM own o WHERE NOT o.readable AND NOT (o.lanname IN ('c', 'internal') AND o.provolatile <> 'v')
), setter AS (
  SELECT p.oid FROM pg_proc p WHERE p.proname = 'set_config' AND p.oid < 16384
), pattern AS (
  SELECT string_agg(':funcid ' || s.oid || ' ', '|') AS tree FROM setter s
)
SELECT json_build_object(
  'compiled', (SELECT json_agg(json_build_object('name', c.proname, 'language', c.lanname, 'trusted', c.lanpltrusted,
      'trigger', c.trigger, 'extension', coalesce((SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), ''),
      'mentioned', EXISTS (SELECT FROM own o WHERE o.readable AND strpos(lower(o.prosrc), lower(c.proname)) > 0)
        OR EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = c.oid
          AND d.classid <> 'pg_foreign_data_wrapper'::regclass)))
    FROM compiled c),
  'volatile', EXISTS (SELECT FROM own o WHERE o.readable AND NOT o.trigger AND o.provolatile = 'v'),
  'sets', EXISTS (SELECT FROM own o WHERE o.readable AND NOT o.trigger AND (o.prosrc ~* $1::text OR o.prosrc ~* 'set_config|pg_settings' OR o.prosrc = ''))
    OR EXISTS (SELECT FROM pg_rewrite r, pattern n WHERE r.oid >= 16384 AND r.ev_action::text ~ n.tree)
    OR EXISTS (SELECT FROM pg_policy y, pattern n WHERE y.polqual::text ~ n.tree OR y.polwithcheck::text ~ n.tree)
    OR EXISTS (SELECT FROM pg_constraint k, pattern n WHERE k.contypid <> 0 AND k.conbin::text ~ n.tree)
    OR EXISTS (SELECT FROM pg_aggregate a, setter s WHERE a.aggtransfn = s.oid OR a.aggfinalfn = s.oid OR a.aggmtransfn = s.oid
      OR a.aggmfinalfn = s.oid),
  'acts', EXISTS (SELECT FROM own o WHERE o.readable AND (o.prosrc ~* $2::text OR o.prosrc = ''))
    OR EXISTS (SELECT FROM pg_attrdef a, pattern n WHERE a.oid >= 16384 AND a.adbin::text ~ n.tree)
    OR EXISTS (SELECT FROM pg_constraint k, pattern n WHERE k.oid >= 16384 AND k.conbin::text ~ n.tree)
    OR EXISTS (SELECT FROM pg_trigger t, pattern n WHERE t.tgqual::text ~ n.tree),
  'events', EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtenabled <> 'D' AND e.evtevent <> 'login'),
  'executes', EXISTS (SELECT FROM own o WHERE o.readable AND o.prosrc ~* $1::text))`

func (r *reachRow) reach() *Reach {
	reach := &Reach{Writes: r.Volatile || r.Sets, Acts: r.Acts || r.Sets, events: r.Events}
	for _, c := range r.Compiled {
		inC := c.Language == "c" || c.Language == "internal"
		if inC && isHarmlessVolatile(c.Name) {
			continue
		}
		reach.Acts = true
		reach.Writes = reach.Writes || !c.Trigger
		switch {
		case c.Trusted:
			reach.hidden = true // it may run any text
		case !isLocalExtension(c.Extension):
			reach.foreign = append(reach.foreign, c.Name)
			reach.hidden = reach.hidden || c.Mentioned || c.Trigger
		}
	}
	reach.hidden = reach.hidden || r.Executes

	return reach
}

// Reach returns what functions could do, in the current generation. It asks the server
// unless that is known; conn must be idle.
func (c *Catalog) Reach(ctx context.Context, conn *pgconn.PgConn) (*Reach, error) {
	k := c.current()
	if r := k.reach.Load(); r != nil {
		return r, nil
	}
	w := newWant()
	w.hazards = true
	if err := k.load(ctx, conn, w); err != nil {
		return nil, err
	}
	return k.reach.Load(), nil
}

// KnownReach is Reach without asking: nil if it is not known in this generation.
func (c *Catalog) KnownReach() *Reach { return c.current().reach.Load() }

// foreign reports whether a statement that changes what its targets do not tell may do so
// through a connection of its own.
func (j *judge) foreign(c *Candidate) bool {
	r := j.k.reach.Load()
	return r == nil || r.Foreign(c)
}

// isLocalExtension reports whether an extension's functions in C do nothing outside of
// the transaction they are called in.
func isLocalExtension(extension string) bool {
	switch extension {
	case "amcheck", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dict_int", "dict_xsyn", "earthdistance",
		"fuzzystrmatch", "hstore", "intagg", "intarray", "isn", "lo", "ltree", "pageinspect", "pg_buffercache",
		"pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_surgery", "pg_trgm", "pg_visibility", "pg_walinspect",
		"pgcrypto", "pgrowlocks", "pgstattuple", "plpgsql", "postgres_fdw", "seg", "sslinfo", "tablefunc", "tcn",
		"tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "xml2",
		"postgis", "postgis_topology", "postgis_raster", "vector":
		return true
	default:
		return false
	}
}
