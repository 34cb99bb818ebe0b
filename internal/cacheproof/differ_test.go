package cacheproof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

// statement is a query, which may fail.
type statement struct {
	text string
	args []any
}

func texts(list ...string) (all []statement) {
	for _, text := range list {
		all = append(all, statement{text: text})
	}
	return all
}

// differ asks the same of one database with the cache and without it.
type differ struct {
	plain, cached *sql.DB
	of            *lifeguard.Connector
	writes        []string // done through the cache between the reads, in turn
	written       int
	reads         int
}

func newDiffer(t *testing.T, dsn string, writes []string) *differ {
	t.Helper()
	d := &differ{writes: writes}
	var err error
	if d.plain, err = sql.Open("pgx", dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.plain.Close() })
	if d.cached, err = sql.Open(lifeguard.DriverName, dsn+"&lifeguard_cache=local&lifeguard_cache_size=128MiB"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cached.Close() })
	if d.of, err = lifeguard.FromDB(d.cached); err != nil {
		t.Fatal(err)
	}
	return d
}

// passes is how often each statement is done. It is noticed, analysed, filled, and a hit;
// then come the writes, and it is filled, and a hit, again.
const passes = 8

// compare does the statements, some at a time, between writes.
func (d *differ) compare(t *testing.T, list []statement) {
	t.Helper()
	const atATime = 50
	for some := range slices.Chunk(list, atATime) {
		for pass := range passes {
			if pass == 4 || pass == 6 {
				d.write(t)
			}
			for i, s := range some {
				if pass == 5 && i%16 == 0 {
					d.write(t)
				}
				d.same(t, s)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// write does the next of the writes: by itself, in a transaction, or in one that is rolled
// back.
func (d *differ) write(t *testing.T) {
	t.Helper()
	ctx, text := t.Context(), d.writes[d.written%len(d.writes)]
	how := d.written % 5
	d.written++
	if how < 3 {
		if _, err := d.cached.ExecContext(ctx, text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return
	}
	tx, err := d.cached.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if how == 3 {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *differ) same(t *testing.T, s statement) {
	t.Helper()
	d.reads++
	want, got := answerOf(t.Context(), d.plain, s), answerOf(t.Context(), d.cached, s)
	if want != got {
		t.Errorf("%s %v\nwithout the cache %.2000s\nwith the cache    %.2000s", s.text, s.args, want, got)
	}
}

// answerOf is everything that an application can learn from a result: columns, types,
// values with their Go types, and the error.
func answerOf(ctx context.Context, db *sql.DB, s statement) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, s.text, s.args...)
	if err != nil {
		return refusalOf(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return refusalOf(err)
	}
	var b strings.Builder
	for _, c := range types {
		length, hasLength := c.Length()
		precision, scale, isDecimal := c.DecimalSize()
		nullable, known := c.Nullable()
		fmt.Fprintf(&b, "[%s %s %v %v %v %v %v %v %v %v]", c.Name(), c.DatabaseTypeName(), c.ScanType(),
			length, hasLength, precision, scale, isDecimal, nullable, known)
	}
	into := make([]any, len(types))
	for i := range into {
		into[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return b.String() + refusalOf(err)
		}
		b.WriteByte('\n')
		for _, v := range into {
			writeValue(&b, *v.(*any)) //nolint:errcheck // it is what was made above
		}
	}
	if rows.Err() != nil {
		b.WriteString(refusalOf(rows.Err()))
	}
	return b.String()
}

func writeValue(b *strings.Builder, v any) {
	switch v := v.(type) {
	case float64:
		fmt.Fprintf(b, "float64:%s|", strconv.FormatFloat(v, 'x', -1, 64))
	case time.Time:
		fmt.Fprintf(b, "time:%s %s|", v.Format(time.RFC3339Nano), v.Location())
	default:
		fmt.Fprintf(b, "%T:%#v|", v, v)
	}
}

func refusalOf(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return fmt.Sprintf("error %s %s %s %s %T", pgErr.Code, pgErr.Message, pgErr.Detail, pgErr.Where, err)
	}
	return fmt.Sprintf("error %T %v", err, err)
}

// served checks that memory has answered a good part, and tells why not the rest.
func (d *differ) served(t *testing.T, statements, least int) {
	t.Helper()
	st := d.of.Stats().Cache
	why := make([]string, 0, len(st.Bypasses))
	for reason, n := range st.Bypasses {
		if n > 0 {
			why = append(why, fmt.Sprintf("%s %d", reason, n))
		}
	}
	slices.Sort(why)
	t.Logf("%d statements, %d reads, %d hits, %d misses, %d writes; not from memory: %s",
		statements, d.reads, st.Hits, st.Misses, d.written, strings.Join(why, ", "))
	if int(st.Hits)*100 < least*d.reads {
		t.Errorf("%d hits are less than %d %% of %d reads", st.Hits, least, d.reads)
	}
}
