//go:build unix

// It reads getrusage, hence the constraint.

package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

type benchRow struct {
	ID    int64
	Name  string
	Price pgtype.Numeric
	At    time.Time
}

const benchTable = "create table event (id bigint, name text, price numeric, at timestamptz)"

func benchRows(n int) []benchRow {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rows := make([]benchRow, n)
	for i := range rows {
		rows[i] = benchRow{int64(i), fmt.Sprintf("event number %07d", i), pgtype.Numeric{Int: big.NewInt(int64(i) * 37), Exp: -2, Valid: true}, at.Add(time.Duration(i) * time.Second)}
	}
	return rows
}

// clientCPU is what this process has used.
func clientCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBatchAgainstCopyFrom loads the same chunks of 10,000 rows, each with a commit
// of its own, in turns: by pgx.CopyFrom, and by a BatchInserter with one worker and two.
// The metrics with × are multiples of pgx.CopyFrom's.
func BenchmarkBatchAgainstCopyFrom(b *testing.B) {
	for _, setting := range []struct {
		name    string
		durable bool
		key     string
	}{{"fsync=off", false, ""}, {"fsync=on", true, ""}, {"fsync=off/key", false, "alter table event add primary key (id)"}} {
		b.Run(setting.name, func(b *testing.B) {
			server := pgtest.NewServer(b, pgtest.Options{Durable: setting.durable, Settings: map[string]string{"max_wal_size": "4GB"}})
			dsn, _, err := server.CreateDatabase(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			db := openDSN(b, dsn)
			mustExec(b, db, benchTable)
			if setting.key != "" {
				mustExec(b, db, setting.key)
			}
			const chunk, chunks = 10_000, 40
			rows := benchRows(chunk * chunks)
			conn := observer(b, dsn)
			contenders := []func(){
				func() {
					for i := 0; i < len(rows); i += chunk {
						part := rows[i : i+chunk]
						_, err := conn.CopyFrom(b.Context(), pgx.Identifier{"event"}, []string{"id", "name", "price", "at"},
							pgx.CopyFromSlice(chunk, func(i int) ([]any, error) {
								r := &part[i]
								return []any{r.ID, r.Name, r.Price, r.At}, nil
							}))
						if err != nil {
							b.Fatal(err)
						}
					}
				},
				func() { loadBatch(b, db, rows, 1) },
				func() { loadBatch(b, db, rows, 2) },
			}
			took, cpu := make([]time.Duration, len(contenders)), make([]time.Duration, len(contenders))
			for round := range b.N + 1 {
				for i, load := range contenders {
					mustExec(b, db, "truncate event")
					start, used := time.Now(), clientCPU()
					load()
					if round > 0 { // the first warms up
						took[i] += time.Since(start)
						cpu[i] += clientCPU() - used
					}
				}
			}
			n := float64(b.N * len(rows))
			b.ReportMetric(n/took[0].Seconds(), "CopyFrom-rows/s")
			b.ReportMetric(n/took[1].Seconds(), "1-worker-rows/s")
			b.ReportMetric(n/took[2].Seconds(), "2-workers-rows/s")
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "×-1-worker")
			b.ReportMetric(took[0].Seconds()/took[2].Seconds(), "×-2-workers")
			b.ReportMetric(cpu[1].Seconds()/cpu[0].Seconds(), "×-client-CPU")
			b.ReportMetric(float64(cpu[1].Nanoseconds())/n, "CPU-ns/row")
		})
	}
}

func loadBatch(b *testing.B, db *sql.DB, rows []benchRow, workers int) {
	b.Helper()
	inserter := newInserter[benchRow](b, db, "event", lifeguard.BatchConfig{Workers: workers, FlushInterval: -1})
	for i := range rows {
		if err := inserter.Add(b.Context(), rows[i]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := inserter.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBatchUpsertAgainstValues upserts chunks of 10,000 rows, half of whose keys
// are there, against INSERT … VALUES of 500 rows … ON CONFLICT, committed after 10,000 rows
// too, and after each statement.
func BenchmarkBatchUpsertAgainstValues(b *testing.B) {
	db := open(b)
	mustExec(b, db, benchTable)
	mustExec(b, db, "alter table event add primary key (id)")
	const n = 50_000
	rows := benchRows(n)
	query := "insert into event (id, name, price, at) values "
	for i := range 500 {
		if i > 0 {
			query += ", "
		}
		query += fmt.Sprintf("($%d, $%d, $%d, $%d)", 4*i+1, 4*i+2, 4*i+3, 4*i+4)
	}
	query += " on conflict (id) do update set name = excluded.name, price = excluded.price, at = excluded.at"
	values := func(commitEvery int) {
		for i := 0; i < n; i += commitEvery {
			tx, err := db.BeginTx(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			for j := i; j < i+commitEvery; j += 500 {
				var args []any
				for _, r := range rows[j : j+500] {
					args = append(args, r.ID, r.Name, r.Price, r.At)
				}
				mustExec(b, tx, query, args...)
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	contenders := []func(){
		func() { values(10_000) },
		func() { values(500) },
		func() {
			_, err := lifeguard.InsertMany(b.Context(), db, "event", func(yield func(benchRow) bool) {
				for _, r := range rows {
					if !yield(r) {
						return
					}
				}
			}, lifeguard.BatchConfig{OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}})
			if err != nil {
				b.Fatal(err)
			}
		},
	}
	took := make([]time.Duration, len(contenders))
	for range b.N {
		for i, load := range contenders {
			mustExec(b, db, "truncate event")
			mustExec(b, db, "insert into event select n, 'old', 1, now() from generate_series(0, $1::int, 2) n", n)
			start := time.Now()
			load()
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(n*b.N)/took[0].Seconds(), "VALUES-rows/s")
	b.ReportMetric(float64(n*b.N)/took[2].Seconds(), "upsert-rows/s")
	b.ReportMetric(took[0].Seconds()/took[2].Seconds(), "×-VALUES")
	b.ReportMetric(took[1].Seconds()/took[2].Seconds(), "×-VALUES-committed-by-500")
}

// BenchmarkBatchAdd is the cost of one row on the client, without sending.
func BenchmarkBatchAdd(b *testing.B) {
	db := open(b)
	mustExec(b, db, benchTable)
	rows := benchRows(1000)
	inserter := newInserter[benchRow](b, db, "event", lifeguard.BatchConfig{MaxRows: 10_000_000, MaxBytes: 1 << 30, MaxPendingBytes: 4 << 30, FlushInterval: -1})
	ctx := context.Background()
	const chunk = 200_000
	add := func(n int) {
		for i := range n {
			if err := inserter.Add(ctx, rows[i%len(rows)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	flush := func() {
		if err := inserter.Flush(ctx); err != nil {
			b.Fatal(err)
		}
	}
	add(chunk) // grows the buffer that the next chunks reuse
	flush()
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= chunk {
		add(min(left, chunk))
		b.StopTimer()
		flush()
		b.StartTimer()
	}
}
