package catalog

import (
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func session(t testing.TB, conn *pgconn.PgConn) Session {
	t.Helper()
	s, err := ReadSession(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSessionsKeyHoldsWhatChangesResults(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE SCHEMA other; CREATE ROLE catalog_reader; GRANT USAGE ON SCHEMA other TO catalog_reader")
	defer execute(t, conn, "RESET ALL; RESET ROLE; DROP OWNED BY catalog_reader; DROP ROLE catalog_reader")
	plain := session(t, conn)
	if plain.Reason != "" {
		t.Fatalf("%+v", plain)
	}
	if again := session(t, conn); again != plain {
		t.Errorf("not stable: %v, %v", plain, again)
	}
	for set, matters := range map[string]bool{
		"SET search_path TO other, public":                      true,
		"SET TimeZone TO 'Asia/Tokyo'":                          true,
		"SET DateStyle TO 'SQL, DMY'":                           true,
		"SET IntervalStyle TO 'iso_8601'":                       true,
		"SET bytea_output TO 'escape'":                          true,
		"SET extra_float_digits TO 0":                           true,
		"SET lc_monetary TO 'C'":                                false, // as it was
		"SET default_text_search_config TO 'pg_catalog.simple'": true,
		"SET xmlbinary TO 'hex'":                                true,
		"SET array_nulls TO off":                                true,
		"SET transform_null_equals TO on":                       true,
		"SET quote_all_identifiers TO on":                       true,
		"SET timezone_abbreviations TO 'India'":                 true,
		"SET row_security TO off":                               true,
		"SET ROLE catalog_reader":                               true,
		"SET SESSION AUTHORIZATION catalog_reader":              true,
		"SET work_mem TO '64MB'":                                false,
		"SET application_name TO 'x'":                           false,
		"SET statement_timeout TO 1000":                         false,
		"SET enable_seqscan TO off":                             false,
		"SET random_page_cost TO 1":                             false,
		"SET client_min_messages TO error":                      false,
		"SELECT set_config('app.tenant', '7', false)":           false, // nothing that is kept can read it
	} {
		execute(t, conn, set)
		if got := session(t, conn); (got.Key != plain.Key) != matters {
			t.Errorf("%s: differs is %v\n%s\n%s", set, got.Key != plain.Key, plain.Key, got.Key)
		}
		execute(t, conn, "RESET ALL; RESET SESSION AUTHORIZATION; RESET ROLE")
	}
	if again := session(t, conn); again != plain {
		t.Errorf("not as before: %v, %v", plain, again)
	}
}

func TestSomeSessionsKeepNothing(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]Reason{
		"SET default_transaction_isolation TO 'repeatable read'": Isolation,
		"SET default_transaction_isolation TO 'serializable'":    Isolation,
		"SET default_transaction_isolation TO 'read committed'":  "",
		"SET standard_conforming_strings TO off":                 Escapes,
		"SET client_encoding TO 'LATIN1'":                        Encoding,
		"SET gin_fuzzy_search_limit TO 100":                      FuzzySearch,
		"SET session_replication_role TO replica":                ReplicationRole,
		"CREATE TEMP TABLE hides (id int)":                       TemporarySchema,
		"CREATE TYPE pg_temp.mood AS ENUM ('a')":                 TemporarySchema,
		"CREATE TEMP TABLE hides (id int); DROP TABLE hides":     "",
	} {
		conn, _ := database(t, "")
		execute(t, conn, set)
		if got := session(t, conn).Reason; got != want {
			t.Errorf("%s: %q, want %q", set, got, want)
		}
	}
}

func TestAnEmptyTemporarySchemaDoesNotCount(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE a (id int)")
	before := session(t, conn)
	execute(t, conn, "CREATE TEMP TABLE x (id int); DROP TABLE x")
	if after := session(t, conn); after != before {
		t.Errorf("%v, then %v", before, after)
	}
	if a := analyze(t, New(), conn, "SELECT lower('X'), * FROM a"); !a.Cacheable {
		t.Errorf("%+v", a)
	}
}

// TestWhereTheLexerIsNotTrustedEverythingMayHappen: with backslashes as escapes
// this is a string and a DELETE, or one string.
func TestWhereTheLexerIsNotTrustedEverythingMayHappen(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE a (id int)")
	execute(t, conn, "SET standard_conforming_strings TO off; SET backslash_quote TO on; SET escape_string_warning TO off")
	for _, sql := range []string{`SELECT '\', now(), '1'`, "SELECT * FROM a", "DELETE FROM a"} {
		if a := analyze(t, New(), conn, sql); a.Cacheable || !a.Everything {
			t.Errorf("%s: %+v", sql, a)
		}
	}
}

func TestATemporaryTableHidesAnother(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE a (id int); CREATE TEMP TABLE a (id int)")
	if a := analyze(t, New(), conn, "SELECT * FROM a"); a.Reason != TemporaryRelation {
		t.Errorf("%+v", a)
	}
	if a := analyze(t, New(), conn, "SELECT * FROM public.a"); !a.Cacheable {
		t.Errorf("%+v", a)
	}
}

// TestTheSearchPathDecidesWhatANameMeans: tables, functions and types.
func TestTheSearchPathDecidesWhatANameMeans(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, `CREATE SCHEMA other;
		CREATE TABLE a (id int); CREATE TABLE other.a (id int);
		CREATE FUNCTION other.upper(text) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp()::text $$`)
	names, c := namesOf(t, conn), New()
	for _, tt := range []struct{ path, sql, want string }{
		{"public", "SELECT upper('x'), * FROM a", "cacheable reads a"},
		{"other", "SELECT * FROM a", "cacheable reads other.a"},
		{"other", "SELECT upper('x'), * FROM a", "function (upper) reads other.a"},
		{"public", "SELECT other.upper('x')", "function (upper)"},
		{"public, pg_catalog", "SELECT * FROM a", "search_path reads a"},
		{"pg_catalog, other", "SELECT * FROM a", "cacheable reads other.a"},
		{"nosuch", "SELECT * FROM a", "refused everything by refused ddl foreign"},
		{"other", "TRUNCATE a", "not_a_read writes other.a"},
	} {
		execute(t, conn, "SET search_path TO "+tt.path)
		if got := names.describe(analyze(t, c, conn, tt.sql)); got != tt.want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", tt.path, tt.sql, got, tt.want)
		}
	}
}

