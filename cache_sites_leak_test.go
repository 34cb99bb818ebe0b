package lifeguard

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func (ps *sites) size() (known, cores int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.known), len(ps.cores)
}

func TestSitesGoWithTheLastWhoNeedsThem(t *testing.T) {
	dsn := pgtest.DSN(t)
	knownBefore, coresBefore := inProcess.size()
	cachesBefore := inProcess.caches
	for i := range 100 {
		setting := "lifeguard_cache=local"
		if i%2 > 0 {
			setting = "lifeguard_cache=off"
		}
		separator := "?"
		if strings.Contains(dsn, "?") {
			separator = "&"
		}
		cfg, err := ParseConfig(dsn + separator + setting)
		if err != nil {
			t.Fatal(err)
		}
		connector, err := NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		if _, err := db.ExecContext(t.Context(), "create table if not exists t (i int); insert into t values (1)"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	known, cores := inProcess.size()
	if known > knownBefore || cores > coresBefore || inProcess.caches != cachesBefore {
		t.Errorf("%d sites after %d, %d connectors after %d, %d caches after %d", known, knownBefore, cores, coresBefore, inProcess.caches, cachesBefore)
	}
}
