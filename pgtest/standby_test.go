package pgtest_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestAStandbyFollowsAndCanBePromoted(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t, pgtest.Options{})
	ask := func(s *pgtest.Server, sql string) (answer string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), s.DSN(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		rows, err := conn.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			if err := rows.Scan(&answer); err != nil {
				t.Fatal(err)
			}
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return answer
	}
	ask(primary, "create table t as select 1 as n")
	standby := pgtest.NewStandby(t, primary, map[string]string{"cluster_name": "second"})
	if got := ask(standby, "select pg_is_in_recovery()::text"); got != "true" {
		t.Errorf("in recovery: %s", got)
	}
	ask(primary, "insert into t values (2)")
	for deadline := time.Now().Add(time.Minute); ask(standby, "select count(*)::text from t") != "2"; {
		if time.Now().After(deadline) {
			t.Fatal("the standby does not follow")
		}
	}
	if got := ask(primary, "select application_name from pg_stat_replication"); got != "second" {
		t.Errorf("the primary knows it as %q", got)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	ask(standby, "select pg_promote()")
	ask(standby, "insert into t values (3)")
	if got := ask(standby, "select count(*)::text from t"); got != "3" {
		t.Errorf("%s rows after the failover", got)
	}
}
