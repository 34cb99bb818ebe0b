package cdc

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// tables is what is known of the database's relations, at one moment. It never changes.
type tables struct {
	roots     map[Relation]Relation // of every relation; see rootsOf
	uncovered map[Relation]struct{} // roots of which some rows change without a word in the log
	published entries
}

// entries are what a publication names, by OID, with the OID of the naming itself: what was
// taken out and put back has another, and what was changed in between was not told.
type entries struct {
	of      edition
	all     bool                // FOR ALL TABLES
	tables  map[Relation]uint32 // OIDs of pg_publication_rel
	schemas map[uint32]uint32   // of pg_publication_namespace
}

// edition tells apart the publications of one name, and what one was before and after its
// options were changed.
type edition struct {
	oid     uint32
	written uint32 // by that transaction
}

// within reports whether all of e is in o, too.
func (e *entries) within(o *entries) bool {
	switch {
	case e.of != o.of:
		return false
	case o.all || e.all:
		return o.all
	}
	return len(common(e.tables, o.tables)) == len(e.tables) && len(common(e.schemas, o.schemas)) == len(e.schemas)
}

// and keeps what is in both.
func (e *entries) and(o *entries) entries {
	switch {
	case e.of != o.of:
		return entries{of: e.of}
	case e.all:
		return *o
	case o.all:
		return *e
	}
	return entries{of: e.of, tables: common(e.tables, o.tables), schemas: common(e.schemas, o.schemas)}
}

// common are the namings that are in both.
func common(a, b map[uint32]uint32) map[uint32]uint32 {
	both := maps.Clone(a)
	maps.DeleteFunc(both, func(oid, naming uint32) bool {
		other, there := b[oid]
		return !there || other != naming
	})
	return both
}

// class is a row of pg_class.
type class struct {
	oid       Relation
	schema    uint32
	kind      byte
	logged    bool
	partition bool
	parents   []Relation
}

// covered reports whether the publication sends a table's changes: it names the table, its
// schema, or what it is a partition of.
func (e *entries) covers(oid Relation, classes map[Relation]*class) bool {
	if e.all {
		return true
	}
	for range 1000 { // a chain of partitions is not that long
		c := classes[oid]
		if c == nil {
			return false
		}
		if _, there := e.tables[oid]; there {
			return true
		}
		if _, there := e.schemas[c.schema]; there {
			return true
		}
		if !c.partition || len(c.parents) == 0 {
			return false
		}
		oid = c.parents[0]
	}
	return false
}

// The names are qualified, for the search_path is the role's.
const (
	classesSQL = `SELECT c.oid::pg_catalog.text, c.relnamespace::pg_catalog.text, c.relkind::pg_catalog.text,
  (c.relpersistence OPERATOR(pg_catalog.=) 'p')::pg_catalog.text, c.relispartition::pg_catalog.text,
  (SELECT pg_catalog.string_agg(i.inhparent::pg_catalog.text, ',' ORDER BY i.inhparent) FROM pg_catalog.pg_inherits i WHERE i.inhrelid OPERATOR(pg_catalog.=) c.oid)
FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::"char"[])
AND c.relpersistence OPERATOR(pg_catalog.<>) 't'`

	// A publication that leaves out kinds of changes, or that tells the root in place of
	// the partition and then hides a TRUNCATE of one, is of no use: usable is false.
	publicationSQL = `SELECT p.oid::pg_catalog.text, p.puballtables::pg_catalog.text,
  (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot)::pg_catalog.text,
  pg_catalog.pg_has_role(p.pubowner, 'USAGE')::pg_catalog.text, pg_catalog.pg_get_userbyid(p.pubowner)::pg_catalog.text,
  p.xmin::pg_catalog.text
FROM pg_catalog.pg_publication p WHERE p.pubname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name`

	// A table with a row filter is as good as not named.
	publishedSQL15 = `SELECT 't', r.prrelid::pg_catalog.text, r.oid::pg_catalog.text FROM pg_catalog.pg_publication_rel r
  WHERE r.prpubid OPERATOR(pg_catalog.=) $1::pg_catalog.oid AND r.prqual IS NULL
UNION ALL SELECT 's', n.pnnspid::pg_catalog.text, n.oid::pg_catalog.text FROM pg_catalog.pg_publication_namespace n
  WHERE n.pnpubid OPERATOR(pg_catalog.=) $1::pg_catalog.oid`
	publishedSQL14 = `SELECT 't', r.prrelid::pg_catalog.text, r.oid::pg_catalog.text FROM pg_catalog.pg_publication_rel r
  WHERE r.prpubid OPERATOR(pg_catalog.=) $1::pg_catalog.oid`
)

