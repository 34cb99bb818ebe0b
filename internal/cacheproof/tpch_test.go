package cacheproof

import (
	"os"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// TestTheQueriesOfTPCHAreTheSame runs the 22 queries of the benchmark on small tables.
func TestTheQueriesOfTPCHAreTheSame(t *testing.T) {
	dsn := pgtest.DSN(t)
	d := newDiffer(t, dsn, []string{
		"update lineitem set l_quantity = l_quantity + 1 where l_orderkey % 7 = 0",
		"insert into orders select max(o_orderkey) + 1, 1, 'O', 1000, date '1995-01-01', '1-URGENT', 'c', 0, 'x' from orders",
		"delete from partsupp where ps_partkey = (select min(ps_partkey) from partsupp) and ps_suppkey % 2 = 0",
		"update supplier set s_acctbal = s_acctbal * 2 where s_suppkey < 4",
		"update nation set n_name = n_name where n_nationkey = 3; update customer set c_acctbal = c_acctbal + 1 where c_custkey < 9",
		"update part set p_size = 1 + p_size % 50",
	})
	schema, err := os.ReadFile("testdata/tpch.schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.plain.ExecContext(t.Context(), string(schema)); err != nil {
		t.Fatal(err)
	}
	queries, err := os.ReadFile("testdata/tpch.sql")
	if err != nil {
		t.Fatal(err)
	}
	list := texts(strings.Split(strings.TrimSpace(string(queries)), "\n\n")...)
	if len(list) != 22 {
		t.Fatalf("%d queries, not 22", len(list))
	}
	d.compare(t, list)
	empty := 0
	for _, s := range list {
		if !strings.Contains(answerOf(t.Context(), d.plain, s), "\n") {
			empty++
			t.Logf("without rows: %.60q", s.text)
		}
	}
	if empty > 4 {
		t.Errorf("%d queries give no rows, so they compare nothing", empty)
	}
	d.served(t, len(list), 30)
}
