package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const byID, byName = 1, 2

func id(n int64) Row { return Row{Relation: users, By: byID, Int: n} }

func called(text string) Row { return Row{Relation: users, By: byName, Text: text} }

func rowWrites(rows ...Row) *Writes {
	w := new(Writes)
	for _, r := range rows {
		w.AddRow(r)
	}
	return w
}

func everyWrite() *Writes {
	w := new(Writes)
	w.AddEverything()
	return w
}

func keyed(t *testing.T, l *Ledger, row Row) Keyed {
	t.Helper()
	k, ok := l.Keyed(row.Relation, row.By)
	if !ok {
		t.Fatalf("another key of %d is meant already", row.Relation)
	}
	return k
}

func captureRow(t *testing.T, l *Ledger, row Row) Snapshot {
	t.Helper()
	s, ok := keyed(t, l, row).Capture(&row)
	if !ok {
		t.Fatal("no snapshot, and no fence is up")
	}
	return s
}

// apart are two rows whose stripes differ.
func apart(t *testing.T, l *Ledger) (a, b Row) {
	t.Helper()
	a = id(1)
	for n := int64(2); n < 100; n++ {
		if b = id(n); l.hash(&a)%stripesOf != l.hash(&b)%stripesOf {
			return a, b
		}
	}
	t.Fatal("all keys have one hash")
	return a, b
}

// Who reads the table meets every writer, who reads a row meets all but those of other rows:
// behind the fence, and after the commit.
func TestWhoDependsOnARowMeetsAllButWritersOfOthers(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	mine, other := apart(t, l)
	another := mine
	another.Relation = orders
	for _, c := range []struct {
		name       string
		writes     func() *Writes
		table, row bool // meet it
	}{
		{"the row", func() *Writes { return rowWrites(mine) }, true, true},
		{"another row", func() *Writes { return rowWrites(other) }, true, false},
		{"both", func() *Writes { return rowWrites(other, mine) }, true, true},
		{"by another key", func() *Writes { return rowWrites(called("x")) }, true, true},
		{"the table", func() *Writes { return writes(users) }, true, true},
		{"the row and the table", func() *Writes { w := rowWrites(other); w.Add(users); return w }, true, true},
		{"everything", everyWrite, true, true},
		{"a row of another table", func() *Writes { return rowWrites(another) }, false, false},
		{"another table", func() *Writes { return writes(orders) }, false, false},
	} {
		table, row := capture(t, l, users), captureRow(t, l, mine)
		f := l.Raise(c.writes())
		if table.Valid() == c.table || row.Valid() == c.row {
			t.Errorf("%s: behind the fence the table is valid: %t, the row %t", c.name, table.Valid(), row.Valid())
		}
		_, tableToo := l.Dependencies([]Relation{users}).Capture()
		_, rowToo := keyed(t, l, mine).Capture(&mine)
		if tableToo == c.table || rowToo == c.row {
			t.Errorf("%s: behind the fence a fill of the table begins: %t, of the row %t", c.name, tableToo, rowToo)
		}
		if _, fenced := l.RowState(&mine); fenced != c.row {
			t.Errorf("%s: the row is fenced: %t", c.name, fenced)
		}
		f.Lower()
		if !table.Valid() || !row.Valid() {
			t.Errorf("%s: after a rollback the table is valid: %t, the row %t", c.name, table.Valid(), row.Valid())
		}
		l.Raise(c.writes()).Bump()
		if table.Valid() == c.table || row.Valid() == c.row || table.Alive() == c.table || row.Alive() == c.row {
			t.Errorf("%s: after the commit the table is valid: %t, the row %t", c.name, table.Valid(), row.Valid())
		}
	}
}

func TestWhatOthersChangedCountsForRows(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	row, table := captureRow(t, l, id(1)), capture(t, l, users)
	l.Changed([]Relation{users})
	if row.Alive() || table.Alive() {
		t.Errorf("the row %t, the table %t", row.Alive(), table.Alive())
	}
	row = captureRow(t, l, id(1))
	l.Flush()
	if row.Alive() {
		t.Error("served after a flush")
	}
}

// A writer that finds nobody who depends on rows has to be met by who begins to.
func TestWhoBeginsToDependOnARowFindsTheFenceThatIsUp(t *testing.T) {
	t.Parallel()
	for _, of := range []*Writes{rowWrites(id(1)), rowWrites(id(2)), writes(users), everyWrite()} {
		l := NewLedger(nil)
		f := l.Raise(of)
		row := id(1)
		k := keyed(t, l, row)
		if _, ok := k.Capture(&row); ok {
			t.Errorf("%+v: a snapshot behind the fence", of)
		}
		f.Bump()
		s, ok := k.Capture(&row)
		if !ok || !s.Valid() {
			t.Errorf("%+v: no snapshot after the commit", of)
		}
		l.Raise(rowWrites(row)).Bump()
		if s.Valid() {
			t.Errorf("%+v: served after a write of the row", of)
		}
	}
}

// Rows that are only written need no memory, as relations that are.
func TestRowsOnWhichNobodyDependsAreForgotten(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	for oid := orders; oid < orders+1000; oid++ {
		l.Raise(rowWrites(Row{Relation: oid, By: byID, Int: 1}, Row{Relation: oid, By: byID, Int: 2})).Bump()
	}
	if len(l.relations) != 0 {
		t.Errorf("%d relations are left", len(l.relations))
	}
	capture(t, l, users)
	l.Raise(rowWrites(id(1))).Bump()
	if l.relations[users].rows != nil {
		t.Error("stripes of a table of which no row is read")
	}
}

