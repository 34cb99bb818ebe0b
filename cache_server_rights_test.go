package lifeguard_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"testing"
	"time"
)

// otherDatabase is another one of the same server, through a Connector without a cache.
func otherDatabase(t *testing.T, c *cachedDB) *sql.DB {
	t.Helper()
	u, err := url.Parse(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/postgres"
	return openDSN(t, u.String())
}

func TestRightsThatChangeThroughAnotherDatabaseCount(t *testing.T) {
	c := openCached(t, cacheSchema)
	role := fmt.Sprintf("rights_%d", time.Now().UnixNano())
	mustExec(t, c.plain, "create role "+role+"_app login")
	mustExec(t, c.plain, "create role "+role+"_readers")
	mustExec(t, c.plain, "grant select on item to "+role+"_readers")
	mustExec(t, c.plain, "grant "+role+"_readers to "+role+"_app")
	t.Cleanup(func() {
		_, _ = c.plain.Exec("drop owned by " + role + "_readers")
		_, _ = c.plain.Exec("drop role " + role + "_readers")
		_, _ = c.plain.Exec("drop role " + role + "_app")
	})
	other := otherDatabase(t, c)
	mustExec(t, other, "select 1")
	u, _ := url.Parse(c.dsn)
	u.User = url.User(role + "_app")
	dsn := u.String()
	plain, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	app := openCachedOn(t, openDSN(t, withSettings(dsn, "lifeguard_cache=local")), plain, dsn)
	app.warm(allItems)
	mustExec(t, other, "revoke "+role+"_readers from "+role+"_app")
	_, want := readAll(t.Context(), plain, allItems)
	_, got := readAll(t.Context(), app.DB, allItems)
	if (want == nil) != (got == nil) {
		t.Errorf("server says %v, memory %v", want, got)
	}
}
