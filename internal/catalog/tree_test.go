package catalog

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The server's own tree of a statement says which functions it calls, whatever their names
// were taken for here, and where text is read as a date. It is an oracle that knows nothing
// of tokens.

// readsMore returns what in the server's tree of a statement a kept result must not depend
// on; ok is false if the server makes no view of it.
func readsMore(t testing.TB, conn *pgconn.PgConn, sql string) (list []string, ok bool) {
	t.Helper()
	execute(t, conn, "BEGIN")
	defer execute(t, conn, "ROLLBACK")
	// Below EXISTS, columns may have one name, and any type.
	if conn.Exec(t.Context(), "CREATE TEMP VIEW probe AS SELECT 1 AS one WHERE EXISTS ("+sql+"\n)").Close() != nil {
		return nil, false
	}
	tree := rows(t, conn, "SELECT ev_action::text FROM pg_rewrite WHERE ev_class = 'pg_temp.probe'::regclass")[0]
	for _, node := range []string{"SQLVALUEFUNCTION", "NEXTVALUEEXPR", "TABLESAMPLECLAUSE"} {
		if strings.Contains(tree, "{"+node+" ") {
			list = append(list, node)
		}
	}
	// What is cast of a literal was read with the literal.
	for _, cast := range nodes(strings.ReplaceAll(tree, "{COERCEVIAIO :arg {CONST ", "{LITERAL :arg {CONST "), "COERCEVIAIO") {
		if m := regexp.MustCompile(`:resulttype (\d+)`).FindStringSubmatch(cast); m == nil || clockTypes[m[1]] {
			list = append(list, "a cast from text to a date")
		}
	}
	var called []string
	for _, m := range regexp.MustCompile(`:(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)`).FindAllStringSubmatch(tree, -1) {
		called = append(called, m[1])
	}
	for _, m := range regexp.MustCompile(`:opnos? \(?o? ?([\d ]+)`).FindAllStringSubmatch(tree, -1) {
		called = append(called, operatorsOf(t, conn, strings.Fields(m[1]))...)
	}
	if len(called) == 0 {
		return list, true
	}
	for _, name := range rows(t, conn, notImmutable+"("+strings.Join(called, ",")+") ORDER BY 1") {
		if name = strings.TrimPrefix(name, "|"); !isSettled(name) {
			list = append(list, name)
		}
	}
	return list, true
}

// notImmutable leaves out what is behind the server's own operators: those that are STABLE
// depend on settings of the key.
const notImmutable = `SELECT DISTINCT proname FROM pg_proc p WHERE (provolatile = 'v' OR provolatile = 's' AND NOT EXISTS (
	SELECT FROM pg_operator o WHERE o.oprcode = p.oid AND o.oid < 16384)) AND oid IN `

func operatorsOf(t testing.TB, conn *pgconn.PgConn, oids []string) (called []string) {
	t.Helper()
	for _, oid := range rows(t, conn, "SELECT oprcode::oid FROM pg_operator WHERE oid IN ("+strings.Join(oids, ",")+")") {
		called = append(called, strings.TrimPrefix(oid, "|"))
	}
	return called
}

// clockTypes are those whose input reads "today": dates and times, arrays and ranges of them.
var clockTypes = map[string]bool{
	"1082": true, "1083": true, "1114": true, "1184": true, "1266": true,
	"1182": true, "1183": true, "1115": true, "1185": true, "1270": true,
	"3908": true, "3909": true, "3910": true, "3911": true, "3912": true, "3913": true,
	"4533": true, "4534": true, "4535": true,
}

// nodes returns the fields of each node of a kind, without those of the nodes in them.
func nodes(tree, kind string) (list []string) {
	for at := 0; ; {
		next := strings.Index(tree[at:], "{"+kind+" ")
		if next < 0 {
			return list
		}
		at += next + 1
		var fields strings.Builder
		for i, depth := at, 1; depth > 0 && i < len(tree); i++ {
			switch {
			case tree[i] == '\\':
				i++
			case tree[i] == '{':
				depth++
			case tree[i] == '}':
				depth--
			case depth == 1:
				fields.WriteByte(tree[i])
			}
		}
		list = append(list, fields.String())
	}
}

// checkTree holds a statement that may be kept against the server's tree, and reports
// whether there is one.
func checkTree(t testing.TB, conn *pgconn.PgConn, sql string) bool {
	t.Helper()
	list, ok := readsMore(t, conn, sql)
	if len(list) > 0 {
		t.Errorf("%q is cacheable, but depends on %s", sql, strings.Join(list, ", "))
	}
	return ok
}