// TestHostileOperatorsInTheSearchPathDoNotReachOurQueries: with pg_catalog last,
// anybody's "=" comes first.
func TestHostileOperatorsInTheSearchPathDoNotReachOurQueries(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, `CREATE TABLE a (id int);
		CREATE FUNCTION never(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
		CREATE FUNCTION never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
		CREATE FUNCTION never(oid, oid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
		CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, FUNCTION = never);
		CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = never);
		CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = never);
		CREATE FUNCTION public.pg_lock_status() RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION public.current_schemas(boolean) RETURNS text[] LANGUAGE sql AS 'SELECT ''{pg_catalog}''::text[]'`)
	names := namesOf(t, conn)
	execute(t, conn, "SET search_path TO public, pg_catalog")
	if got := names.describe(analyze(t, New(), conn, "INSERT INTO a VALUES (1)")); got != "not_a_read writes a" {
		t.Error(got)
	}
	if got := names.describe(analyze(t, New(), conn, "SELECT * FROM a")); got != "search_path reads a" {
		t.Error(got)
	}
	execute(t, conn, "BEGIN; INSERT INTO a VALUES (1)")
	held, err := New().Held(t.Context(), conn, true)
	if err != nil || held.Everything || names.list(held.Relations) != "a" {
		t.Errorf("held %+v, %v", held, err)
	}
}

func TestACatalogServesManySessionsAndForgets(t *testing.T) {
	t.Parallel()
	admin, dsn := database(t, "CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE VIEW w AS SELECT id FROM a")
	c := New()
	a := analyze(t, c, admin, "SELECT * FROM w")
	if a.Generation != c.Generation() || len(a.Reads) != 2 {
		t.Fatalf("%+v", a)
	}
	var wg sync.WaitGroup
	for range 4 {
		conn := connect(t, dsn)
		wg.Go(func() {
			for range 50 {
				for _, sql := range []string{"SELECT * FROM a", "SELECT id, lower('x') FROM b", "UPDATE a SET id = 1"} {
					a, err := c.Analyze(t.Context(), conn, sql)
					if err != nil || a.Everything || len(a.Reads)+len(a.Writes) == 0 {
						t.Errorf("%s: %+v, %v", sql, a, err)
						return
					}
				}
			}
		})
	}
	for i := range 20 {
		c.Forget()
		execute(t, admin, "CREATE OR REPLACE VIEW w AS SELECT id FROM "+[]string{"a", "b"}[i%2])
		c.Forget()
	}
	wg.Wait()
	if c.Generation() != a.Generation+40 {
		t.Errorf("generation %d after %d", c.Generation(), a.Generation)
	}
	execute(t, admin, "CREATE OR REPLACE VIEW w AS SELECT id FROM a WHERE now() > '2000-01-01'")
	c.Forget()
	if a := analyze(t, c, admin, "SELECT * FROM w"); a.Reason != View || !strings.HasSuffix(a.Culprit, "now") {
		t.Errorf("%+v", a)
	}
}

// TestADeferredTriggerMayWriteAfterTheLocksWereRead: also that of a table which
// another trigger has written.
func TestADeferredTriggerMayWriteAfterTheLocksWereRead(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, read(t, "testdata/schema.sql"))
	names := namesOf(t, conn)
	for sql, late := range map[string]bool{
		"INSERT INTO audited VALUES (1)":             false,
		"INSERT INTO late VALUES (1)":                true,
		"INSERT INTO orders (user_id) VALUES (NULL)": false, // its foreign key is no such trigger
	} {
		execute(t, conn, "BEGIN; "+sql)
		held, err := New().Held(t.Context(), conn, false)
		if err != nil || held.Everything != late {
			t.Errorf("%s: %s, everything %v, %v", sql, names.list(held.Relations), held.Everything, err)
		}
		execute(t, conn, "ROLLBACK")
	}
}

func TestASchemaThatAppearsChangesTheKey(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "SET search_path TO later, public")
	before := session(t, conn)
	execute(t, conn, "CREATE SCHEMA later")
	if session(t, conn) == before {
		t.Error("the same key")
	}
}