func TestKeysOfARelationAreOfOneKind(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	keyed(t, l, id(1))
	k, ok := l.Keyed(users, byName)
	row := called("x")
	if _, captured := k.Capture(&row); ok || captured {
		t.Error("rows by another key can be depended on")
	}
}

func TestWritesOfRowsAreCollected(t *testing.T) {
	t.Parallel()
	w := rowWrites(id(1), id(1), called("x"), Row{Relation: orders, By: byID, Int: 1})
	if len(w.rows) != 3 || w.None() || len(w.Relations()) != 2 || len(w.relations) != 0 {
		t.Errorf("%+v names %v", w, w.Relations())
	}
	w.Add(users)
	w.AddRow(id(2))
	if len(w.rows) != 1 || fmt.Sprint(w.Relations()) != fmt.Sprint([]Relation{users, orders}) {
		t.Errorf("%+v names %v", w, w.Relations())
	}
	w.Reset()
	if !w.None() || len(w.Relations()) != 0 {
		t.Errorf("after a reset: %+v", w)
	}
	for n := range int64(2 * maxRows) {
		w.AddRow(id(n))
	}
	if len(w.rows) != 0 || fmt.Sprint(w.relations) != fmt.Sprint([]Relation{users}) {
		t.Errorf("of many rows are left: %+v", w)
	}
}

func TestEqualKeysHaveOneHash(t *testing.T) {
	t.Parallel()
	l := NewLedger(nil)
	seen := map[uint64]bool{}
	for n := range int64(1000) {
		a, b := id(n), id(n)
		c, d := called(fmt.Sprint("key ", n)), called(strings.Clone(fmt.Sprint("key ", n)))
		if l.hash(&a) != l.hash(&b) || l.hash(&c) != l.hash(&d) {
			t.Fatalf("%d has two hashes", n)
		}
		seen[l.hash(&a)], seen[l.hash(&c)] = true, true
	}
	if len(seen) < 1990 {
		t.Errorf("%d hashes of 2000 keys", len(seen))
	}
}

// The protocol against a database that is some numbers: whoever reads one of them, or all,
// through the cache or past it, never sees a commit and then the time before it.
func TestReadersOfRowsNeverGoBackInTime(t *testing.T) {
	t.Parallel()
	const keys, rounds = 6, 4_000
	l := NewLedger(nil)
	var database [keys]atomic.Int64
	type filled struct {
		values   [keys]int64
		snapshot Snapshot
	}
	var store [keys + 1]atomic.Pointer[filled] // the last one is of the table
	table := l.Dependencies([]Relation{users})
	rows := keyed(t, l, id(0))

	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1)) //nolint:gosec // repeatable
			for range rounds {
				a, b := rng.IntN(keys), rng.IntN(keys)
				of := rowWrites(id(int64(a)), id(int64(b)))
				switch rng.IntN(20) {
				case 0:
					of.AddEverything()
				case 1, 2:
					of.Add(users)
				}
				f := l.Raise(of)
				if rng.IntN(4) == 0 {
					f.Lower()
					continue
				}
				database[a].Add(1) // the commit
				if b != a {
					database[b].Add(1)
				}
				f.Bump()
			}
		})
	}
	var hits, survived atomic.Int64
	for r := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 2)) //nolint:gosec // repeatable
			var last [keys]int64
			for !done.Load() {
				at := rng.IntN(keys + 1)
				first, end := at, at+1
				if at == keys {
					first, end = 0, keys
				}
				var got [keys]int64
				e := store[at].Load()
				if e != nil && e.snapshot.Valid() {
					got = e.values
					hits.Add(1)
					if at < keys && e.snapshot.of.states[0].version.Load() != l.relations[users].any.version.Load() {
						survived.Add(1)
					}
				} else {
					var s Snapshot
					var ok bool
					if at == keys {
						s, ok = table.Capture()
					} else {
						row := id(int64(at))
						s, ok = rows.Capture(&row)
					}
					for i := first; i < end; i++ {
						got[i] = database[i].Load()
					}
					if ok {
						store[at].Store(&filled{got, s})
					}
				}
				for i := first; i < end; i++ {
					if got[i] < last[i] {
						t.Errorf("key %d went from %d back to %d", i, last[i], got[i])
						return
					}
					last[i] = got[i]
				}
			}
		})
	}
	writers.Wait()
	for wait := time.Now(); survived.Load() == 0 && time.Since(wait) < 20*time.Second; {
		<-time.After(time.Millisecond) // the writers may have had the processors for themselves
	}
	done.Store(true)
	readers.Wait()
	if hits.Load() == 0 || survived.Load() == 0 {
		t.Errorf("%d hits, %d after writes of other rows: this tested nothing", hits.Load(), survived.Load())
	}
}

func BenchmarkRows(b *testing.B) {
	l := NewLedger(nil)
	k, _ := l.Keyed(users, byID)
	b.Run("valid", func(b *testing.B) {
		row := id(1)
		s, _ := k.Capture(&row)
		b.ReportAllocs()
		for b.Loop() {
			if !s.Valid() {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("capture", func(b *testing.B) {
		row := id(1)
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := k.Capture(&row); !ok {
				b.Fatal("no snapshot")
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var w Writes
			w.AddRow(id(2))
			l.Raise(&w).Bump()
		}
	})
}
