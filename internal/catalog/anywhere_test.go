package catalog

import "testing"

func TestOnlyPlainReadsRunAnywhere(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"select n from t where id = $1", "SELECT * FROM a JOIN b USING (id) WHERE a.x > $1 ORDER BY 1 LIMIT 5",
		"select count(*), max(n), coalesce(min(n), 0) from t", "with x as (select 1 as n) select n from x", "select lower(name) from t",
		"table t", "values (1, 2)", "select n from t where id in (1, 2) and not (n = 3 or exists (select 1 from u)) union (select 2)",
	} {
		if !RunsAnywhere(sql) {
			t.Errorf("%q does not", sql)
		}
	}
	for _, sql := range []string{
		"", "select 1; select 2", "select nextval('s')", "select pg_advisory_lock(1)", "select set_config('a', 'b', false)",
		"select pg_backend_pid()", "select mine(1)", "select public.count(1) from t", "select \"Count\"(1) from t",
		"select n from t for update", "select n from t for share", "select * into x from t", "insert into t values (1)",
		"with x as (delete from t returning n) select n from x", "select now()", "select current_timestamp", "select txid_current()",
		"select * from dblink('x', 'y')", `select "in"(1)`, "select x.in(1)", "explain analyze select 1", "show all", "select pg_sleep(1)", "call p()",
	} {
		if RunsAnywhere(sql) {
			t.Errorf("%q does", sql)
		}
	}
}
