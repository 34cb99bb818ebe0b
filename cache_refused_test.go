package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// A role that may not look at what the cache has to know pays for being refused once, and
// not with each statement.
func TestARefusalIsRememberedAndNamed(t *testing.T) {
	for _, revoked := range []string{"pg_stat_activity", "pg_lock_status", "pg_settings"} {
		t.Run(revoked, func(t *testing.T) {
			role := fmt.Sprintf("%s_%d", revoked[3:], time.Now().UnixNano()) // roles are the server's, not the database's
			what := revoked
			if revoked == "pg_lock_status" {
				what = "function pg_lock_status()"
			}
			schema := cacheSchema + "create role " + role + "; grant all on item, other to " + role + "; alter role " + role + " login; revoke all on " + what + " from public"
			c, turns := openCachedCounted(t, schema, "pool_max_conns=1", "user="+role)
			t.Cleanup(func() { dropRole(t, c.plain, role) })
			round := func() (n int64) {
				before := turns.Load()
				c.same("refused", allItems)
				mustExec(t, c, "update item set name = name || '!' where id = $1", 1)
				c.same("refused, and written", oneItem, 1)
				return turns.Load() - before
			}
			for range 4 { // each text is prepared once
				round()
			}
			if n := round(); n != 3 {
				t.Errorf("two queries and a write take %d round trips", n)
			}
			st := c.stats()
			if st.Hits > 0 || st.Bypasses["server_refuses"] == 0 {
				t.Errorf("%d hits; %v", st.Hits, st.Bypasses)
			}
			x := c.explain(allItems)
			if x.Cacheable || x.Reason != "server_refuses" || x.Culprit != revoked || x.Because == "" {
				t.Errorf("%+v", x)
			}
		})
	}
}

func dropRole(t *testing.T, db *sql.DB, role string) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
		t.Error(err)
	}
}
