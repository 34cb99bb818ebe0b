package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// With LIFEGUARD_CACHE=local set, every test of this package runs with the query cache: but
// for those that open their database by a Config, which reads no environment. What is here
// runs always, in the mode that pgx has by default: what a test asks once is asked often
// enough to be answered from memory.

// keepingSides are openSides with the cache on.
func keepingSides(t *testing.T, dsn string, settings ...string) (sides, *lifeguard.Connector) {
	t.Helper()
	s := openSides(t, dsn, settings...)
	s.guard = openDSN(t, withSettings(withSettings(dsn, settings...), "lifeguard_cache=local"))
	connector, err := lifeguard.FromDB(s.guard)
	if err != nil {
		t.Fatal(err)
	}
	return s, connector
}

// again is same often enough for a hit: a text is analysed when it comes the second time,
// and its result kept when it comes the third.
func (s sides) again(t *testing.T, name string, do func(*sql.DB) string) {
	t.Helper()
	for i := range 4 {
		if t.Failed() {
			return
		}
		s.same(t, fmt.Sprintf("%s, time %d", name, i+1), do)
	}
}

func TestTransparencyOfResultShapesFromMemory(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	s, connector := keepingSides(t, dsn)
	shapes := resultShapes()
	for _, nothing := range []string{"empty", "only a comment"} { // prepared again and again, it at times exists already for pgx
		delete(shapes, nothing)
	}
	for _, way := range waysToQuery {
		for name, query := range shapes {
			s.again(t, way.name+": "+name, func(db *sql.DB) string {
				mustExec(t, db, "delete from written") // the cache knows of what goes through it only
				return way.run(t.Context(), db, query)
			})
		}
	}
	if st := connector.Stats().Cache; st.Hits < 50 {
		t.Errorf("only %d hits: %+v", st.Hits, st)
	}
}

func TestTransparencyOfHistoriesWithTheCache(t *testing.T) {
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	s, connector := keepingSides(t, dsn)
	ctx := context.WithValue(t.Context(), lookout{}, observer(t, dsn))
	left := func(db *sql.DB) string { return queryTranscript(ctx, db, "select * from written order by id, t", nil) }
	for name, history := range histories {
		s.again(t, name, func(db *sql.DB) string {
			// A history that loses a connection leaves everything fenced off for a while.
			eventually(t, "an end of the fences", func() bool { return connector.Stats().Cache.Unsettled == 0 })
			if _, err := db.ExecContext(ctx, "delete from written"); err != nil {
				return showError(err)
			}
			told := history(ctx, db) + left(db)
			if db == s.guard {
				eventually(t, name+": what it leaves behind, from memory", func() bool {
					hits := connector.Stats().Cache.Hits
					told += unlessRepeated(told, left(db))
					return connector.Stats().Cache.Hits > hits
				})
			}
			return told
		})
	}
}

// unlessRepeated is more, unless told ends with it.
func unlessRepeated(told, more string) string {
	if strings.HasSuffix(told, more) {
		return ""
	}
	return more
}