// checkDates looks for the days around this one in a result: the tables have none of them.
func checkDates(t testing.TB, sql string, result []string) {
	t.Helper()
	for days := -1; days <= 1; days++ {
		day := time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)
		if slices.ContainsFunc(result, func(line string) bool { return strings.Contains(line, day) }) {
			t.Errorf("%q is cacheable, but knows that it is %s", sql, day)
			return
		}
	}
}

func TestWhatMayBeKeptCallsNothingElseByTheServersTree(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, read(t, "testdata/schema.sql"))
	c, checked := New(), 0
	for _, sql := range slices.Concat(statements(t), seeds(t)) {
		a := analyze(t, c, conn, sql)
		if a.Cacheable && len(a.Params) == 0 && checkTree(t, conn, sql) {
			checked++
		}
	}
	t.Logf("%d statements", checked)
	if checked < 100 {
		t.Errorf("only %d statements were checked", checked)
	}
	// The oracle itself has to find something.
	for sql, want := range map[string]string{
		"SELECT now()": "now", "SELECT CURRENT_DATE": "SQLVALUEFUNCTION", "SELECT name::date FROM users": "a cast from text to a date",
		"SELECT age(born) FROM users": "age", "SELECT id FROM users TABLESAMPLE system (1)": "TABLESAMPLECLAUSE", "SELECT writes(1)": "writes",
		"SELECT tags::date[] FROM users": "a cast from text to a date",
	} {
		if list, _ := readsMore(t, conn, sql); !slices.Contains(list, want) {
			t.Errorf("%s: the tree shows %q, not %s", sql, list, want)
		}
	}
}

// seeds returns statements that a reader of tokens could misjudge. The fuzzers begin with
// them, too.
func seeds(t testing.TB) []string {
	t.Helper()
	return slices.DeleteFunc(strings.Split(read(t, "testdata/seeds.sql"), "\n"), func(s string) bool {
		return s == "" || strings.HasPrefix(s, "#")
	})
}

// TestWhatTheCorpusReadsIsWhatTheServerLocks is the oracle of oracle_test.go for the
// statements that people wrote, with empty tables and with rows in them.
func TestWhatTheCorpusReadsIsWhatTheServerLocks(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, read(t, "testdata/schema.sql"))
	names, c, ran := namesOf(t, conn), New(), 0
	for _, full := range []bool{false, true} {
		if full {
			execute(t, conn, corpusRows)
		}
		for _, sql := range slices.Concat(statements(t), seeds(t)) {
			a := analyze(t, c, conn, sql)
			if !a.Cacheable {
				continue
			}
			execute(t, conn, "BEGIN")
			_, err := conn.ExecParams(t.Context(), sql, make([][]byte, len(a.Params)), nil, nil, nil).Close()
			var want []Relation
			if err == nil {
				want = locked(t, conn, "= 'AccessShareLock'")
				if other := locked(t, conn, "<> 'AccessShareLock'"); len(other) > 0 {
					t.Errorf("%s may be kept, and locks %s", sql, names.list(other))
				}
			}
			execute(t, conn, "ROLLBACK")
			if err != nil {
				continue // a division by zero, when there are rows
			}
			ran++
			if slices.Contains(want, names.oid("mother")) { // kid has two parents, so they are one family
				want = slices.DeleteFunc(want, func(r Relation) bool { return r == names.oid("father") })
			}
			if !slices.Equal(a.Reads, want) {
				t.Errorf("%s\nreads  %s\nlocked %s", sql, names.list(a.Reads), names.list(want))
			}
		}
	}
	t.Logf("%d statements", ran)
	if ran < 240 {
		t.Errorf("only %d statements ran", ran)
	}
}

func (names relationNames) oid(name string) Relation {
	for oid, n := range names {
		if n == name {
			return oid
		}
	}
	return 0
}

const corpusRows = `
	INSERT INTO users (id, name, email, born, created_at, state, data, tags)
	SELECT i, 'n' || i, 'today', '2024-01-01', '2024-01-01', 'ok', '{"a": "now"}', '{today,x}' FROM generate_series(1, 4) i;
	INSERT INTO orders (user_id, total, status, placed) SELECT i, +i, 'open', '2024-02-02' FROM generate_series(1, 4) i;
	INSERT INTO items SELECT i, +i, 'yesterday' FROM generate_series(1, 4) i;
	INSERT INTO part SELECT i, '2024-05-05', 'a' FROM generate_series(1, 4) i;
	INSERT INTO period SELECT i, '2024-05-05', 'today' FROM generate_series(1, 4) i;
	INSERT INTO kid VALUES (1, 2, 3);
	REFRESH MATERIALIZED VIEW m_users`
