//go:build go1.27

package lifeguard_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

var rowsMethodsOfThisGo = []string{"NextRow", "ScanColumn"}

func TestTransparencyOfScanningIntoSlicesOnGo127(t *testing.T) {
	if _, ok := any((*lifeguard.Rows)(nil)).(driver.RowsColumnScanner); !ok {
		t.Fatal("Rows is no driver.RowsColumnScanner")
	}
	dsn := pgtest.DSN(t)
	prepareSchema(t, dsn)
	var ints []int64
	if err := openDSN(t, dsn).QueryRow("select '{1,2,3}'::bigint[]").Scan(&ints); err != nil || !slices.Equal(ints, []int64{1, 2, 3}) {
		t.Errorf("%v, %v", ints, err)
	}
	for _, mode := range execModes {
		s := openSides(t, dsn, "default_query_exec_mode="+mode)
		for _, expression := range transparencyTypes {
			for _, destination := range []func() any{
				func() any { return new([]int64) },
				func() any { return new([]sql.NullString) },
				func() any { return new([]string) },
				func() any { return new(map[string]any) },
				func() any { return new(pgtype.Range[pgtype.Int4]) },
				func() any { return new(netip.Prefix) },
				func() any { return new(pgtype.Interval) },
				func() any { return new(pgtype.UUID) },
				func() any { return new(sql.Null[int64]) },
			} {
				if _, isSlice := destination().(*[]int64); strings.HasPrefix(expression, "null") && !isSlice {
					continue // pgx itself takes or refuses NULL for some destinations, by the order of a map
				}
				query := "select " + expression
				s.same(t, fmt.Sprintf("%s %s into %T", mode, query, destination()), func(db *sql.DB) string {
					v := destination()
					err := db.QueryRowContext(t.Context(), query).Scan(v)
					return fmt.Sprintf("%+v %s", v, showError(err))
				})
			}
		}
	}
	// Errors in the middle of a result come through NextRow here.
	s := openSides(t, dsn)
	s.same(t, "an error in the middle", func(db *sql.DB) string {
		return queryTranscript(t.Context(), db, "select array[1/(n-50)] from generate_series(1, 100) n", nil)
	})
}
