package rowset_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// numbers is a live result of int8 in text: from, from+1, …, and then err.
type numbers struct {
	next, end int
	err       error
	closed    int
	row       [][]byte
}

func (n *numbers) Next() bool {
	if n.closed > 0 || n.next > n.end {
		n.Close()
		return false
	}
	n.row = [][]byte{{byte('0' + n.next)}}
	n.next++
	return true
}

func (n *numbers) RawValues() [][]byte { return n.row }
func (n *numbers) Close()              { n.closed++; n.row = nil }

func (n *numbers) Err() error {
	if n.closed == 0 {
		return nil
	}
	return n.err
}

var numberField = []pgconn.FieldDescription{{Name: "n", DataTypeOID: pgtype.Int8OID}}

// prefix records the numbers from 1 to n.
func prefix(n int) *rowset.Set {
	b := rowset.NewBuilder(rowset.NewColumns(numberField), 10, 1<<20)
	for i := range n {
		b.Add([][]byte{{byte('1' + i)}})
	}
	return b.Set(pgconn.CommandTag{})
}

func readAll(t testing.TB, rows driver.Rows) ([]int64, error) {
	t.Helper()
	var all []int64
	dest := make([]driver.Value, 1)
	for {
		if err := rows.Next(dest); err != nil {
			return all, err
		}
		n, ok := dest[0].(int64)
		if !ok {
			t.Fatalf("%T", dest[0])
		}
		all = append(all, n)
	}
}

func TestAReaderGivesTheRecordedRowsAndThenTheLiveOnes(t *testing.T) {
	t.Parallel()
	failure := errors.New("the connection is gone")
	for _, c := range []struct {
		name     string
		recorded int
		standing bool
		live     numbers
		want     int
		err      error
	}{
		{"standing on the row that was refused", 2, true, numbers{next: 3, end: 5}, 5, io.EOF},
		{"nothing recorded", 0, true, numbers{next: 1, end: 3}, 3, io.EOF},
		{"between two rows", 2, false, numbers{next: 3, end: 5}, 5, io.EOF},
		{"everything recorded", 2, false, numbers{next: 1}, 2, io.EOF},
		{"an error behind the recorded rows", 2, false, numbers{next: 1, err: failure}, 2, failure},
		{"an error among the live rows", 2, true, numbers{next: 3, end: 4, err: failure}, 4, failure},
		{"nothing at all", 0, false, numbers{next: 1}, 0, io.EOF},
	} {
		live := c.live
		if c.standing {
			live.Next()
		}
		r := rowset.NewReader(prefix(c.recorded), &live, pgtype.NewMap(), c.standing)
		all, err := readAll(t, r)
		if len(all) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", c.name, all, err)
		}
		for i, n := range all {
			if n != int64(i+1) {
				t.Errorf("%s: %v", c.name, all)
			}
		}
		if err := r.Close(); !errors.Is(err, c.live.err) {
			t.Errorf("%s: Close returns %v", c.name, err)
		}
	}
}

func TestAReaderThatIsClosedEarlyClosesItsResultAndGivesNoMore(t *testing.T) {
	t.Parallel()
	failure := errors.New("from Close")
	for read := range 4 {
		live := &numbers{next: 3, end: 5, err: failure}
		live.Next()
		r := rowset.NewReader(prefix(2), live, pgtype.NewMap(), true)
		dest := make([]driver.Value, 1)
		for range read {
			if err := r.Next(dest); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); !errors.Is(err, failure) || live.closed == 0 {
			t.Errorf("after %d rows: %v, closed %d times", read, err, live.closed)
		}
		if err := r.Next(dest); !errors.Is(err, io.EOF) {
			t.Errorf("after %d rows and Close: %v", read, err)
		}
	}
}

func TestAReaderWhoseContextEndsFailsAsStdlibDoes(t *testing.T) {
	t.Parallel()
	cfg := config(t, pgtest.DSN(t))
	read := func(db *sql.DB) (int, error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rows, err := db.QueryContext(ctx, "select i, repeat('x', 1000) from generate_series(1, 1000000) i")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for n := 1; n <= 5 && rows.Next(); n++ {
			var i int
			var text string
			if err := rows.Scan(&i, &text); err != nil || i != n {
				t.Fatalf("row %d: %d, %v", n, i, err)
			}
		}
		cancel()
		n := 0
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	for _, replay := range []replayer{nil, readOn(2), readOn(0), readOn(100)} {
		n, err := read(side(t, cfg, replay))
		if n >= 999_000 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d more rows, %v", n, err)
		}
	}
}
