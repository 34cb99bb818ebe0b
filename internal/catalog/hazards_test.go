package catalog

import "testing"

// TestWhatNoTokenShowsIsFoundByItsTypes: casts, domains and operator classes call
// functions that stand nowhere in the text.
func TestWhatNoTokenShowsIsFoundByItsTypes(t *testing.T) {
	t.Parallel()
	const types = `
		CREATE TYPE mood AS ENUM ('sad', 'ok');
		CREATE TYPE inner_pair AS (a int, b int);
		CREATE TABLE plain (id int, name text);
		CREATE TABLE moody (id int, m mood);
		CREATE TABLE pairs (id int, p inner_pair);`
	const wild = "CREATE FUNCTION wild(mood) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT (random() * 10)::int';"
	for _, tt := range []struct{ name, setup, sql, want string }{
		{"nothing", "", "SELECT m FROM moody", "cacheable reads moody"},
		{
			"a volatile cast", wild + "CREATE CAST (mood AS int) WITH FUNCTION wild(mood) AS IMPLICIT",
			"SELECT id + m FROM moody", "cast (mood) reads moody",
		},
		{
			"a volatile cast of a literal", wild + "CREATE CAST (mood AS int) WITH FUNCTION wild(mood) AS IMPLICIT",
			"SELECT id + mood 'sad' FROM plain", "cast (mood) reads plain",
		},
		{
			"a volatile cast of a parameter", wild + "CREATE CAST (mood AS int) WITH FUNCTION wild(mood) AS IMPLICIT",
			"SELECT 1 FROM plain WHERE id = $1::\"mood\"", "cast (mood) reads plain",
		},
		{
			"a volatile cast elsewhere", wild + "CREATE CAST (mood AS int) WITH FUNCTION wild(mood) AS IMPLICIT",
			"SELECT id FROM plain", "cacheable reads plain",
		},
		{
			"a cast that writes", `CREATE FUNCTION w(mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO plain VALUES (1); RETURN 1; END';
			CREATE CAST (mood AS int) WITH FUNCTION w(mood) AS IMPLICIT`,
			"SELECT id + m FROM moody", "cast (mood) reads moody everything by cast held",
		},
		{
			"a cast that writes, in a write", `CREATE FUNCTION w(mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO plain VALUES (1); RETURN 1; END';
			CREATE CAST (mood AS int) WITH FUNCTION w(mood) AS ASSIGNMENT`,
			"INSERT INTO plain SELECT m FROM moody", "not_a_read (mood) reads moody writes plain everything by cast held",
		},
		{
			"an immutable cast", `CREATE FUNCTION tame(mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
			CREATE CAST (mood AS int) WITH FUNCTION tame(mood) AS IMPLICIT`,
			"SELECT id + m FROM moody", "cacheable reads moody",
		},
		{
			"a cast that says it is immutable", `CREATE FUNCTION liar(mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT count(*)::int FROM plain';
			CREATE CAST (mood AS int) WITH FUNCTION liar(mood) AS IMPLICIT`,
			"SELECT id + m FROM moody", "cast (mood) reads moody",
		},
		{
			"a cast between built-in types", `CREATE FUNCTION w(jsonb) RETURNS date LANGUAGE sql VOLATILE AS 'SELECT now()::date';
			CREATE CAST (jsonb AS date) WITH FUNCTION w(jsonb) AS IMPLICIT`,
			"SELECT id FROM plain", "cast (w) reads plain",
		},
		{
			"a cast by input and output", "CREATE CAST (text AS mood) WITH INOUT AS IMPLICIT",
			"SELECT m = name::mood FROM moody, plain", "cacheable reads moody plain",
		},
		{
			"a domain's check", `CREATE FUNCTION chk(text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 0.5';
			CREATE DOMAIN fickle AS text CHECK (chk(VALUE))`,
			"SELECT 'x'::fickle", "domain (fickle)",
		},
		{
			"a domain's check, in a column", `CREATE FUNCTION chk(text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 0.5';
			CREATE DOMAIN fickle AS text CHECK (chk(VALUE)); CREATE TABLE f (x fickle)`,
			"SELECT x FROM f", "domain (fickle) reads f",
		},
		{
			"a domain's check, elsewhere", `CREATE FUNCTION chk(text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 0.5';
			CREATE DOMAIN fickle AS text CHECK (chk(VALUE))`,
			"SELECT id FROM plain", "cacheable reads plain",
		},
		{
			"a domain's clock", "CREATE DOMAIN past AS date CHECK (VALUE < CURRENT_DATE)",
			"SELECT '2024-01-01'::past", "domain (past)",
		},
		{
			"a domain that is plain", "CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0)",
			"SELECT 2::even, '4'::even", "cacheable",
		},
		{
			"a domain that is plain, of a column", "CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0)",
			"SELECT id::even FROM plain", "cast (even) reads plain",
		},
		{
			"an operator class", `CREATE FUNCTION cmp(inner_pair, inner_pair) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT (random() * 2 - 1)::int';
			CREATE FUNCTION lt(inner_pair, inner_pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
			CREATE OPERATOR <<< (LEFTARG = inner_pair, RIGHTARG = inner_pair, FUNCTION = lt);
			CREATE OPERATOR CLASS odd DEFAULT FOR TYPE inner_pair USING btree AS OPERATOR 1 <<<, FUNCTION 1 cmp(inner_pair, inner_pair)`,
			"SELECT p FROM pairs ORDER BY p", "operator_class (inner_pair) reads pairs",
		},
		{
			"an equality that no token shows", `CREATE FUNCTION eq(mood, int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 0.5';
			CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = int, FUNCTION = eq)`,
			"SELECT id FROM moody WHERE m IN (id)", "operator (=) reads moody",
		},
		{
			"an aggregate's support", `CREATE FUNCTION s(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT (random() * 5)::int';
			CREATE AGGREGATE agg(int) (SFUNC = s, STYPE = int)`,
			"SELECT agg(id) FROM plain", "function (s) reads plain",
		},
		{
			"a function that only reads", "CREATE FUNCTION r() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM plain'",
			"SELECT r()", "function (r)",
		},
		{
			"a function that reads, and a view that writes", `CREATE FUNCTION r() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM plain';
			CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'DELETE FROM moody RETURNING 1';
			CREATE VIEW writing AS SELECT w()`,
			"SELECT r()", "function (r) everything by function_body held",
		},
		{
			"another language", "CREATE FUNCTION i() RETURNS text LANGUAGE internal IMMUTABLE AS 'pg_backend_pid'; SELECT 1",
			"SELECT i()", "cacheable",
		}, // as declared: only a superuser can
		{
			"recursion", `CREATE FUNCTION a(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN b($1); END';
			CREATE FUNCTION b(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a($1) + c($1); END';
			CREATE FUNCTION c(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (random() * $1)::int; END'`,
			"SELECT b(1), a(1)", "function_body (random)",
		},
		{
			"a type's name as a function", "CREATE DOMAIN moment AS timestamptz",
			"SELECT moment(name) FROM plain", "cast (moment) reads plain",
		},
		{"a table's name as a type", "", "SELECT name::plain FROM plain", "cast (plain) reads plain"},
		{
			"a policy that only reads", "ALTER TABLE plain ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON plain USING (id IN (SELECT id FROM moody))",
			"UPDATE plain SET id = 2", "not_a_read writes plain",
		},
		{
			"a statement's own trigger", "CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO moody VALUES (1); RETURN NULL; END'; CREATE TRIGGER tr AFTER TRUNCATE ON plain EXECUTE FUNCTION tr()",
			"TRUNCATE plain", "not_a_read (tr) writes plain everything by trigger held",
		},
		{
			"a disabled trigger", "CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO moody VALUES (1); RETURN NULL; END'; CREATE TRIGGER tr AFTER INSERT ON plain EXECUTE FUNCTION tr(); ALTER TABLE plain DISABLE TRIGGER tr",
			"INSERT INTO plain VALUES (1)", "not_a_read writes plain",
		},
		{
			"a trigger on a partition", `CREATE TABLE top (id int) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF top DEFAULT;
			CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE ''select 1''; RETURN NULL; END'; CREATE TRIGGER tr AFTER INSERT ON leaf EXECUTE FUNCTION tr()`,
			"INSERT INTO top VALUES (1)", "not_a_read (tr) writes top everything by trigger held ddl",
		},
		{
			"a domain's default", "CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'DELETE FROM moody RETURNING 1'; CREATE DOMAIN d AS int DEFAULT w(); CREATE TABLE f (id int, x d)",
			"INSERT INTO f (id) VALUES (1)", "not_a_read (d) writes f everything by domain held",
		},
		{
			"a domain's default, read", "CREATE DOMAIN d AS timestamptz DEFAULT now(); CREATE TABLE f (id int, x d)",
			"SELECT x FROM f", "cacheable reads f",
		},
		{
			"a temporary function", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
			"SELECT pg_temp.f()", "function (f) everything by function held ddl",
		},
		{
			"a function that yields a date by name only", "CREATE FUNCTION date_trunc(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'to' || 'day' $$",
			"SELECT date_trunc(1)::date", "clock_cast (date_trunc)",
		},
		{
			"a function whose column hides another", "CREATE TABLE born (born date); CREATE FUNCTION g() RETURNS TABLE (born text) LANGUAGE sql IMMUTABLE AS $$ SELECT 'to' || 'day' $$",
			"SELECT s.born::date FROM born b, g() s", "clock_cast reads born",
		},
		{
			"a function's column by another name", "CREATE TABLE born (born date)",
			"SELECT s.born::date FROM born b JOIN unnest($1::text[]) WITH ORDINALITY s (born, n) ON true", "clock_cast reads born",
		},
		{
			"values by the name of a column", "CREATE TABLE born (born date)",
			"SELECT s.born::date FROM born b, (VALUES ('to' || 'day')) s (born)", "clock_cast reads born",
		},
		{
			"a cast within a function", "CREATE FUNCTION d(x text) RETURNS date LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN x::date; END'",
			"SELECT d(name) FROM plain", "function_body (d) reads plain",
		},
		{
			"an index expression", "CREATE FUNCTION ix(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN DELETE FROM moody; RETURN 1; END'; CREATE INDEX ON plain (ix(id))",
			"INSERT INTO plain VALUES (1)", "not_a_read (ix) writes plain everything by default held",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, _ := database(t, types)
			execute(t, conn, tt.setup)
			if got := namesOf(t, conn).describe(analyze(t, New(), conn, tt.sql)); got != tt.want {
				t.Errorf("%s\ngot  %s\nwant %s", tt.sql, got, tt.want)
			}
		})
	}
}

