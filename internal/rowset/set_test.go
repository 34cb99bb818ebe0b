package rowset_test

import (
	"database/sql/driver"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// shape is a result without a server.
type shape struct {
	fields []pgconn.FieldDescription
	row    [][]byte
}

// five is a row of five columns as tables have them.
func five() shape {
	return shape{
		fields: []pgconn.FieldDescription{
			{Name: "id", DataTypeOID: pgtype.Int8OID, TypeModifier: -1, Format: pgx.BinaryFormatCode},
			{Name: "email", DataTypeOID: pgtype.TextOID, TypeModifier: -1},
			{Name: "balance", DataTypeOID: pgtype.NumericOID, TypeModifier: -1},
			{Name: "created_at", DataTypeOID: pgtype.TimestamptzOID, TypeModifier: -1, Format: pgx.BinaryFormatCode},
			{Name: "is_active", DataTypeOID: pgtype.BoolOID, TypeModifier: -1, Format: pgx.BinaryFormatCode},
		},
		row: [][]byte{
			{0, 0, 0, 0, 0, 1, 2, 3}, []byte("somebody@example.com"), []byte("1234.5600"), {0, 2, 0xb4, 0xa0, 0x10, 0, 0, 0}, {1},
		},
	}
}

func one(oid uint32, format int16, value []byte) shape {
	return shape{fields: []pgconn.FieldDescription{{Name: "v", DataTypeOID: oid, TypeModifier: -1, Format: format}}, row: [][]byte{value}}
}

func (s shape) set(t testing.TB, rows int) *rowset.Set {
	t.Helper()
	b := rowset.NewBuilder(rowset.NewColumns(s.fields), rows, 1<<30)
	for range rows {
		if !b.Add(s.row) {
			t.Fatal("a row is refused")
		}
	}
	return b.Set(pgconn.NewCommandTag(fmt.Sprintf("SELECT %d", rows)))
}

func TestSizeIsWhatTheHeapSays(t *testing.T) { //nolint:paralleltest // it looks at the heap
	// Two that are measured one after the other are enough noise.
	long := five()
	long.row[1] = []byte(strings.Repeat("x", 5000))
	wide := shape{}
	for i := range 60 {
		wide.fields = append(wide.fields, pgconn.FieldDescription{Name: fmt.Sprintf("column_%d", i), DataTypeOID: pgtype.Int4OID, Format: 1})
		wide.row = append(wide.row, []byte{0, 0, 0, byte(i)})
	}
	for _, c := range []struct {
		name       string
		of         shape
		sets, rows int
		parsed     bool
	}{
		{"one number", one(pgtype.Int8OID, 1, make([]byte, 8)), 100_000, 1, false},
		{"no rows", five(), 100_000, 0, false},
		{"one row", five(), 100_000, 1, false},
		{"one row, parsed", five(), 100_000, 1, true},
		{"20 rows", five(), 20_000, 20, false},
		{"20 rows, parsed", five(), 20_000, 20, true},
		{"1000 rows", five(), 500, 1000, false},
		{"long rows", long, 2_000, 3, false},
		{"60 columns", wide, 20_000, 1, false},
		{"no columns", shape{}, 100_000, 2, false},
	} {
		sets := make([]*rowset.Set, c.sets)
		encoded := c.of.set(t, c.rows).AppendBinary(nil)
		before := heap()
		for i := range sets {
			if c.parsed {
				sets[i], _ = rowset.Parse(encoded)
			} else {
				sets[i] = c.of.set(t, c.rows)
			}
		}
		took := heap() - before
		said := 0
		for _, s := range sets {
			said += s.Size()
		}
		ratio := float64(said) / float64(took)
		t.Logf("%-16s %6d bytes a set, the heap says %6d: %.3f", c.name, said/c.sets, took/c.sets, ratio)
		if ratio < 0.95 || ratio > 1.05 {
			t.Errorf("%s: Size is %.3f of the heap's growth", c.name, ratio)
		}
		runtime.KeepAlive(sets)
		runtime.KeepAlive(encoded)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestARowOverALimitIsRefusedAndTheRowsBeforeItStay(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	of := five()
	size := of.set(t, 10).Size()
	for _, c := range []struct {
		name              string
		maxRows, maxBytes int
		least, most       int
	}{
		{"rows", 3, 1 << 20, 3, 3},
		{"no rows", 0, 1 << 20, 0, 0},
		{"bytes", 1 << 20, size, 10, 11},
		{"no bytes", 1 << 20, 0, 0, 0},
	} {
		b := rowset.NewBuilder(rowset.NewColumns(of.fields), c.maxRows, c.maxBytes)
		n := 0
		for n < 100 && b.Add(of.row) {
			n++
		}
		set := b.Set(pgconn.CommandTag{})
		if n < c.least || n > c.most || set.Len() != n {
			t.Errorf("%s: %d rows were added, the set has %d", c.name, n, set.Len())
		}
		if n > 0 && set.Size() > c.maxBytes+c.maxBytes/8 {
			t.Errorf("%s: %d bytes, of %d", c.name, set.Size(), c.maxBytes)
		}
		if got, want := drain(set.Rows(&maps)), drain(of.set(t, n).Rows(&maps)); got != want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if rowset.NewBuilder(rowset.NewColumns(of.fields), 10, 1<<20).Add(of.row[:4]) {
		t.Error("a row of four values for five columns was added")
	}
}

func TestASetKeepsNothingThatItWasMadeOf(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	of := five()
	b := rowset.NewBuilder(rowset.NewColumns(of.fields), 10, 1<<20)
	b.Add(of.row)
	set := b.Set(pgconn.NewCommandTag("SELECT 1"))
	want := drain(set.Rows(&maps))
	b.Add(of.row) // goes on behind the set
	encoded := set.AppendBinary(nil)
	parsed, err := rowset.Parse(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range append(of.row, encoded) {
		clear(value)
	}
	clear(of.fields)
	if got := drain(set.Rows(&maps)); got != want {
		t.Errorf("%s, before %s", got, want)
	}
	if got := drain(parsed.Rows(&maps)); got != want {
		t.Errorf("parsed: %s, before %s", got, want)
	}
}

func TestWhatACallerDoesToItsRowsIsNotSeenByOthers(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	set := one(pgtype.ByteaOID, 1, []byte("bytes")).set(t, 1)
	want := drain(set.Rows(&maps))
	rows := set.Rows(&maps)
	rows.Columns()[0] = "changed"
	if rows.Columns()[0] != "changed" { // database/sql asks again, at the first row
		t.Error("a name that the caller has changed is changed back")
	}
	dest := make([]driver.Value, 1)
	if err := rows.Next(dest); err != nil {
		t.Fatal(err)
	}
	value, ok := dest[0].([]byte)
	if !ok {
		t.Fatalf("%T", dest[0])
	}
	clear(value)
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	if got := drain(set.Rows(&maps)); got != want {
		t.Errorf("%s, before %s", got, want)
	}
}

func TestOneSetIsReplayedByManyAtOnce(t *testing.T) {
	t.Parallel()
	of := five()
	of.fields = append(of.fields, pgconn.FieldDescription{Name: "many", DataTypeOID: pgtype.Int4ArrayOID, Format: 1})
	of.row = append(of.row, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23})
	set := of.set(t, 20)
	var maps rowset.Maps
	want := drain(set.Rows(&maps))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				rows := set.Rows(&maps)
				if name := rows.ColumnTypeDatabaseTypeName(0); name != "INT8" {
					t.Error(name)
				}
				if got := drain(rows); got != want {
					t.Error(got)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestClosedRowsGiveNothingAndCloseAgain(t *testing.T) {
	t.Parallel()
	var maps rowset.Maps
	set := five().set(t, 3)
	rows := set.Rows(&maps)
	dest := make([]driver.Value, 5)
	if err := rows.Next(dest); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
		if got := drain(rows); !strings.HasSuffix(got, "] end <nil>") {
			t.Errorf("after Close: %s", got)
		}
	}
	// A workspace that was given back twice would now be two callers'.
	a, b := set.Rows(&maps), set.Rows(&maps)
	if a.ColumnTypeDatabaseTypeName(1) != "TEXT" || b.ColumnTypeDatabaseTypeName(1) != "TEXT" || rowset.SameWorkspace(a, b) {
		t.Error("two replays share a workspace")
	}
}

func TestTagIsWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{"SELECT 2", "SELECT 1000", "INSERT 0 2", "SHOW", "EXPLAIN"} {
		b := rowset.NewBuilder(rowset.NewColumns(five().fields), 10, 1<<20)
		b.Add(five().row)
		b.Add(five().row)
		set := b.Set(pgconn.NewCommandTag(tag))
		parsed, err := rowset.Parse(set.AppendBinary(nil))
		if err != nil || set.Tag().String() != tag || parsed.Tag().String() != tag {
			t.Errorf("%s: %s, parsed %s, %v", tag, set.Tag(), parsed.Tag(), err)
		}
	}
}

// Texts of a large result point into copies, never into the set, which would stay in
// memory for one of them; those of a small one cost nothing but the place of their value.
func TestTextsOfALargeResultAreCopiedTogether(t *testing.T) { //nolint:paralleltest // counts allocations
	fields := make([]pgconn.FieldDescription, 6)
	row := make([][]byte, len(fields))
	for i := range fields {
		fields[i] = pgconn.FieldDescription{Name: "t", DataTypeOID: pgtype.TextOID}
		row[i] = []byte(fmt.Sprint("the text of column ", i))
	}
	for _, c := range []struct {
		rows int
		each float64 // allocations for a row
	}{{1, 6}, {1000, 6.2}} {
		b := rowset.NewBuilder(rowset.NewColumns(fields), c.rows, 1<<30)
		for range c.rows {
			b.Add(row)
		}
		set := b.Set(pgconn.CommandTag{})
		var maps rowset.Maps
		dest := make([]driver.Value, len(fields))
		got := testing.AllocsPerRun(3, func() {
			rows := set.Rows(&maps)
			for rows.Next(dest) == nil {
				for i := range dest {
					if dest[i] != string(row[i]) {
						t.Fatalf("%v", dest[i])
					}
				}
			}
			_ = rows.Close()
		})
		want := 1 + float64(c.rows)*c.each // one for the Rows
		if got > want+2 {
			t.Errorf("%d rows: %v allocations, not %v", c.rows, got, want)
		}
	}
}
