//go:build go1.27

package rowset_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// pgxGuesses is about NULLs: where a destination does not fit, pgx tries all types there
// are in the random order of a map, and succeeds or fails with them. Such a case differs
// between two runs of stdlib too. NULLs that fit have a test below.
const pgxGuesses = true

// directDestinations are filled by pgx, and not by database/sql. A Multirange is not one
// of them, because pgx panics when it scans a registered composite into that.
var directDestinations = []func() any{
	func() any { return new([]int64) },
	func() any { return new([]string) },
	func() any { return new([]bool) },
	func() any { return new(map[string]any) },
	func() any { return new([][]int32) },
	func() any { return new([]*string) },
	func() any { return new([]any) },
	func() any { return new(pgtype.FlatArray[string]) },
	func() any { return new(pgtype.FlatArray[byte]) },
	func() any { return new(pgtype.Array[int64]) },
	func() any { return new(pgtype.Range[pgtype.Int4]) },
	func() any { return new(pgtype.PreallocBytes) },
	func() any { return new(pgtype.DriverBytes) },
	func() any { return new(pgtype.UndecodedBytes) },
	func() any { return new([16]byte) },
	func() any { return new(netip.Prefix) },
	func() any { return new(struct{ N, T string }) },
	func() any { return new(map[string]string) },
}

func TestNullsThatFitAreReplayedIntoEveryDestination(t *testing.T) {
	t.Parallel()
	cfg := config(t, pgtest.DSN(t))
	prepare(t, cfg)
	var maps rowset.Maps
	plain := side(t, cfg, nil)
	for _, db := range []*sql.DB{side(t, cfg, replayed(&maps)), side(t, cfg, madeReady(&maps)), side(t, cfg, readOn(0))} {
		for _, c := range []struct {
			expression string
			dest       func() any
		}{
			{"null::int8[]", func() any { return &[]int64{1} }},
			{"'{1,null}'::int8[]", func() any { return new([]int64) }},
			{"'{1,null}'::int8[]", func() any { return new([]*int64) }},
			{"null::text[]", func() any { return &[]string{"x"} }},
			{"null::text[]", func() any { return &pgtype.FlatArray[string]{"x"} }},
			{"null::int4[]", func() any { return &pgtype.Array[int64]{Valid: true} }},
			{"null::int4range", func() any { return &pgtype.Range[pgtype.Int4]{Valid: true} }},
			{"'{[1,2)}'::int4multirange", func() any { return new(pgtype.Multirange[pgtype.Range[pgtype.Int4]]) }},
			{"null::int4multirange", func() any { return new(pgtype.Multirange[pgtype.Range[pgtype.Int4]]) }},
			{"null::bytea", func() any { return &pgtype.PreallocBytes{1} }},
			{"null::bytea", func() any { return &pgtype.DriverBytes{1} }},
			{"null::jsonb", func() any { return &map[string]any{"a": 1} }},
			{"null::jsonb", func() any { return &struct{ N int }{1} }},
			{"null::uuid", func() any { return new([16]byte) }},
			{"null::inet", func() any { return new(netip.Prefix) }},
			{"null::mood", func() any { return new([]string) }},
		} {
			query := "select " + c.expression
			want, got := c.dest(), c.dest()
			wantErr := plain.QueryRowContext(t.Context(), query).Scan(want)
			err := db.QueryRowContext(t.Context(), query).Scan(got)
			if show(got) != show(want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s into %T: %s %v, stdlib: %s %v", query, got, show(got), err, show(want), wantErr)
			}
		}
	}
}

func TestADestinationThatKeepsOrChangesItsBytesHarmsNoOtherReplay(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	set := ready(t, recordOne(t, config(t, pgtest.DSN(t)), `select 'raw'::text, '\x0102'::bytea`))
	before := drain(set.Rows(&maps))
	rows := set.Rows(&maps)
	if err := rows.NextRow(); err != nil {
		t.Fatal(err)
	}
	for i := range rows.Columns() {
		var kept pgtype.DriverBytes
		if err := rows.ScanColumn(driver.ScanContext{}, i, &kept); err != nil {
			t.Fatal(err)
		}
		kept[0] = '!'
		_ = append(kept[:1], "everything behind it"...)
	}
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	if after := drain(set.Rows(&maps)); after != before {
		t.Errorf("%s, and before %s", after, before)
	}
}

// recordOne records one whole result.
func recordOne(t testing.TB, cfg *pgx.ConnConfig, query string) *rowset.Set {
	t.Helper()
	args := []any{pgx.QueryResultFormatsByOID(rowset.Formats())}
	set, _, err := record(t.Context(), connect(t, cfg), query, args, 1<<30) //nolint:sqlclosecheck // read to its end
	if err != nil {
		t.Fatal(err)
	}
	return set
}
