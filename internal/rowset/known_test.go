package rowset_test

import (
	"context"
	"database/sql"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type mood string

// registrations are what applications do to the map of a connection, and which of the
// expressions of the test are not known then.
var registrations = []struct {
	name    string
	hook    func(context.Context, *pgx.Conn) error
	unknown []string
}{
	{"nothing", func(context.Context, *pgx.Conn) error { return nil }, nil},
	{"an enum", load("mood"), []string{"'sad'::mood"}},
	{"an enum and its array", load("mood", "mood[]"), []string{"'sad'::mood", "'{sad}'::mood[]"}},
	{"a composite", load("pair_of_things"), []string{"row(1, 'x')::pair_of_things"}},
	{"a domain", load("positive"), nil}, // the server describes a column by the type below it
	{"another codec for numerics", register(pgtype.Type{Name: "numeric", OID: pgtype.NumericOID, Codec: pgtype.TextCodec{}}), []string{
		"1.5::numeric", "'{1.5}'::numeric[]", "'[1.5,2.5]'::numrange", "'{[1.5,2.5]}'::nummultirange",
	}},
	{"a location for times", register(pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{
		ScanLocation: time.FixedZone("far away", 5*3600),
	}}), []string{"'2024-01-01'::timestamptz", "'[2024-01-01,)'::tstzrange", "array['2024-01-01'::timestamptz]"}},
	{"a Go type", func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterDefaultPgType(mood(""), "text")
		return nil
	}, []string{"'sad'::mood", "'{sad}'::mood[]", "row(1, 'x')::pair_of_things"}},
	{"a wrapper of destinations", func(_ context.Context, conn *pgx.Conn) error {
		wrap := func(any) (pgtype.WrappedScanPlanNextSetter, any, bool) { return nil, nil, false }
		m := conn.TypeMap()
		m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{wrap}, m.TryWrapScanPlanFuncs...)
		return nil
	}, knownExpressions},
}

func load(types ...string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		for _, name := range types {
			t, err := conn.LoadType(ctx, name)
			if err != nil {
				return err
			}
			conn.TypeMap().RegisterType(t)
		}
		return nil
	}
}

func register(t pgtype.Type) func(context.Context, *pgx.Conn) error {
	return func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&t)
		return nil
	}
}

var knownExpressions = []string{
	"1", "'x'::text", "true", "'{1}'::int4[]", "'[1,2)'::int4range", "1.5::numeric", "'{1.5}'::numeric[]", "'[1.5,2.5]'::numrange",
	"'{[1.5,2.5]}'::nummultirange", "'2024-01-01'::timestamptz", "'2024-01-01'::timestamp", "'[2024-01-01,)'::tstzrange",
	"array['2024-01-01'::timestamptz]", "'sad'::mood", "'{sad}'::mood[]", "row(1, 'x')::pair_of_things", "7::positive", "row(1)", "null",
}

func TestKnownIsWhatADefaultMapDecodesAlike(t *testing.T) {
	t.Parallel()
	cfg := config(t, pgtest.DSN(t))
	prepare(t, cfg)
	var maps rowset.Maps
	for _, c := range registrations {
		after := stdlib.OptionAfterConnect(c.hook)
		plain := side(t, cfg, nil, after)
		ways := []*sql.DB{side(t, cfg, madeReady(&maps), after), side(t, cfg, readOn(0), after), side(t, cfg, readOn(2), after)}
		conn := connect(t, cfg)
		if err := c.hook(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		for _, expression := range knownExpressions {
			query := "select " + expression + " as v from generate_series(1, 3)"
			rows, err := conn.Query(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			known := rowset.Known(conn.TypeMap(), rows.FieldDescriptions())
			rows.Close()
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if want := !slices.Contains(c.unknown, expression); known != want {
				t.Errorf("%s: %s known %t, want %t", c.name, expression, known, want)
			}
			want := transcript(t.Context(), plain, query)
			for i, db := range ways {
				if i == 0 && !known {
					continue // a Reader is right all the same
				}
				if got := transcript(t.Context(), db, query); got != want {
					differ(t, c.name+": "+query, want, got)
				}
			}
		}
	}
}

func TestNothingIsKnownIfPgxKeepsItsGoTypesElsewhere(t *testing.T) {
	t.Parallel()
	unregistered := []pgconn.FieldDescription{{Name: "v", DataTypeOID: 99999}}
	if m := pgtype.NewMap(); !rowset.Known(m, unregistered) {
		t.Error("the field of pgtype.Map that says which Go types are registered is gone: an enum is never known now")
	}
}

func TestFormatsAreThoseOfStdlib(t *testing.T) {
	t.Parallel()
	cfg := config(t, pgtest.DSN(t))
	var asked argsTracer
	cfg.Tracer = &asked
	var n int
	if err := side(t, cfg, nil).QueryRowContext(t.Context(), "select 1").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if len(asked.args) != 1 || !reflect.DeepEqual(asked.args[0], pgx.QueryResultFormatsByOID(rowset.Formats())) {
		t.Errorf("stdlib asks for %v", asked.args)
	}
}

// argsTracer keeps the arguments of the last query, options included.
type argsTracer struct{ args []any }

func (a *argsTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	a.args = data.Args
	return ctx
}

func (a *argsTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