// TestNoBuiltInOperatorOrCastIsVolatile: the package takes that for granted.
func TestNoBuiltInOperatorOrCastIsVolatile(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "")
	if found := rows(t, conn, `SELECT 'operator', oprname, oprcode::text FROM pg_operator JOIN pg_proc p ON p.oid = oprcode
		WHERE provolatile = 'v' AND NOT 1266 IN (oprleft, oprright)
		UNION ALL SELECT 'cast', castsource::regtype::text, casttarget::regtype::text FROM pg_cast JOIN pg_proc p ON p.oid = castfunc
		WHERE provolatile = 'v'`); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// TestEveryFunctionOnTheListsIsThere guards against names that are misspelt.
func TestEveryFunctionOnTheListsIsThere(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "")
	settledOnes, volatileOnes := 0, 0
	for _, row := range rows(t, conn, "SELECT DISTINCT proname, provolatile FROM pg_proc WHERE provolatile <> 'i'") {
		n, volatile := row[1:len(row)-2], row[len(row)-1] == 'v'
		if isSettled(n) {
			settledOnes++
			if volatile && n != "timezone" {
				t.Errorf("%s is volatile", n)
			}
		}
		if isHarmlessVolatile(n) && volatile {
			volatileOnes++
		}
	}
	if settledOnes < 40 || volatileOnes < 50 {
		t.Errorf("%d and %d of the names exist", settledOnes, volatileOnes)
	}
}
