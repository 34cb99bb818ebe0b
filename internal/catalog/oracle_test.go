package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A maker makes schemas, and statements on them, by chance.
type maker struct {
	*rand.Rand
	tables  []string // with columns id, ref, v, w
	members []string // partitions and heirs of them
	views   []string
	setup   strings.Builder
}

func newMaker(seed uint64) *maker {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 7))}
	for i := range 4 + m.IntN(5) {
		m.table(fmt.Sprintf("t%d", i))
	}
	m.keys()
	for i := range 6 {
		view := fmt.Sprintf("v%d", i)
		kind := "VIEW"
		if m.IntN(4) == 0 {
			kind = "MATERIALIZED VIEW"
		}
		fmt.Fprintf(&m.setup, "CREATE %s %s AS %s;\n", kind, view, m.query(2))
		m.views = append(m.views, view)
	}
	return m
}

func (m *maker) table(name string) {
	m.tables = append(m.tables, name)
	columns := "id int, ref int, v int, w text"
	switch m.IntN(4) {
	case 0: // partitions, one of them partitioned again
		fmt.Fprintf(&m.setup, `CREATE TABLE %[1]s (%[2]s, PRIMARY KEY (id)) PARTITION BY RANGE (id);
			CREATE TABLE %[1]s_a PARTITION OF %[1]s FOR VALUES FROM (0) TO (3);
			CREATE TABLE %[1]s_b PARTITION OF %[1]s FOR VALUES FROM (3) TO (100) PARTITION BY RANGE (id);
			CREATE TABLE %[1]s_c PARTITION OF %[1]s_b FOR VALUES FROM (3) TO (100);
			`, name, columns)
		m.members = append(m.members, name+"_a", name+"_b", name+"_c")
	case 1: // an heir, and an heir's heir
		fmt.Fprintf(&m.setup, `CREATE TABLE %[1]s (%[2]s, PRIMARY KEY (id));
			CREATE TABLE %[1]s_d (x int) INHERITS (%[1]s);
			CREATE TABLE %[1]s_e () INHERITS (%[1]s_d);
			`, name, columns)
		m.members = append(m.members, name+"_d", name+"_e")
	default:
		fmt.Fprintf(&m.setup, "CREATE TABLE %s (%s, PRIMARY KEY (id));\n", name, columns)
	}
}

// keys makes foreign keys, in circles too; every row references its like.
func (m *maker) keys() {
	actions := []string{"NO ACTION", "RESTRICT", "CASCADE", "CASCADE", "CASCADE", "SET NULL", "SET DEFAULT"}
	for _, from := range m.tables {
		if m.IntN(4) == 0 {
			continue
		}
		fmt.Fprintf(&m.setup, "ALTER TABLE %s ADD FOREIGN KEY (ref) REFERENCES %s ON DELETE %s ON UPDATE %s DEFERRABLE INITIALLY DEFERRED;\n",
			from, m.pick(m.tables), m.pick(actions), m.pick(actions))
	}
}

func (m *maker) fill() string {
	var b strings.Builder
	b.WriteString("BEGIN;")
	for _, t := range m.tables {
		fmt.Fprintf(&b, "INSERT INTO %s SELECT n, +n, n + 0, 'w' || n FROM generate_series(1, 6) AS n;\n", t)
	}
	b.WriteString("COMMIT;")
	return b.String()
}

func (m *maker) pick(of []string) string { return of[m.IntN(len(of))] }

func (m *maker) source() string {
	return m.pick(slices.Concat(m.tables, m.tables, m.members, m.views))
}

// query makes a query with columns id, ref, v, w.
func (m *maker) query(depth int) string {
	if depth == 0 {
		return m.simple()
	}
	switch m.IntN(9) {
	case 0:
		return fmt.Sprintf("SELECT a.id, b.ref, a.v, b.w FROM (%s) a JOIN %s b ON a.id = b.id", m.query(depth-1), m.source())
	case 1:
		return fmt.Sprintf("(%s) UNION ALL (%s)", m.query(depth-1), m.query(depth-1))
	case 2:
		return fmt.Sprintf("WITH c AS (%s), unused AS (%s) SELECT * FROM c", m.query(depth-1), m.query(depth-1))
	case 3:
		return fmt.Sprintf("SELECT a.id, a.ref, a.v, a.w FROM %s a WHERE EXISTS (SELECT 1 FROM (%s) s WHERE s.id = a.id)", m.source(), m.query(depth-1))
	case 4:
		return fmt.Sprintf("SELECT a.id, a.ref, a.v, a.w FROM %s a WHERE false AND a.id IN (SELECT id FROM (%s) s)", m.source(), m.query(depth-1))
	case 5:
		return fmt.Sprintf("SELECT a.id, l.ref, l.v, a.w FROM %s a CROSS JOIN LATERAL (SELECT s.ref, s.v FROM (%s) s WHERE s.id = a.id) l", m.source(), m.query(depth-1))
	case 6:
		return fmt.Sprintf("SELECT id, (SELECT max(s.ref) FROM (%s) s) AS ref, v, w FROM %s", m.query(depth-1), m.source())
	case 7:
		return fmt.Sprintf("(%s) EXCEPT (%s)", m.query(depth-1), m.query(depth-1))
	default:
		return fmt.Sprintf("SELECT id, count(*)::int AS ref, max(v) AS v, min(w) AS w FROM (%s) s GROUP BY id", m.query(depth-1))
	}
}

