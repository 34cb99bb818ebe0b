package lifeguard

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

func usedHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // small
}

// memoryShape is what results of one statement look like.
type memoryShape struct {
	name          string
	columns, rows int
	text          int  // bytes of each value; 0 stands for an int8
	key           int  // bytes of an argument
	oneOff        bool // each result has columns of its own, as of a text that comes once
	ready         bool // its values are made
	again         int  // how often it is filled again, as after a write
}

// lifeguard_cache_size is about the heap that is really used, whatever the results look like.
func TestTheCacheUsesTheHeapThatItWasGiven(t *testing.T) {
	const bound = 8 << 20
	for _, shape := range []memoryShape{
		{name: "one number", columns: 1, rows: 1},
		{name: "no row", columns: 3},
		{name: "wide rows", columns: 40, rows: 1, text: 30},
		{name: "20 rows of 5", columns: 5, rows: 20, text: 8},
		{name: "1,000 rows", columns: 10, rows: 1000, text: 12},
		{name: "long keys", columns: 1, rows: 1, key: 2000},
		{name: "a text for each result", columns: 5, rows: 1, oneOff: true},
		{name: "filled again", columns: 5, rows: 20, text: 8, again: 3},
		{name: "1,000 rows whose values are made", columns: 10, rows: 1000, text: 12, ready: true},
		{name: "numbers that are made", columns: 20, rows: 2, ready: true},
		{name: "long texts that are made", columns: 5, rows: 20, text: 500, ready: true},
	} {
		t.Run(shape.name, func(t *testing.T) {
			q := &queryCache{maxRows: 1 << 20, maxBytes: 1 << 30, mode: CacheLocal, core: &core{cfg: Config{CacheSize: 1 << 40}}}
			reads := cache.NewLedger(nil).Dependencies([]cache.Relation{1, 2})
			before := usedHeap()
			var err error
			if q.store, err = cache.NewMemory(bound); err != nil {
				t.Fatal(err)
			}
			for i := 0; q.store.Usage().Evictions < 60; i++ {
				for range 1 + shape.again {
					shape.keep(q, reads, i)
				}
			}
			used, usage := usedHeap()-before, q.store.Usage()
			ratio := float64(used) / bound
			t.Logf("%d entries use %.1f MB of %d: %.2f", usage.Entries, float64(used)/(1<<20), bound>>20, ratio)
			most := 1.1
			if shape.ready && raceDetector {
				most = 1.3
			}
			if ratio < 0.9 || ratio > most {
				t.Errorf("%.2f × the bound is in use; it says %+v", ratio, usage)
			}
			runtime.KeepAlive(q)
			runtime.KeepAlive(reads)
		})
	}
}

// keep stores the result of one question, as a flight does.
func (m *memoryShape) keep(q *queryCache, reads cache.Dependencies, i int) (key string) {
	columns := m.shared()
	b := rowset.NewBuilder(columns, q.maxRows, q.maxBytes)
	row := make([][]byte, m.columns)
	for range m.rows {
		for j := range row {
			row[j] = binary.BigEndian.AppendUint64(nil, uint64(1000+i)) //nolint:gosec // small
			if m.text > 0 {
				row[j] = []byte(strings.Repeat("x", m.text))
			}
		}
		b.Add(row)
	}
	key = fmt.Sprintf("%016d%s", i, strings.Repeat("k", m.key))
	s, _ := reads.Capture()
	k := new(kept)
	key = b.SetUnder(key, &k.set, pgconn.NewCommandTag(fmt.Sprint("SELECT ", m.rows)))
	q.keep(key, k, &fill{snapshot: s})
	if m.ready {
		q.makeReady([]byte(key), &k.entry, true)
	}
	return key
}

var memoryColumns = map[string]*rowset.Columns{}

func (m *memoryShape) shared() *rowset.Columns {
	if c := memoryColumns[m.name]; c != nil && !m.oneOff {
		return c
	}
	fields := make([]pgconn.FieldDescription, m.columns)
	for i := range fields {
		fields[i] = pgconn.FieldDescription{Name: fmt.Sprint("column_", i), DataTypeOID: pgtype.TextOID}
		if m.ready && m.text == 0 {
			fields[i].DataTypeOID, fields[i].Format = pgtype.Int8OID, pgtype.BinaryFormatCode
		}
	}
	memoryColumns[m.name] = rowset.NewColumns(fields)
	return memoryColumns[m.name]
}