// publication is one, as it is now.
type publication struct {
	oid       string
	usable    bool
	ours      bool // the role may change it
	owner     string
	published entries
}

// loadPublication returns nil if there is none of that name.
func loadPublication(ctx context.Context, conn *pgconn.PgConn, name string, version int) (*publication, error) {
	rows, err := query(ctx, conn, publicationSQL, name)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	p := &publication{oid: rows[0][0], usable: rows[0][2] == "true", ours: rows[0][3] == "true", owner: rows[0][4]}
	p.published = entries{all: rows[0][1] == "true", tables: map[Relation]uint32{}, schemas: map[uint32]uint32{}}
	of := &p.published.of
	if of.oid, err = parseOID(rows[0][0]); err != nil {
		return nil, err
	}
	if of.written, err = parseOID(rows[0][5]); err != nil {
		return nil, err
	}
	sql := publishedSQL15
	if version < 150000 {
		sql = publishedSQL14
	}
	rows, err = query(ctx, conn, sql, p.oid)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		oid, err := parseOID(row[1])
		if err != nil {
			return nil, err
		}
		naming, err := parseOID(row[2])
		if err != nil {
			return nil, err
		}
		if row[0] == "s" {
			p.published.schemas[oid] = naming
		} else {
			p.published.tables[oid] = naming
		}
	}
	return p, nil
}

// loadTables reads the relations. Of what the publication names only what it named when
// the stream began counts: of a table that was added later the server may still leave out
// what it decodes in transactions that are older.
func loadTables(ctx context.Context, conn *pgconn.PgConn, published entries) (*tables, error) {
	rows, err := query(ctx, conn, classesSQL)
	if err != nil {
		return nil, err
	}
	classes := make(map[Relation]*class, len(rows))
	for _, row := range rows {
		c, err := parseClass(row)
		if err != nil {
			return nil, err
		}
		classes[c.oid] = c
	}
	t := &tables{roots: rootsOf(classes), uncovered: make(map[Relation]struct{}), published: published}
	for oid, c := range classes {
		switch c.kind {
		case 'r':
			if c.logged && published.covers(oid, classes) {
				continue
			}
		case 'p', 'v', 'm': // without rows of its own, or refreshed by what counts as DDL
			continue
		}
		t.uncovered[t.roots[oid]] = struct{}{}
	}
	return t, nil
}

func parseClass(row []string) (*class, error) {
	oid, err := parseOID(row[0])
	if err != nil {
		return nil, err
	}
	schema, err := parseOID(row[1])
	if err != nil {
		return nil, err
	}
	if len(row[2]) != 1 {
		return nil, &protocolError{fmt.Sprintf("a relation of kind %.10q", row[2])}
	}
	c := &class{oid: oid, schema: schema, kind: row[2][0], logged: row[3] == "true", partition: row[4] == "true"}
	if row[5] == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(row[5], ",") {
		parent, err := parseOID(part)
		if err != nil {
			return nil, err
		}
		c.parents = append(c.parents, parent)
	}
	return c, nil
}

func parseOID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, &protocolError{fmt.Sprintf("%.20q is no OID", text)}
	}
	return uint32(n), nil
}

// rootsOf gives each relation the one that stands for all that are connected with it by
// partitioning or inheritance: of those without parents, the lowest. Package catalog
// counts so, too, and a test holds the two together.
func rootsOf(classes map[Relation]*class) map[Relation]Relation {
	leader := make(map[Relation]Relation, len(classes)) // union-find
	for oid := range classes {
		leader[oid] = oid
	}
	find := func(oid Relation) Relation {
		for leader[oid] != oid {
			leader[oid] = leader[leader[oid]]
			oid = leader[oid]
		}
		return oid
	}
	for oid, c := range classes {
		for _, parent := range c.parents {
			if _, there := leader[parent]; there {
				leader[find(oid)] = find(parent)
			}
		}
	}
	root := make(map[Relation]Relation)
	for oid, c := range classes {
		if len(c.parents) > 0 {
			continue
		}
		of := find(oid)
		if known, there := root[of]; !there || oid < known {
			root[of] = oid
		}
	}
	roots := make(map[Relation]Relation, len(classes))
	for oid := range classes {
		roots[oid] = oid
		if r, there := root[find(oid)]; there {
			roots[oid] = r
		}
	}
	return roots
}

// query runs a statement with parameters, all in text. NULL is "".
func query(ctx context.Context, conn *pgconn.PgConn, sql string, params ...string) ([][]string, error) {
	values := make([][]byte, len(params))
	for i, p := range params {
		values[i] = []byte(p)
	}
	result := conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	rows := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		rows[i] = make([]string, len(row))
		for j, v := range row {
			rows[i][j] = string(v)
		}
	}
	return rows, nil
}