func (m *maker) simple() string {
	where := m.pick([]string{"", "", " WHERE id = 2", " WHERE id = 50", " WHERE id BETWEEN 1 AND 2", " WHERE false", " WHERE w = 'w3'"})
	only := ""
	if m.IntN(6) == 0 {
		only = "ONLY "
	}
	return "SELECT id, ref, v, w FROM " + only + m.source() + where
}

func (m *maker) write() string {
	t := m.pick(slices.Concat(m.tables, m.tables, m.members))
	switch m.IntN(7) {
	case 0:
		return fmt.Sprintf("INSERT INTO %s SELECT * FROM (%s) s ON CONFLICT DO NOTHING", t, "SELECT 9, 1, 1, 'x' WHERE false")
	case 1, 2:
		return fmt.Sprintf("UPDATE %s SET id = id + 20", t)
	case 3:
		return fmt.Sprintf("WITH d AS (DELETE FROM %s WHERE id < 5 RETURNING id) SELECT count(*) FROM d", t)
	case 4:
		return fmt.Sprintf("TRUNCATE %s CASCADE", m.pick(m.tables))
	default:
		return "DELETE FROM " + t
	}
}

// locked is the oracle: what the server itself has locked, each relation by its
// topmost ancestor.
func locked(t *testing.T, conn *pgconn.PgConn, modes string) []Relation {
	t.Helper()
	var oids []Relation
	result := conn.ExecParams(t.Context(), `
		WITH RECURSIVE up AS (
			SELECT c.oid, c.oid AS at FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
			WHERE l.pid = pg_backend_pid() AND l.mode `+modes+` AND c.relkind IN ('r', 'p', 'v', 'm') AND c.oid >= 16384
			UNION SELECT up.oid, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.at)
		SELECT DISTINCT at FROM up WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = at)`, nil, nil, nil, nil)
	for result.NextRow() {
		n, err := strconv.ParseUint(string(result.Values()[0]), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		oids = append(oids, Relation(n))
	}
	if _, err := result.Close(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(oids)
	return oids
}

// attempt runs a statement within a transaction that it leaves open, and reports
// whether it went well.
func attempt(t *testing.T, conn *pgconn.PgConn, sql string) bool {
	t.Helper()
	execute(t, conn, "BEGIN")
	_, err := conn.ExecParams(t.Context(), sql, nil, nil, nil, nil).Close()
	return err == nil
}

func TestWhatAQueryReadsIsWhatTheServerLocks(t *testing.T) {
	t.Parallel()
	queries := 0
	for seed := range uint64(8) {
		m := newMaker(seed)
		conn, _ := database(t, m.setup.String())
		names, c := namesOf(t, conn), New()
		for _, full := range []bool{false, true} {
			if full {
				execute(t, conn, m.fill())
			}
			for range 60 {
				sql := m.query(1 + m.IntN(3))
				a := analyze(t, c, conn, sql)
				if !a.Cacheable {
					t.Fatalf("seed %d: %s: %s", seed, sql, names.describe(a))
				}
				if !attempt(t, conn, sql) {
					t.Fatalf("seed %d: %s is refused", seed, sql)
				}
				want := locked(t, conn, "= 'AccessShareLock'")
				execute(t, conn, "ROLLBACK")
				if !slices.Equal(a.Reads, want) {
					t.Errorf("seed %d: %s\nreads  %s\nlocked %s", seed, sql, names.list(a.Reads), names.list(want))
				}
				queries++
			}
		}
	}
	if queries < 900 {
		t.Errorf("only %d queries", queries)
	}
}

func TestWhatAStatementWritesIsWhatTheServerLocks(t *testing.T) {
	t.Parallel()
	ran, equal := 0, 0
	for seed := range uint64(24) {
		m := newMaker(100 + seed)
		conn, _ := database(t, m.setup.String())
		execute(t, conn, m.fill())
		names, c := namesOf(t, conn), New()
		for range 25 {
			sql := m.write()
			a := analyze(t, c, conn, sql)
			if a.Everything || len(a.Writes) == 0 {
				t.Fatalf("seed %d: %s: %s", seed, sql, names.describe(a))
			}
			ok := attempt(t, conn, sql)
			var want, held []Relation
			if ok {
				want = locked(t, conn, "NOT IN ('AccessShareLock', 'RowShareLock')")
				has, err := c.Held(t.Context(), conn, false)
				if err != nil {
					t.Fatal(err)
				}
				held = has.Relations
			}
			execute(t, conn, "ROLLBACK")
			if !ok {
				continue // RESTRICT
			}
			ran++
			if slices.Equal(a.Writes, want) {
				equal++
			}
			for _, oid := range want {
				if !slices.Contains(a.Writes, oid) {
					t.Errorf("seed %d: %s\nwrites %s\nlocked %s\n%s", seed, sql, names.list(a.Writes), names.list(want), m.setup.String())
					break
				}
			}
			if !slices.Equal(held, want) {
				t.Errorf("seed %d: %s\nheld   %s\nlocked %s", seed, sql, names.list(held), names.list(want))
			}
		}
	}
	t.Logf("%d statements, %d write exactly what is foreseen", ran, equal)
	if ran < 200 || equal < ran*2/3 {
		t.Errorf("%d statements, of which %d write all that is foreseen", ran, equal)
	}
}
